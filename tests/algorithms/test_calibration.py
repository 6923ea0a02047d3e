"""Statistics of activations against numpy's, on what the same model computes."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.calibration import collect_statistics, compile_observed
from tasks.algorithms.inference import Sample
from tasks.errors import InputError
from tasks.graph.layers import ChannelMean
from tasks.graph.text import model_text
from tasks.graph.traversal import find_output, nodes_by_name
from tasks.numerics.affine import Granularity
from tasks.numerics.sketch import MOST_VALUES, VALUES
from tasks.numerics.statistics import (
    Observation,
    Quantile,
    StackedStatistics,
    StatisticType,
    TensorStatistic,
    to_arrays,
)
from tests.support import models as m
from tests.support.observe import observations, observe

Array = NDArray[Any]
Collected = dict[str, TensorStatistic]
TENSORS = ("image:0", "stem_relu:0", "pool:0", "sum:0", "flat:0", "classifier_bias:0")
# By their operations: their minimum counts as zero.
NON_NEGATIVE = {"stem_relu:0", "pool:0", "flat:0"}
IN_PLACE = pytest.mark.parametrize("in_place", [True, False], ids=["in-place", "copied-out"])


def samples(count: int, shape: tuple[int, ...] = (4, 8, 8)) -> list[Sample]:
    generator = np.random.default_rng(0)
    return [{"image": generator.normal(0.2, 1 + index, shape).astype(np.float32)} for index in range(count)]


def collect(
    model: ov.Model,
    tensors: tuple[str, ...],
    data: list[Sample],
    *,
    in_place: bool = True,
    batch: int = 1,
    threads: int = 1,
) -> Collected:
    return observe(model, tensors, data, in_place=in_place, batch=batch, threads=threads)


def activations(model: ov.Model, tensors: tuple[str, ...], data: list[Sample]) -> dict[str, list[Array]]:
    """What the tensors hold for each sample: the model with further Results, run one by one."""
    nodes = nodes_by_name(model)
    results = [ops.result(find_output(nodes, tensor)) for tensor in tensors]
    tapped = ov.Model(results, model.get_sinks(), model.get_parameters(), "tapped")
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = ov.Core().compile_model(tapped, "CPU", settings)
    found: dict[str, list[Array]] = {tensor: [] for tensor in tensors}
    for sample in data:
        for tensor, value in zip(tensors, compiled([sample["image"][None]]).values(), strict=True):
            found[tensor].append(np.array(value))
    return found


def assert_same(first: Collected, second: Collected) -> None:
    assert list(first) == list(second)
    for tensor, statistic in first.items():
        np.testing.assert_array_equal(statistic.minimum, second[tensor].minimum, err_msg=tensor)
        np.testing.assert_array_equal(statistic.maximum, second[tensor].maximum, err_msg=tensor)


@IN_PLACE
def test_extremes_of_every_sample_and_channel(*, in_place: bool) -> None:
    model, data = m.convnet(), samples(5)
    found = collect(model, TENSORS, data, in_place=in_place)
    for tensor, values in activations(model, TENSORS, data).items():
        axes = tuple(axis for axis in range(values[0].ndim) if axis != 1)
        low, high = ([reduce(each, axis=axes) for each in values] for reduce in (np.min, np.max))
        expected = np.zeros_like(low) if tensor in NON_NEGATIVE else low
        np.testing.assert_allclose(found[tensor].minimum, expected, rtol=1e-5, atol=1e-6, err_msg=tensor)
        np.testing.assert_allclose(found[tensor].maximum, high, rtol=1e-5, atol=1e-6, err_msg=tensor)
        assert found[tensor].minimum.dtype == np.float32


@IN_PLACE
@pytest.mark.parametrize("probability", [0.999, 0.9, 0.55])
@pytest.mark.parametrize("granularity", Granularity)
@pytest.mark.parametrize("kind", [StatisticType.QUANTILE, StatisticType.ABS_QUANTILE])
def test_quantiles_of_every_sample(
    kind: StatisticType, granularity: Granularity, probability: float, *, in_place: bool
) -> None:
    model, data = m.convnet(), samples(4)
    asked = tuple(Quantile(kind, each, granularity) for each in (probability, 1 - probability))
    found = observe(model, (), data, dict.fromkeys(TENSORS, asked), in_place=in_place, threads=2)
    for tensor, values in activations(model, TENSORS, data).items():
        kept = [np.abs(each) if kind == StatisticType.ABS_QUANTILE else each for each in values]
        axes = tuple(axis for axis in range(kept[0].ndim) if axis != 1 or granularity == Granularity.PERTENSOR)
        for quantile in asked:
            expected = [np.quantile(each.astype(np.float64), quantile.probability, axis=axes).ravel() for each in kept]
            if tensor in NON_NEGATIVE and kind == StatisticType.QUANTILE and quantile.probability < 0.5:
                expected = [np.zeros_like(each) for each in expected]
            np.testing.assert_allclose(
                found[tensor].quantiles[quantile], expected, rtol=1e-5, atol=1e-6, err_msg=f"{tensor} {quantile}"
            )


@pytest.mark.parametrize("granularity", Granularity)
@pytest.mark.parametrize("shape", [(3, 64, 64), (5, 7, 11), (2, 97), (2, 3, 5, 40)])
def test_ends_found_in_the_graph_are_those_found_outside(shape: tuple[int, ...], granularity: Granularity) -> None:
    asked = tuple(
        Quantile(kind, probability, granularity)
        for kind, probability in ((StatisticType.QUANTILE, 1e-3), (StatisticType.ABS_QUANTILE, 1 - 2e-3))
    )
    model = m.build(m.named(ops.negative(with_axes(1, *shape)), "negative"))
    # Rounded, so that values are equal to others.
    data: list[Sample] = [{"image": np.round(sample["image"], 2)} for sample in samples(3, shape)]
    inside, outside = (
        observe(model, (), data, {"negative:0": asked}, in_place=in_place)["negative:0"] for in_place in (True, False)
    )
    for quantile in asked:
        np.testing.assert_array_equal(inside.quantiles[quantile], outside.quantiles[quantile])


@IN_PLACE
def test_quantiles_of_tensors_of_free_size(*, in_place: bool) -> None:
    asked = tuple(Quantile(StatisticType.QUANTILE, 0.99, granularity) for granularity in Granularity)
    model = m.build(m.named(ops.negative(with_axes(1, 5, -1)), "negative"))
    data: list[Sample] = [samples(1, (5, size))[0] for size in (40, 300)]
    found = observe(model, (), data, {"negative:0": asked}, in_place=in_place)["negative:0"]
    for quantile in asked:
        axis = 1 if quantile.granularity == Granularity.PERCHANNEL else None
        expected = [np.quantile(-sample["image"].astype(np.float64), 0.99, axis=axis).ravel() for sample in data]
        np.testing.assert_allclose(found.quantiles[quantile], expected, rtol=1e-5, atol=1e-6)


@IN_PLACE
@pytest.mark.parametrize(
    "shape",
    [(8, 40, 30), (2000, 7, 7), (8192, 3, 3), (16, 384), (9000,), (3, 5, 8, 9)],
    ids=lambda shape: str(len(shape)),
)
def test_sketches_hold_values_of_every_channel(shape: tuple[int, ...], *, in_place: bool) -> None:
    model = m.build(m.named(ops.negative(with_axes(1, *shape)), "negative"))
    data: list[Sample] = [{"image": np.arange(np.prod(shape), dtype=np.float32).reshape(shape)}] * 2
    found = observe(model, ("negative:0",), data, values=True, in_place=in_place)["negative:0"].values
    assert found is not None
    np.testing.assert_array_equal(found[0], found[1])
    places = -found[0].astype(np.int64)
    assert VALUES // 2 <= len(places) <= MOST_VALUES
    assert len(set(places)) > 0.9 * len(places)
    if len(shape) > 2:
        assert set(np.unravel_index(places, shape)[0]) == set(range(shape[0]))


def test_sketches_of_tensors_of_free_size_have_one_length() -> None:
    model = m.build(m.named(ops.negative(with_axes(1, 5, -1)), "negative"))
    data: list[Sample] = [{"image": np.arange(5 * size, dtype=np.float32).reshape(5, size)} for size in (3, 700)]
    inside, outside = (
        observe(model, ("negative:0",), data, values=True, in_place=in_place)["negative:0"].values
        for in_place in (True, False)
    )
    assert inside is not None and outside is not None
    np.testing.assert_array_equal(inside, outside)
    assert inside.shape == (2, VALUES)
    assert len(set(inside[0])) == 15
    assert len(set(inside[1])) > 0.85 * VALUES


def test_peaks_are_the_largest_magnitudes_along_an_axis() -> None:
    model, data = m.build(m.named(ops.negative(with_axes(1, 5, 7)), "negative")), samples(3, (5, 7))
    observation = Observation("negative:0", peaks=(2,))
    observed = compile_observed(model, (observation,))
    found = collect_statistics(observed, data, len(data), lambda: None)["negative:0"].peaks[2]
    np.testing.assert_array_equal(found, [np.abs(sample["image"]).max(axis=0) for sample in data])


@IN_PLACE
@pytest.mark.parametrize("threads", [2, 8])
def test_threads_change_nothing(threads: int, *, in_place: bool) -> None:
    data = samples(20)
    alone = collect(m.convnet(), TENSORS, data, in_place=in_place)
    assert_same(collect(m.convnet(), TENSORS, data, in_place=in_place, threads=threads), alone)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_shards_together_are_all_samples_at_once(size: int) -> None:
    data = samples(8)
    observed = compile_observed(m.convnet(), observations(TENSORS), threads=2)
    parts = [data[start : start + size] for start in range(0, 8, size)]
    shards = [to_arrays(collect_statistics(observed, part, len(part), lambda: None)) for part in parts]
    assert_same(dict(StackedStatistics(shards)), collect(m.convnet(), TENSORS, data))


def test_in_place_and_copied_out_are_the_same() -> None:
    data = samples(6)
    assert_same(collect(m.convnet(), TENSORS, data), collect(m.convnet(), TENSORS, data, in_place=False))


def free_batch() -> ov.Model:
    data = m.named(ops.parameter(ov.PartialShape([-1, 4, 8, 8]), ov.Type.f32), "image")
    weights = m.constant("weights", 4, 4, 1, 1)
    return m.build(m.relu(m.named(ops.convolution(data, weights, [1, 1], [0, 0], [0, 0], [1, 1]), "conv"), "relu"))


@IN_PLACE
def test_samples_of_one_request_are_told_apart(*, in_place: bool) -> None:
    tensors, data = ("image:0", "conv:0", "relu:0"), samples(7)
    together = collect(free_batch(), tensors, data, in_place=in_place, batch=3)
    alone = collect(free_batch(), tensors, data)
    for tensor in tensors:
        assert together[tensor].samples == 7
        np.testing.assert_allclose(together[tensor].minimum, alone[tensor].minimum, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(together[tensor].maximum, alone[tensor].maximum, rtol=1e-5, atol=1e-6)


def test_tensors_that_mix_the_samples_of_a_request_are_refused() -> None:
    mixed = m.transpose(m.named(ops.relu(free_batch_input()), "relu"), "swapped", 1, 0)
    with pytest.raises(InputError, match=r"'swapped:0'.*stat_batch_size=1"):
        compile_observed(m.build(mixed), observations(("relu:0", "swapped:0")), batch=2)


def free_batch_input() -> ov.Node:
    return m.named(ops.parameter(ov.PartialShape([-1, 4]), ov.Type.f32), "image")


def with_axes(*shape: int) -> ov.Node:
    return m.named(ops.parameter(ov.PartialShape(list(shape)), ov.Type.f32), "image")


@IN_PLACE
@pytest.mark.parametrize(
    ("shape", "given", "channels"),
    [
        pytest.param((), (), 1, id="no-axis"),
        pytest.param((6,), (6,), 1, id="one-axis"),
        pytest.param((1, 6), (6,), 6, id="vector"),
        pytest.param((1, 5, 3), (5, 3), 5, id="three-axes"),
        pytest.param((1, 5, 4, 3), (5, 4, 3), 5, id="four-axes"),
        pytest.param((1, 5, 2, 4, 3), (5, 2, 4, 3), 5, id="five-axes"),
        pytest.param((1, -1, 3), (5, 3), 1, id="free-channels"),
        pytest.param((1, 5, -1, -1), (5, 2, 3), 5, id="free-size"),
    ],
)
def test_channels_of_tensors(shape: tuple[int, ...], given: tuple[int, ...], channels: int, *, in_place: bool) -> None:
    data = samples(3, given)
    model = m.build(m.named(ops.negative(with_axes(*shape)), "negative"))
    found = collect(model, ("negative:0",), data, in_place=in_place)["negative:0"]
    apart = [-sample["image"].reshape(channels, -1) for sample in data]
    np.testing.assert_array_equal(found.minimum, [each.min(axis=1) for each in apart])
    np.testing.assert_array_equal(found.maximum, [each.max(axis=1) for each in apart])


@IN_PLACE
def test_what_lies_before_the_channels_belongs_to_each_of_them(*, in_place: bool) -> None:
    model = m.build(m.named(ops.negative(m.reshape(with_axes(1, 30), "windows", 3, 5, 2)), "negative"))
    data = samples(2, (30,))
    found = collect(model, ("negative:0",), data, in_place=in_place)["negative:0"]
    expected = [-sample["image"].reshape(3, 5, 2) for sample in data]
    np.testing.assert_array_equal(found.minimum, [each.min(axis=(0, 2)) for each in expected])
    np.testing.assert_array_equal(found.maximum, [each.max(axis=(0, 2)) for each in expected])


@pytest.mark.parametrize("axis", [0, 1], ids=["below-zero", "above-zero"])
def test_extremes_of_one_sign(axis: int) -> None:
    data: list[Sample] = [{"image": np.full((4, 8, 8), 3 if axis else -3, np.float32)}]
    found = collect(m.build(m.named(ops.tanh(m.image()), "x")), ("image:0",), data)["image:0"]
    assert set(found.minimum.flat) == set(found.maximum.flat) == {3 if axis else -3}


@IN_PLACE
@pytest.mark.parametrize(
    "make", [lambda data: m.relu(data, "x"), lambda data: m.named(ops.elu(data, 1.0), "x")], ids=["non-negative", "any"]
)
@pytest.mark.parametrize("shape", [(1, -1, 3), (1, 4, -1)], ids=["free-channels", "channels"])
def test_a_tensor_without_values_says_so(
    shape: tuple[int, ...], make: Callable[[ov.Node], ov.Node], *, in_place: bool
) -> None:
    model = m.build(make(with_axes(*shape)))
    empty = {"image": np.ones([0 if size < 0 else size for size in shape[1:]], np.float32)}
    full = {"image": np.ones([2 if size < 0 else size for size in shape[1:]], np.float32)}
    found = observe(model, ("x:0",), [full, empty, full], values=True, in_place=in_place)["x:0"]
    assert found.values is not None
    for rows in (found.minimum, found.maximum, found.values):
        np.testing.assert_array_equal(np.isnan(rows).all(axis=1), [False, True, False])
    np.testing.assert_allclose(found.maximum[[0, 2]], 1)


@IN_PLACE
def test_half_precision_is_collected_in_single(*, in_place: bool) -> None:
    data = m.named(ops.parameter([1, 4], ov.Type.f16), "image")
    found = collect(m.build(m.relu(data, "relu")), ("relu:0",), samples(2, (4,)), in_place=in_place)["relu:0"]
    assert found.maximum.dtype == np.float32
    np.testing.assert_allclose(found.maximum[0], np.maximum(samples(1, (4,))[0]["image"], 0), rtol=1e-3)


def test_outputs_beyond_the_first_are_tapped() -> None:
    split = m.named(ops.split(m.image(shape=(1, 4)), m.number("axis", 1), 2), "split")
    found = collect(m.build(split.output(0)), ("split:0", "split:1"), samples(1, (4,)))
    np.testing.assert_array_equal(found["split:1"].minimum[0], samples(1, (4,))[0]["image"][2:])


def test_a_model_with_state_starts_each_sample_anew() -> None:
    data = m.image(shape=(1, 2))
    before = m.named(ops.read_value(m.named(ops.constant(np.zeros((1, 2), np.float32)), "start"), "total"), "before")
    total = m.add(before, data, "sum")
    model = ov.Model([ops.result(m.relu(total, "relu"))], [m.named(ops.assign(total, "total"), "after")], [data], "s")
    found = collect(model, ("sum:0",), [{"image": np.full(2, n, np.float32)} for n in range(6)], threads=2)
    assert found["sum:0"].maximum[:, 0].tolist() == list(range(6))


@pytest.mark.parametrize("make", [m.convnet, free_batch, m.attention], ids=["convnet", "free-batch", "attention"])
def test_the_model_stays_as_it_was(make: Callable[[], ov.Model]) -> None:
    model = make()
    before = model_text(model)
    compile_observed(model, observations(f"{node.get_friendly_name()}:0" for node in model.get_parameters()))
    assert model_text(model) == before


def test_nothing_but_reductions_leaves_the_graph() -> None:
    compiled = compile_observed(m.convnet(), observations(TENSORS)).compiled
    (output,) = compiled.outputs
    channels = 4
    assert len(TENSORS) * channels / 2 <= np.prod(output.shape) <= 2 * channels * len(TENSORS)


def test_a_tensor_is_reduced_before_the_model_goes_on() -> None:
    """Whatever order tensors are asked for in: memory would otherwise hold all of them."""
    steps = 6
    data = ops.parameter([1, 4, 16, 16], np.float32, name="data")
    tensor: ov.Node = data
    kernel = np.full((4, 4, 3, 3), 0.1, np.float32)
    for number in range(steps):
        # The last one is the first by name.
        tensor = ops.convolution(tensor, kernel, [1, 1], [1, 1], [1, 1], [1, 1], name=f"conv{steps - number}")
    model = ov.Model([tensor], [data], "chain")
    names = [f"conv{steps - number}:0" for number in range(steps)]
    compiled = compile_observed(model, observations(sorted(names))).compiled

    def place(node: ov.Node) -> int:
        return int(str(node.get_rt_info()["execOrder"].value))

    kinds = {place(node): node.get_rt_info()["layerType"].value for node in compiled.get_runtime_model().get_ops()}
    ordered = [kind for _, kind in sorted(kinds.items()) if kind in ("Convolution", "Pooling", "Reduce")]
    convolutions = [index for index, kind in enumerate(ordered) if kind == "Convolution"]
    assert len(convolutions) == steps
    assert all(later - earlier > 1 for earlier, later in pairwise(convolutions))


def test_what_no_tensor_needs_is_not_computed() -> None:
    compiled = compile_observed(m.convnet(), observations(("stem_relu:0",))).compiled
    names = {node.get_friendly_name() for node in compiled.get_runtime_model().get_ordered_ops()}
    assert not any("classifier" in name for name in names)


def test_progress_is_told_of_every_sample() -> None:
    told: list[None] = []
    observed = compile_observed(free_batch(), observations(("conv:0",)), batch=3)
    collect_statistics(observed, samples(7), 7, lambda: told.append(None))
    assert len(told) == 7


def test_a_tensor_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError, match="absent:0"):
        compile_observed(m.convnet(), observations(("absent:0",)))


MEANS = (
    ChannelMean("image:0", 1),
    ChannelMean("stem_relu:0", 1),
    ChannelMean("stem_relu:0", 3),
    ChannelMean("flat:0", 1),
)


@IN_PLACE
@pytest.mark.parametrize("batch", [1, 4])
def test_means_of_every_sample_along_an_axis(batch: int, *, in_place: bool) -> None:
    model, data = m.convnet(), samples(6)
    tensors = ("image:0", "stem_relu:0", "flat:0")
    if batch > 1:
        model = free_batch()
        tensors = ("image:0", "conv:0", "relu:0")
    means = MEANS if batch == 1 else (ChannelMean("image:0", 1), ChannelMean("conv:0", 2), ChannelMean("relu:0", 1))
    found = observe(model, tensors, data, means=means, in_place=in_place, batch=batch)
    expected = activations(model, tensors, data)
    assert {ChannelMean(tensor, axis) for tensor in tensors for axis in found[tensor].means} == set(means)
    for mean in means:
        values = np.stack(expected[mean.tensor])[:, 0]
        axes = tuple(axis for axis in range(1, values.ndim) if axis != mean.axis)
        rows = found[mean.tensor].means[mean.axis]
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, values.mean(axis=axes, dtype=np.float64), rtol=1e-5, atol=1e-6)


def test_means_of_any_shards_are_the_same_to_the_bit() -> None:
    data = samples(7)
    whole = observe(m.convnet(), TENSORS, data, means=MEANS, threads=1)
    shards = [
        observe(m.convnet(), TENSORS, data[start : start + 3], means=MEANS, threads=3) for start in range(0, 7, 3)
    ]
    parts = StackedStatistics([to_arrays(shard) for shard in shards])
    for mean in MEANS:
        assert np.array_equal(whole[mean.tensor].means[mean.axis], parts[mean.tensor].means[mean.axis])
