"""Tuned layers answer nearer to the float ones, say so truly, and nothing else changes."""

from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms import layer_moments, layerwise_tuning
from tasks.algorithms.activation_scales import FACTORS
from tasks.algorithms.inference import Sample, compile_for_samples
from tasks.algorithms.layerwise_tuning import Parameter, TunedLayer, plan_tuning, tune_layers
from tasks.errors import InputError
from tasks.graph.constants import read_constant, write_constant
from tasks.graph.layers import find_layers
from tasks.graph.operations import read_operations
from tasks.graph.scope import IgnoredOperation, IgnoredScope
from tasks.graph.text import model_text
from tasks.graph.traversal import nodes_by_name
from tasks.numerics.affine import Granularity, Mode
from tasks.numerics.metrics import sqnr
from tests.support import models as m
from tests.support.layer_kinds import KINDS, Kind
from tests.support.quantize import quantize

Array = NDArray[Any]


def samples(shape: tuple[int, ...], name: str, count: int = 24, seed: int = 0) -> list[Sample]:
    """Channels of different means and neighbours that are alike, as in images."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count, *shape))
    for axis in range(1, noise.ndim):
        noise = noise + np.roll(noise, 1, axis)
    return [{name: each.astype(np.float32)} for each in noise + np.linspace(0, 1, shape[-1])]


def answers(model: ov.Model, data: list[Sample]) -> Array:
    compiled = compile_for_samples(model)
    return np.stack([compiled(dict(sample))[0] for sample in data])


def tune_all(model: ov.Model, quantized: ov.Model, data: list[Sample], **options: Any) -> list[TunedLayer]:
    plan = plan_tuning(model, quantized, IgnoredScope(), options.pop("passes", None))
    return [layer for group in plan.groups for layer in tune_layers(model, quantized, group, data, **options)]


def deep(kind: str = "relu") -> ov.Model:
    """Convolutions of several kinds behind each other, with a branch and biases."""
    behind = m.clamp if kind == "clamp" else m.relu
    stem = behind(m.biased_convolution(m.image("data", (1, 4, 12, 12)), "stem", 8, 3), "stem_relu")
    wise = behind(m.bias(m.grouped_convolution(stem, "wise", 8), "wise_bias"), "wise_relu")
    left = m.convolution(wise, "left", 8, 1)
    right = m.convolution(wise, "right", 8, 1)
    joined = behind(m.add(left, right, "sum"), "sum_relu")
    return m.build(m.matmul(m.reshape(m.mean(joined, "mean"), "flat", 1, 8), "head", 6))


@pytest.fixture(scope="module")
def data() -> list[Sample]:
    return samples((1, 4, 12, 12), "data")


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_layers_of_every_kind_miss_by_what_is_told_and_never_more_than_before(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("POSITIONS", "FEW_POSITIONS"):
        monkeypatch.setattr(layer_moments, name, 10**6)
    model, inputs = kind.model(), samples(kind.shape, "data")
    before = model.clone()
    quantized = model.clone()
    # Weights of 4 bits on one grid; their data stay float.
    codes = np.rint(m.constant("weights", *kind.weights).get_data() * 3).clip(-7, 7)
    third = ops.constant(np.full([1] * codes.ndim, 1 / 3, np.float32))
    scaled = ops.multiply(ops.convert(ops.constant(codes.astype(np.int8)), "f32"), third)
    port = find_layers(read_operations(model))[0].weights.port
    nodes_by_name(quantized)["layer"].input(port).replace_source_output(scaled.output(0))
    quantized.validate_nodes_and_infer_types()
    expected = answers(model, inputs)

    def missed() -> float:
        # OpenVINO 2026.4 multiplies float data and int8 weights of one scale wrongly now and then: folded beforehand.
        folded = quantized.clone()
        node = nodes_by_name(folded)["layer"]
        write_constant(node, port, read_constant(node, port), "folded")
        return float(((answers(folded, inputs) - expected).astype(np.float64) ** 2).mean())

    rounded = missed()
    [layer] = tune_all(model, quantized, inputs)
    assert layer.layer == "layer"
    assert layer.after < layer.before
    assert missed() < rounded
    # All positions are observed: the ratio of the errors told is the real one.
    assert missed() / rounded == pytest.approx(layer.after / layer.before, rel=1e-3)
    assert model_text(model) == model_text(before)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("kind", ["relu", "clamp"])
def test_a_network_answers_nearer_also_for_data_that_it_was_not_tuned_on(
    data: list[Sample], bits: int, kind: str
) -> None:
    model = deep(kind)
    quantized, fresh = quantize(model, data, bits), samples((1, 4, 12, 12), "data", seed=1)
    expected = answers(model, fresh)
    before = sqnr(expected, answers(quantized, fresh))
    layers = tune_all(model, quantized, data)
    assert {layer.layer for layer in layers} == {"stem", "wise", "left", "right", "head"}
    assert all(layer.after <= layer.before for layer in layers)
    assert sqnr(expected, answers(quantized, fresh)) > before + (3 if bits <= 4 else 0)


@pytest.mark.parametrize("granularity", Granularity)
@pytest.mark.parametrize("mode", Mode)
def test_levels_stay_levels(data: list[Sample], granularity: Granularity, mode: Mode) -> None:
    model = deep()
    quantized = quantize(model, data, mode=mode, granularity=granularity)
    before = answers(quantized, data)
    tune_all(model, quantized, data)
    for node in quantized.get_ops():
        if node.get_type_name() == "Constant" and node.get_output_element_type(0) == ov.Type.i8:
            assert len(np.unique(node.get_data())) <= (15 if mode == Mode.SYMMETRIC else 16)
    scales = [
        node.input_value(1).get_node().get_data()
        for node in quantized.get_ops()
        if node.get_type_name() == "Multiply" and node.input_value(0).get_node().get_type_name() != "Parameter"
    ]
    assert scales
    assert all((scale > 0).all() for scale in scales)
    assert (granularity == Granularity.PERTENSOR) == all(scale.size == 1 for scale in scales)
    expected = answers(model, data)
    assert sqnr(expected, answers(quantized, data)) > sqnr(expected, before)


def test_equal_runs_give_equal_models_whatever_the_threads(data: list[Sample]) -> None:
    model = deep()
    texts = []
    for threads in (1, 2):
        quantized = quantize(model, data)
        layers = tune_all(model, quantized, data, threads=threads)
        texts.append((layers, [node.get_data().tolist() for node in quantized.get_ops() if is_constant(node)]))
    assert texts[0] == texts[1]
    other = quantize(model, data)
    assert tune_all(model, other, data, seed=1) != texts[0][0]


def is_constant(node: ov.Node) -> bool:
    return bool(node.get_type_name() == "Constant")


def test_fewer_passes_group_layers_that_depend_on_each_other(data: list[Sample]) -> None:
    model = deep()
    quantized = quantize(model, data)
    expected, before = answers(model, data), answers(quantized, data)
    plan = plan_tuning(model, quantized, IgnoredScope(), None)
    assert plan.groups == (("stem",), ("wise",), ("left", "right"), ("head",))
    seen: list[int] = []
    layers = [tune_all(model, quantized, data, passes=2, advance=lambda: seen.append(1))]
    assert len(seen) == 2 * len(data)
    assert len(layers[0]) == 5
    few = sqnr(expected, answers(quantized, data))
    many = quantize(model, data)
    tune_all(model, many, data)
    # What depends on others of its group cannot make up for their errors.
    assert sqnr(expected, before) - 1.5 < few < sqnr(expected, answers(many, data))


@pytest.mark.parametrize("parameter", ["biases", "weights", "scales"])
def test_only_what_is_asked_for_changes(data: list[Sample], parameter: Parameter) -> None:
    model = deep()
    quantized = quantize(model, data)
    before = constants(quantized)
    tune_all(model, quantized, data, parameters=(parameter,))
    after = constants(quantized)
    changed = {kind for kind in before if before[kind] != after[kind]}
    assert parameter in changed
    assert changed <= {parameter}


def constants(model: ov.Model) -> dict[str, list[Any]]:
    """Codes of weights, scales of weights and limits of activations, biases."""
    found: dict[str, list[Any]] = {"weights": [], "scales": [], "biases": []}
    for node in model.get_ordered_ops():
        values = [node.input_value(port).get_node() for port in range(node.get_input_size())]
        kind = {"Convert": "weights", "Multiply": "scales", "FakeQuantize": "scales", "Add": "biases"}
        if node.get_type_name() in kind:
            found[kind[node.get_type_name()]] += [
                value.get_data().reshape(-1).tolist()
                for value in values
                if is_constant(value) and np.any(value.get_data())
            ]
    return found


def test_limits_that_cut_off_are_widened_where_only_the_layer_reads_them(data: list[Sample]) -> None:
    model = deep()
    quantized = quantize(model, data, 8)
    nodes = nodes_by_name(quantized)
    own = nodes["stem"].input_value(0).get_node()
    for port in range(1, 5):
        write_constant(own, port, read_constant(own, port) / 2, f"half_{port}")
    quantized.validate_nodes_and_infer_types()
    layers = {layer.layer: layer for layer in tune_all(model, quantized, data)}
    assert layers["stem"].range_factor == pytest.approx(2, rel=0.25)
    assert layers["stem"].range_factor in FACTORS
    assert layers["left"].range_factor == layers["right"].range_factor


def test_the_last_layer_of_a_branch_makes_up_for_the_other_summand(
    data: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What comes of the stem tells its error: it has more channels than the data.
    stem = m.biased_convolution(m.image("data", (1, 4, 12, 12)), "stem", 8, 1)
    model = m.build(m.add(m.biased_convolution(stem, "last", 8, 1), stem, "sum"))
    quantized = quantize(model, data, bits=2)
    alone = quantized.clone()
    tune_all(model, quantized, data)
    monkeypatch.setattr(layerwise_tuning, "find_sum", lambda *_: None)
    tune_all(model, alone, data)
    expected = answers(model, data)
    assert sqnr(expected, answers(quantized, data)) > sqnr(expected, answers(alone, data)) + 0.5


def test_ignored_layers_stay_and_are_named(data: list[Sample]) -> None:
    model = deep()
    quantized = quantize(model, data)
    ignored = IgnoredScope(scope=("stem",), operations=(IgnoredOperation("MatMul"),))
    plan = plan_tuning(model, quantized, ignored, None)
    assert plan.skipped == ("stem: ignored", "head: ignored")
    assert plan.groups == (("wise",), ("left", "right"))
    with pytest.raises(InputError, match=r"ignored\.scope: the model has no operation 'stam'"):
        plan_tuning(model, quantized, IgnoredScope(scope=("stam",)), None)


def test_layers_that_cannot_be_tuned_are_named(data: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    model = deep()
    quantized = quantize(model, data)
    monkeypatch.setattr(layerwise_tuning, "MOST_INPUTS", 30)
    plan = plan_tuning(model, quantized, IgnoredScope(), None)
    assert plan.skipped == ("stem: it sums over 36 inputs, more than 30: their moments are too large",)
    assert plan_tuning(model, model.clone(), IgnoredScope(), None).groups == ()


def test_a_model_without_a_batch_axis_is_tuned() -> None:
    model = m.build(m.matmul(m.relu(m.matmul(m.image("tokens", (16, 8)), "first", 8), "relu"), "second", 4))
    data, fresh = samples((16, 8), "tokens"), samples((16, 8), "tokens", seed=1)
    quantized = quantize(model, data)
    tuned = quantized.clone()
    tune_all(model, tuned, data)
    expected = answers(model, fresh)
    assert sqnr(expected, answers(tuned, fresh)) > sqnr(expected, answers(quantized, fresh)) + 1


def test_values_that_are_not_finite_are_told_with_the_layer_and_what_to_do() -> None:
    inverse = m.named(ops.divide(ops.constant(np.float32(1)), m.relu_image((1, 4, 8, 8))), "inverse")
    infinite = m.build(m.convolution(inverse, "layer"))
    data = [{"image": np.full((1, 4, 8, 8), value, np.float32)} for value in (1.0, 2.0)]
    quantized = quantize(infinite, data)
    with pytest.raises(InputError, match=r"'layer' reads or answers values that are not finite.*ignored\.scope"):
        tune_all(infinite, quantized, [*data, {"image": np.zeros((1, 4, 8, 8), np.float32)}])


def test_a_dead_channel_harms_nothing() -> None:
    model = deep()
    stem = nodes_by_name(model)["stem"]
    weights = read_constant(stem, 1)
    weights[2] = 0
    write_constant(stem, 1, weights, "dead")
    inputs = samples((1, 4, 12, 12), "data")
    quantized = quantize(model, inputs)
    layers = tune_all(model, quantized, inputs)
    assert all(np.isfinite([layer.before, layer.after]).all() for layer in layers)
    assert np.isfinite(answers(quantized, inputs)).all()
