"""From statistics to the limits of every point."""

import warnings
from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.algorithms.inference import Sample
from tasks.algorithms.ranges import Parameters, estimate_parameters, from_arrays, to_arrays, wanted_quantiles
from tasks.errors import InputError
from tasks.graph.constants import constant_value
from tasks.graph.edits import insert_quantizers
from tasks.graph.placement import QuantizerSetup, Role, place_quantizers
from tasks.graph.presets import Preset, Scheme, TensorOptions
from tasks.graph.traversal import find_output, nodes_by_name
from tasks.numerics.affine import FakeQuantizeParameters, Granularity, Mode
from tasks.numerics.estimators import Border, EstimatorPreset, RangeEstimator
from tasks.numerics.statistics import Statistics, TensorStatistic
from tests.support import models as m
from tests.support.observe import observe

NONE: frozenset[str] = frozenset()
PER_CHANNEL = TensorOptions(granularity=Granularity.PERCHANNEL)
SCHEMES = [
    *(pytest.param(Scheme(preset), id=preset) for preset in Preset),
    pytest.param(Scheme(activations=PER_CHANNEL), id="activations-perchannel"),
    pytest.param(Scheme(weights=TensorOptions(granularity=Granularity.PERTENSOR)), id="weights-pertensor"),
    pytest.param(Scheme(weights=TensorOptions(bits=4)), id="weights-4-bits"),
]


def branches(channels: int = 6) -> ov.Model:
    """A Concat whose two parts share one scale."""
    data = m.image()
    hidden = m.convolution(m.relu(data, "relu"), "inner", channels)
    return m.build(m.convolution(m.concat("concat", m.relu(data, "left"), m.named(ops.tanh(hidden), "right")), "conv"))


MODELS = [
    m.convnet,
    m.attention,
    branches,
    lambda: m.recurrent("LSTMSequence"),
    lambda: m.recurrent("GRUSequence"),
    lambda: m.two_sums(shared=True),
]
MODEL_IDS = ["convnet", "attention", "concat", "lstm", "gru", "sums"]


def samples(model: ov.Model, count: int = 3) -> list[Sample]:
    generator = np.random.default_rng(0)
    return [
        {
            port.get_node().get_friendly_name(): generator.normal(size=list(port.get_shape())).astype(np.float32)
            for port in model.inputs
        }
        for _ in range(count)
    ]


def collect(model: ov.Model, setup: QuantizerSetup) -> Statistics:
    tensors = tuple(sorted({tensor for point in setup.points for tensor in point.observed}))
    return observe(model, tensors, samples(model), threads=2)


def estimate(
    model: ov.Model, scheme: Scheme, halved: frozenset[str] = NONE
) -> tuple[QuantizerSetup, Statistics, Parameters]:
    setup = place_quantizers(model)
    statistics = collect(model, setup)
    return setup, statistics, estimate_parameters(model, setup, statistics, scheme, halved)


def limits(parameters: FakeQuantizeParameters) -> list[list[float]]:
    return [parameters.input_low.tolist(), parameters.input_high.tolist()]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("make", MODELS, ids=MODEL_IDS)
def test_every_point_gets_finite_limits_that_can_be_inserted(make: Callable[[], ov.Model], scheme: Scheme) -> None:
    model = make()
    setup, _, parameters = estimate(model, scheme)
    assert parameters.keys() == {point.name for point in setup.points}
    for each in parameters.values():
        assert np.all(np.isfinite(limits(each)))
        assert np.all(each.input_low < each.input_high)
    insert_quantizers(model, setup.points, parameters)
    (sample,) = samples(model, 1)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1})
    outputs = compiled([sample[port.get_node().get_friendly_name()] for port in model.inputs])
    assert all(np.all(np.isfinite(output)) for output in outputs.values())


@pytest.mark.parametrize("make", MODELS, ids=MODEL_IDS)
def test_symmetric_weights_hold_all_values(make: Callable[[], ov.Model]) -> None:
    model = make()
    setup, _, parameters = estimate(model, Scheme())
    nodes = nodes_by_name(model)
    for point in setup.points:
        if point.role == Role.WEIGHTS:
            members = [
                find_output(nodes, each.tensor) for each in setup.points if each.group and each.group == point.group
            ]
            largest = max(np.abs(constant_value(each)).max() for each in members or [find_output(nodes, point.tensor)])
            assert parameters[point.name].input_high.max() == pytest.approx(largest)
            assert parameters[point.name].levels == 255


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("channels", [4, 6], ids=["equal-channels", "other-channels"])
def test_points_of_a_group_share_limits_that_hold_all_of_theirs(channels: int, scheme: Scheme) -> None:
    setup, statistics, parameters = estimate(branches(channels), scheme)
    members = [point for point in setup.points if point.group is not None]
    assert {point.tensor for point in members} == {"left:0", "right:0"}
    assert limits(parameters[members[0].name]) == limits(parameters[members[1].name])
    for point in members:
        # Extremes are means over the samples.
        highest = statistics[point.tensor].maximum.max(axis=1).mean()
        assert parameters[point.name].input_high.max() >= highest - 1e-6


