"""Factors by hand, tensors that are aligned afterwards, and what alignment is good for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.channel_alignment import HIGH, LOW, QUANTILES, align, centre_and_width, scale_factors
from tasks.algorithms.inference import Sample
from tasks.graph.alignment import AlignmentPair, find_pairs
from tasks.graph.layers import ChannelMean
from tasks.graph.saturation import SaturationFix, halved_operations
from tasks.graph.traversal import find_output, nodes_by_name
from tasks.numerics.affine import Granularity, QuantizerConfig, Range, activation_parameters, fake_quantize
from tasks.numerics.metrics import sqnr
from tasks.numerics.statistics import StatisticType, TensorStatistic
from tests.support import models as m
from tests.support.observe import observe

Array = NDArray[Any]


def rows(*values: Sequence[float]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def samples(count: int = 3) -> list[Sample]:
    drawn = np.random.default_rng(7)
    return [{"image": drawn.normal(size=(1, 4, 8, 8)).astype(np.float32)} for _ in range(count)]


def collect(model: ov.Model, pairs: Sequence[AlignmentPair], data: list[Sample]) -> dict[str, TensorStatistic]:
    tensors = [pair.tensor for pair in pairs]
    means = [ChannelMean(tensor, 1) for tensor in tensors]
    return observe(model, (), data, dict.fromkeys(tensors, QUANTILES), means, values=True)


def aligned(model: ov.Model, data: list[Sample]) -> ov.Model:
    copy, pairs = model.clone(), find_pairs(model)
    align(copy, pairs, collect(model, pairs, data))
    return copy


def uneven_layers() -> ov.Model:
    """Two layers; the channels between them are 1, 4, 16 and 64 wide, and far from zero."""
    data = m.relu_image()
    widths = np.array([1, 4, 16, 64], np.float32)
    weights = m.constant("weights", 4, 4, 1, 1).get_data() * widths.reshape(4, 1, 1, 1)
    first = m.named(ops.convolution(data, ops.constant(weights), [1, 1], [0, 0], [0, 0], [1, 1]), "a")
    shift = m.named(ops.constant((3 * widths).reshape(1, 4, 1, 1)), "a_value")
    last = m.constant("last", 4, 4, 1, 1).get_data() / widths.reshape(1, 4, 1, 1)
    second = ops.convolution(m.add(first, shift, "a_bias"), ops.constant(last), [1, 1], [0, 0], [0, 0], [1, 1])
    return m.build(m.bias(m.named(second, "b"), "b_bias"))


def test_centre_and_width_of_the_median_sample() -> None:
    low = rows([-1, 0], [-3, 2], [-2, 1])
    high = rows([1, 10], [5, 4], [2, 6])
    centre, width = centre_and_width(low, high)
    assert centre.tolist() == [0, 3.5]
    assert width.tolist() == [4, 5]


def test_centre_and_width_are_computed_in_float64() -> None:
    centre, width = centre_and_width(rows([3e38, 16777216]), rows([3.2e38, 16777218]))
    assert np.isfinite([*centre, *width]).all()
    assert centre[1] == 16777217


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_channels_that_are_not_finite_stay(bad: float) -> None:
    centre, width = centre_and_width(rows([-1, -1]), rows([3, bad]))
    assert centre.tolist() == [1, 0]
    assert width.tolist() == [4, 0]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        pytest.param([1, 2, 4], [0.5, 1, 2], id="median-is-one"),
        pytest.param([1, 3], [0.5, 1.5], id="even-number"),
        pytest.param([0, 2, 4, 6], [1, 0.5, 1, 1.5], id="constant-channels-do-not-count"),
        pytest.param([0, 0], [1, 1], id="all-constant"),
        pytest.param([-1, 2], [1, 1], id="negative-width"),
        pytest.param([1e-6, 1, 1e6], [0.01, 1, 100], id="bounded"),
    ],
)
def test_scale_factors(width: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(scale_factors(np.array(width, np.float64)), expected)


def test_both_quantiles_of_every_channel_are_wanted() -> None:
    assert [LOW.probability, HIGH.probability] == [1e-4, 1 - 1e-4]
    assert {LOW.type, HIGH.type} == {StatisticType.QUANTILE}
    assert {LOW.granularity, HIGH.granularity} == {Granularity.PERCHANNEL}


@pytest.mark.parametrize("with_bias", [True, False])
def test_statistics_of_aligned_tensors_need_no_other_pass(with_bias: bool) -> None:
    layer = m.biased_convolution if with_bias else m.convolution
    model, data = m.between_relus(*(lambda x, name=name: layer(x, name, 4, 2) for name in "cab")), samples()
    pairs, copy = find_pairs(model), model.clone()
    told = align(copy, pairs, collect(model, pairs, data))
    seen = collect(copy, find_pairs(copy), data)
    assert set(told) == set(seen)
    for tensor, statistic in seen.items():
        extent = np.abs(statistic.maximum).max()
        for name in ("minimum", "maximum"):
            np.testing.assert_allclose(
                getattr(told[tensor], name), getattr(statistic, name), rtol=0, atol=1e-5 * extent
            )
        np.testing.assert_allclose(told[tensor].means[1], statistic.means[1], rtol=0, atol=1e-5 * extent)
        for quantile in QUANTILES:
            found = told[tensor].quantiles[quantile]
            np.testing.assert_allclose(found, statistic.quantiles[quantile], rtol=0, atol=1e-5 * extent)


def test_what_a_layer_without_a_bias_answers_keeps_its_statistics_under_a_new_name() -> None:
    model = m.between_relus(*(lambda x, name=name: m.convolution(x, name, 4, 2) for name in "ab"))
    pairs, data = find_pairs(model), samples()
    known = collect(model, pairs, data)
    known |= observe(model, ("b:0",), data)
    copy = model.clone()
    told = align(copy, pairs, known)
    assert set(told) == {"a/aligned_bias:0", "b/aligned_bias:0"}
    assert told["b/aligned_bias:0"] is known["b:0"]
    seen = observe(copy, ("b/aligned_bias:0",), data)["b/aligned_bias:0"]
    np.testing.assert_allclose(told["b/aligned_bias:0"].maximum, seen.maximum, rtol=1e-4, atol=1e-5)


def test_aligned_channels_have_one_centre_and_one_width() -> None:
    model, data = uneven_layers(), samples(1)
    pairs = find_pairs(model)
    before = collect(model, pairs, data)["a_bias:0"].quantiles
    after = collect(aligned(model, data), pairs, data)["a_bias:0"].quantiles
    centre, width = centre_and_width(after[LOW], after[HIGH])
    _, widths = centre_and_width(before[LOW], before[HIGH])
    assert max(widths) > 10 * min(widths)
    np.testing.assert_allclose(width, np.median(widths), rtol=1e-4)
    np.testing.assert_allclose(centre, 0, atol=1e-4 * np.median(widths))


@pytest.mark.parametrize("with_bias", [True, False])
def test_statistics_of_the_unchanged_model_serve_chained_pairs(with_bias: bool) -> None:
    layer = m.biased_convolution if with_bias else m.convolution
    names = ("c", "a", "d", "b")
    model, data = m.between_relus(*(lambda x, name=name: layer(x, name, 4, 2) for name in names)), samples()
    pairs = find_pairs(model)
    assert len(pairs) == 3
    unchanged, copy = collect(model, pairs, data), model.clone()
    # The long way: after each edit, the quantiles of all tensors are collected anew.
    for pair in pairs:
        tensor = next(each.tensor for each in find_pairs(copy) if each.consumer == pair.consumer)
        anew = collect(copy, find_pairs(copy), data)[tensor]
        for quantile in (LOW, HIGH):
            expected = unchanged[pair.tensor].quantiles[quantile]
            np.testing.assert_allclose(anew.quantiles[quantile], expected, rtol=1e-4, atol=1e-4)
        align(copy, (pair,), unchanged)


def test_the_output_stays() -> None:
    model, data = uneven_layers(), samples()
    outputs = [
        ov.Core().compile_model(each, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        for each in (model, aligned(model, data))
    ]
    for sample in data:
        expected, output = (compiled(sample)[0] for compiled in outputs)
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def quantized_between(model: ov.Model, data: list[Sample]) -> Array:
    """The output with the tensor between both layers quantized by one scale, calibrated on the data."""
    (pair,) = find_pairs(model)
    between = ov.Model([find_output(nodes_by_name(model), pair.tensor)], model.get_parameters(), "between")
    compiled = ov.Core().compile_model(between, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    tensors = [compiled(sample)[0] for sample in data]
    span = Range(np.min(tensors, keepdims=True).ravel(), np.max(tensors, keepdims=True).ravel())
    limits = activation_parameters(span, QuantizerConfig())
    copy = model.clone()
    consumer = next(node for node in copy.get_ops() if node.get_friendly_name() == pair.consumer)
    entry = m.image("entry")
    consumer.input(0).replace_source_output(entry.output(0))
    tail = ov.Core().compile_model(
        ov.Model(copy.get_results(), [entry], "tail"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return np.concatenate([tail([fake_quantize(tensor, limits, ())])[0] for tensor in tensors])


def test_one_scale_serves_aligned_channels_better() -> None:
    model, data = uneven_layers(), samples()
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = np.concatenate([compiled(sample)[0] for sample in data])
    plain = sqnr(expected, quantized_between(model, data))
    assert sqnr(expected, quantized_between(aligned(model, data), data)) > plain + 6


def test_a_tensor_without_quantiles_is_an_error() -> None:
    model = m.linear_layers("a", "b")
    with pytest.raises(KeyError, match="a_bias:0"):
        align(model, find_pairs(model), {})


@pytest.mark.parametrize(
    ("fix", "device", "expected"),
    [
        pytest.param(SaturationFix.FIRST_LAYER, "CPU", {"a", "c"}, id="on-top-of-the-first-layer"),
        pytest.param(SaturationFix.FIRST_LAYER, "ANY", {"a", "c"}, id="any"),
        pytest.param(SaturationFix.ALL, "CPU", {"a", "b", "c"}, id="all"),
        pytest.param(SaturationFix.NO, "CPU", set(), id="no-fix"),
        pytest.param(SaturationFix.FIRST_LAYER, "GPU", set(), id="device-without-saturation"),
    ],
)
def test_consumers_of_aligned_channels_get_the_saturation_fix(
    fix: SaturationFix, device: str, expected: set[str]
) -> None:
    model = m.linear_layers("a", "b", "c")
    assert halved_operations(model, fix, device, aligned=frozenset({"c"})) == expected
