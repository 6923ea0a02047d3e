"""Tensors whose samples leave them no range: what would read them quantized stays float."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.algorithms.ranges import estimate_parameters, wanted_quantiles, without_range
from tasks.graph.edits import insert_quantizers
from tasks.graph.placement import QuantizerSetup, observed_tensors, place_quantizers
from tasks.graph.presets import Preset, Scheme, TensorOptions
from tasks.numerics.aggregators import Aggregator
from tasks.numerics.estimators import Border, EstimatorPreset, RangeEstimator
from tasks.numerics.metrics import sqnr
from tasks.numerics.statistics import TensorStatistic
from tests.support import models as m
from tests.support.observe import observe

RNG = np.random.default_rng(0)


def _seen(*rows: list[float]) -> TensorStatistic:
    values = np.array(rows, np.float32)
    return TensorStatistic(np.minimum(values, 0), np.maximum(values, 0))


def _reasons(setup: QuantizerSetup, scheme: Scheme, **seen: TensorStatistic) -> dict[str, str]:
    return without_range(setup, {f"{name}:0": each for name, each in seen.items()}, scheme)


ZERO, LIVE = _seen([0.0] * 4, [0.0] * 4), _seen([0.0, 1.0, 0.0, -1.0], [0.0] * 4)
NOTHING = _seen([np.nan] * 4, [np.nan] * 4)


@pytest.mark.parametrize("preset", EstimatorPreset)
def test_zero_in_all_samples_is_no_range(preset: EstimatorPreset) -> None:
    setup = place_quantizers(m.build(m.convolution(m.image("x"), "layer")))
    scheme = Scheme(activations=TensorOptions(range_estimator=RangeEstimator(preset)))
    assert _reasons(setup, scheme, x=ZERO) == {"x:0": "'x:0' was zero in all samples"}
    assert _reasons(setup, scheme, x=NOTHING) == {"x:0": "'x:0' had no values in any sample"}


def test_what_is_not_always_zero_has_a_range() -> None:
    setup = place_quantizers(m.build(m.convolution(m.image("x"), "layer")))
    assert _reasons(setup, Scheme(), x=LIVE) == {}
    constant = _seen([2.0] * 4, [2.0] * 4)
    assert _reasons(setup, Scheme(), x=constant) == {}


def test_an_estimator_may_leave_no_range_either() -> None:
    setup = place_quantizers(m.build(m.convolution(m.image("x"), "layer")))
    median = RangeEstimator(max=Border(aggregator=Aggregator.MEDIAN), min=Border(aggregator=Aggregator.MEDIAN))
    seldom = _seen([1.0] * 4, [0.0] * 4, [0.0] * 4)
    scheme = Scheme(Preset.MIXED, activations=TensorOptions(range_estimator=median))
    assert _reasons(setup, scheme, x=seldom) == {"x:0": "its estimator leaves 'x:0' no range"}


def test_a_shared_range_is_that_of_the_others() -> None:
    model = m.build(m.convolution(m.concat("joined", m.image("a"), m.image("b")), "layer"))
    setup = place_quantizers(model)
    assert len({point.group for point in setup.points if point.tensor in ("a:0", "b:0")} - {None}) == 1
    assert _reasons(setup, Scheme(), a=ZERO, b=LIVE) == {}
    assert set(_reasons(setup, Scheme(), a=ZERO, b=ZERO)) == {"a:0", "b:0"}


def test_a_point_names_what_it_is_quantized_for_beyond_what_passes_it_through() -> None:
    image = m.image("x", (1, 4, 8))
    setup = place_quantizers(m.build(m.matmul(m.transpose(image, "turned", 0, 2, 1), "layer", 4)))
    [point] = [each for each in setup.points if each.tensor == "x:0"]
    assert (point.consumers, point.targets) == (("turned:0",), ("layer",))


def test_left_out_operations_are_float_for_the_reason_given() -> None:
    model = m.build(m.add(m.convolution(m.image("a"), "dead"), m.convolution(m.image("b"), "live"), "sum"))
    setup = place_quantizers(model, left_float={"dead": "'a:0' was zero"})
    assert not any(point.tensor == "a:0" or "dead/" in point.name for point in setup.points)
    assert any(point.tensor == "b:0" for point in setup.points)
    assert [(each.name, each.reason) for each in setup.float_operations] == [("dead", "'a:0' was zero")]


@pytest.mark.parametrize("preset", [Preset.PERFORMANCE, Preset.MIXED])
@pytest.mark.parametrize("estimator", [EstimatorPreset.DEFAULT, EstimatorPreset.MSE, EstimatorPreset.QUANTILE])
def test_a_channel_that_was_zero_is_not_cut_off_later(preset: Preset, estimator: EstimatorPreset) -> None:
    """A depthwise layer has a scale for each channel of what it reads; one of them was zero in all samples."""
    model = m.build(m.grouped_convolution(m.image("x"), "layer", groups=4))
    dead = np.array([1, 1, 0, 1], np.float32).reshape(1, 4, 1, 1)
    samples = [{"x": RNG.standard_normal((1, 4, 8, 8)).astype(np.float32) * dead} for _ in range(8)]
    setup = place_quantizers(model)
    scheme = Scheme(preset, activations=TensorOptions(range_estimator=RangeEstimator(estimator)))
    quantiles = wanted_quantiles(setup, scheme)
    statistics = observe(model, observed_tensors(model, setup), samples, quantiles, values=True)
    quantized = model.clone()
    insert_quantizers(quantized, setup.points, estimate_parameters(model, setup, statistics, scheme, frozenset()))
    later = RNG.standard_normal((1, 4, 8, 8)).astype(np.float32)
    before, after = (_infer(each, later) for each in (model, quantized))
    assert sqnr(before[:, 2:3], after[:, 2:3]) > 25


def _infer(model: ov.Model, values: np.ndarray) -> np.ndarray:
    return np.array(ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([values])[0])


def test_a_float16_tensor_that_reaches_its_least_number_keeps_zero() -> None:
    """A mask in a float16 model: limits that float16 cannot hold would be infinite, and so would all values be."""
    x, seen = m.image("x", (1, 8), "f16"), m.image("seen", (1, 8), "f16")
    mask = m.multiply(seen, ops.constant(np.float16(-65504)), "mask")
    model = m.build(m.named(ops.softmax(m.add(x, mask, "masked"), -1), "shares"))
    samples = [
        {"x": RNG.standard_normal((1, 8)).astype(np.float16), "seen": (np.arange(8) > 4).astype(np.float16)[None]}
        for _ in range(4)
    ]
    setup = place_quantizers(model)
    statistics = observe(model, observed_tensors(model, setup), samples)
    limits = estimate_parameters(model, setup, statistics, Scheme(), frozenset())
    insert_quantizers(model, setup.points, limits)
    quantizers = [node for node in model.get_ops() if node.get_type_name() == "FakeQuantize"]
    assert any(node.input_value(0).get_node().get_friendly_name() == "mask" for node in quantizers)
    for node in quantizers:
        low, high = (node.input_value(port).get_node().get_data(dtype=np.float32).item() for port in (1, 2))
        assert np.isfinite([low, high]).all()
        zero = -low / (high - low) * (node.get_attributes()["levels"] - 1)
        assert abs(zero - round(zero)) < 0.1