def test_halved_weights_have_twice_the_limits() -> None:
    model = m.convnet()
    setup, _, plain = estimate(model, Scheme())
    _, _, fixed = estimate(model, Scheme(), frozenset({"stem"}))
    weights = {point.name for point in setup.points if "stem:1" in point.consumers}
    assert weights == {"stem/fq_weights_1"}
    for name, each in plain.items():
        factor = 2 if name in weights else 1
        assert (np.array(limits(fixed[name])) == factor * np.array(limits(each))).all()
        assert fixed[name].levels == each.levels


def test_presets_decide_where_zero_lies() -> None:
    def is_symmetric(each: FakeQuantizeParameters) -> bool:
        return bool(np.all(each.input_low == -each.input_high))

    for preset in Preset:
        setup, _, parameters = estimate(m.convnet(), Scheme(preset))
        weights = [parameters[point.name] for point in setup.points if point.role == Role.WEIGHTS]
        assert all(is_symmetric(each) for each in weights) == (preset != Preset.ACCURACY)


def test_arrays_bring_parameters_back() -> None:
    _, _, parameters = estimate(m.convnet(), Scheme(weights=TensorOptions(bits=4)))
    found = from_arrays(to_arrays(parameters))
    assert list(found) == list(parameters)
    for name, each in parameters.items():
        assert limits(found[name]) == limits(each)
        assert found[name].output_low.tolist() == each.output_low.tolist()
        assert found[name].output_high.tolist() == each.output_high.tolist()
        assert (found[name].levels, type(found[name].levels)) == (each.levels, int)
        assert found[name].input_low.dtype == np.float32


def test_names_with_slashes_come_back() -> None:
    one = np.ones(1, np.float32)
    parameters = {"block/1/conv/fq_input_0": FakeQuantizeParameters(-one, one, -one, one, 256)}
    assert from_arrays(to_arrays(parameters)).keys() == parameters.keys()


def test_extremes_want_no_quantiles() -> None:
    assert wanted_quantiles(place_quantizers(m.convnet()), Scheme()) == {}


@pytest.mark.parametrize("preset", Preset)
def test_the_wanted_quantiles_are_enough(preset: Preset) -> None:
    model = m.convnet()
    setup = place_quantizers(model)
    options = TensorOptions(range_estimator=RangeEstimator(EstimatorPreset.QUANTILE, max=Border(outlier_prob=0.1)))
    scheme = Scheme(preset, activations=options)
    statistics = observe(model, (), samples(model), wanted_quantiles(setup, scheme))
    found = estimate_parameters(model, setup, statistics, scheme, NONE)
    plain = estimate_parameters(model, setup, statistics, Scheme(preset), NONE)
    narrower = [found[name].input_high.max() < plain[name].input_high.max() for name in found if "fq_input" in name]
    assert all(narrower)
    with pytest.raises(KeyError):
        estimate_parameters(model, setup, collect(model, setup), scheme, NONE)


def masked(value: float) -> ov.Model:
    mask = np.zeros((1, 4, 1, 1), np.float32)
    mask[0, 3] = value
    total = ops.add(m.relu_image(), m.named(ops.constant(mask), "mask"))
    return m.build(m.softmax(m.named(total, "masked"), "probabilities"))


@pytest.mark.parametrize("value", [-np.inf, float(np.finfo(np.float32).min)], ids=["infinity", "largest-number"])
def test_masks_that_no_levels_can_cover_are_an_error(value: float) -> None:
    reached = "-inf" if np.isinf(value) else r"-3\.403e\+38"
    helps = r"quantization=transformer, or quantization\.ignored\.scope=\[masked\]"
    with pytest.raises(InputError, match=f"'mask:0' reaches {reached}, .*keep what reads it float: {helps}"):
        estimate(masked(value), Scheme())


@pytest.mark.parametrize("mode", Mode)
def test_infinite_activations_are_an_error_without_warnings(mode: Mode) -> None:
    model = m.crossed_pool()
    setup = place_quantizers(model)
    rows = np.array([[0, 1], [0, np.inf]], np.float32)
    with warnings.catch_warnings(), pytest.raises(InputError, match="reaches inf"):
        warnings.simplefilter("error")
        statistics = {point.tensor: TensorStatistic(0 * np.ones_like(rows), rows) for point in setup.points}
        estimate_parameters(model, setup, statistics, Scheme(activations=TensorOptions(mode=mode)), NONE)
