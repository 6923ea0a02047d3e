"""Statistics of activations against numpy's, on what the same model computes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.calibration import collect_quantiles, collect_statistics, compile_taps
from tasks.algorithms.inference import Sample
from tasks.errors import InputError
from tasks.graph.layers import ChannelMean
from tasks.graph.text import model_text
from tasks.graph.traversal import find_output, nodes_by_name
from tasks.numerics.affine import Granularity
from tasks.numerics.statistics import Quantile, StatisticType, TensorStatistic, concatenate
from tests import models as m

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
    taps = compile_taps(model, tensors, in_place=in_place, batch=batch, threads=threads)
    return dict(collect_statistics(taps, data, lambda: None))


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


@pytest.mark.parametrize("granularity", Granularity)
@pytest.mark.parametrize("kind", [StatisticType.QUANTILE, StatisticType.ABS_QUANTILE])
def test_quantiles_of_every_sample(kind: StatisticType, granularity: Granularity) -> None:
    model, data = m.convnet(), samples(4)
    quantile = Quantile(kind, 0.9, granularity)
    taps = compile_taps(model, TENSORS, in_place=False, threads=2)
    found = collect_quantiles(taps, dict.fromkeys(TENSORS, (quantile,)), data, lambda: None)
    for tensor, values in activations(model, TENSORS, data).items():
        kept = [np.abs(each) if kind == StatisticType.ABS_QUANTILE else each for each in values]
        axes = tuple(axis for axis in range(kept[0].ndim) if axis != 1 or granularity == Granularity.PERTENSOR)
        expected = [np.quantile(each.astype(np.float64), 0.9, axis=axes).reshape(-1) for each in kept]
        np.testing.assert_allclose(found[tensor][quantile], expected, rtol=1e-5, atol=1e-6, err_msg=tensor)


@IN_PLACE
@pytest.mark.parametrize("threads", [2, 8])
def test_threads_change_nothing(threads: int, *, in_place: bool) -> None:
    data = samples(20)
    alone = collect(m.convnet(), TENSORS, data, in_place=in_place)
    assert_same(collect(m.convnet(), TENSORS, data, in_place=in_place, threads=threads), alone)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_shards_together_are_all_samples_at_once(size: int) -> None:
    data = samples(8)
    taps = compile_taps(m.convnet(), TENSORS, threads=2)
    shards = [collect_statistics(taps, data[start : start + size], lambda: None) for start in range(0, 8, size)]
    assert_same(concatenate(shards), collect(m.convnet(), TENSORS, data))


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
        compile_taps(m.build(mixed), ("relu:0", "swapped:0"), batch=2)


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
    found = collect(model, ("x:0",), [full, empty, full], in_place=in_place)["x:0"]
    for rows in (found.minimum, found.maximum):
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
    compile_taps(model, tuple(f"{node.get_friendly_name()}:0" for node in model.get_parameters()))
    assert model_text(model) == before


def test_nothing_but_reductions_leaves_the_graph() -> None:
    compiled = compile_taps(m.convnet(), TENSORS).compiled
    assert len(TENSORS) <= len(compiled.outputs) <= 2 * len(TENSORS)
    assert max(int(np.prod(port.shape)) for port in compiled.outputs) == 4


def test_what_no_tensor_needs_is_not_computed() -> None:
    compiled = compile_taps(m.convnet(), ("stem_relu:0",)).compiled
    names = {node.get_friendly_name() for node in compiled.get_runtime_model().get_ordered_ops()}
    assert not any("classifier" in name for name in names)


def test_progress_is_told_of_every_sample() -> None:
    told: list[None] = []
    taps = compile_taps(free_batch(), ("conv:0",), batch=3)
    collect_statistics(taps, samples(7), lambda: told.append(None))
    assert len(told) == 7


def test_a_tensor_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError, match="absent:0"):
        compile_taps(m.convnet(), ("absent:0",))


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
    taps = compile_taps(model, tensors, means=means, in_place=in_place, batch=batch)
    found = collect_statistics(taps, data, lambda: None)
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
    taps = [compile_taps(m.convnet(), TENSORS, means=MEANS, threads=threads) for threads in (1, 3)]
    whole = collect_statistics(taps[0], data, lambda: None)
    parts = concatenate(
        [collect_statistics(taps[1], data[start : start + 3], lambda: None) for start in range(0, 7, 3)]
    )
    for mean in MEANS:
        assert np.array_equal(whole[mean.tensor].means[mean.axis], parts[mean.tensor].means[mean.axis])
