"""Codes, scales and zero points of a quantized model: read and written for every kind of layer."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.graph.columns import form_of
from tasks.graph.constants import read_constant
from tasks.graph.layers import find_layers
from tasks.graph.operations import read_operations
from tasks.graph.quantized_weights import QuantizedWeights, find_quantized_weights
from tasks.graph.traversal import nodes_by_name
from tests.support import models as m
from tests.support.layer_kinds import KINDS, Kind


def quantized(kind: Kind, axis: int | None, *, zero_point: bool, reshape: bool = False) -> ov.Model:
    """The kind's model with weights made of int8 codes, scales along an axis of the weights, or one scale."""
    rng = np.random.default_rng(0)
    shape = [size if place == axis else 1 for place, size in enumerate(kind.weights)] if axis is not None else [1]
    codes = ops.constant(rng.integers(-7, 8, kind.weights).astype(np.int8))
    weights = m.named(ops.convert(codes, "f32"), "convert")
    if zero_point:
        weights = m.named(ops.subtract(weights, ops.constant(np.full(shape, 2, np.float32))), "subtract")
    scale = ops.constant(rng.uniform(0.5, 1, shape).astype(np.float32))
    weights = m.named(ops.multiply(weights, scale), "multiply")
    if reshape:
        weights = ops.reshape(weights, ops.constant(np.array(kind.weights, np.int64)), special_zero=False)
    return m.build(m.named(kind.build(m.image("data", kind.shape), weights), "layer"))


def weights_of(model: ov.Model, kind: Kind) -> QuantizedWeights:
    [layer] = find_layers(read_operations(model))
    found = find_quantized_weights(nodes_by_name(model)["layer"], layer.weights.port, form_of(layer, kind.weights))
    assert isinstance(found, QuantizedWeights), found
    return found


def float_weights(model: ov.Model) -> np.ndarray:
    [layer] = find_layers(read_operations(model))
    return read_constant(nodes_by_name(model)["layer"], layer.weights.port)


def output_axis(kind: Kind) -> int | None:
    """The axis of the weights that holds output channels; a grouped layer has two: one scale has to do."""
    model = kind.model()
    [layer] = find_layers(read_operations(model))
    places = np.arange(np.prod(kind.weights)).reshape(kind.weights)
    form = form_of(layer, kind.weights)
    if form.groups > 1:
        return None
    rows = [np.unravel_index(int(form.matrices(places)[0, row, 0]), kind.weights) for row in range(2)]
    return next(axis for axis in range(len(kind.weights)) if rows[0][axis] != rows[1][axis])


@pytest.mark.parametrize("zero_point", [False, True])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_what_is_read_is_what_the_layer_reads(kind: Kind, *, zero_point: bool) -> None:
    model = quantized(kind, output_axis(kind), zero_point=zero_point, reshape=True)
    found = weights_of(model, kind)
    assert found.shared_scale == (output_axis(kind) is None)
    values = (found.codes() - found.zero_point()[:, :, None]) * found.scale()[:, :, None]
    assert found.form.weights(values) == pytest.approx(float_weights(model))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_what_is_written_is_what_the_layer_reads(kind: Kind) -> None:
    model = quantized(kind, output_axis(kind), zero_point=True)
    found = weights_of(model, kind)
    codes, scale = -found.codes(), found.scale() * 2
    found = found.write(codes, scale)
    model.validate_nodes_and_infer_types()
    assert (found.codes() == codes).all()
    assert found.scale() == pytest.approx(scale)
    assert found.form.weights((codes - 2) * scale[:, :, None]) == pytest.approx(float_weights(model))


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("float", "its weights are not quantized to 8 bits or less"),
        ("along inputs", "its scales differ along the inputs that are summed over"),
        ("shared", "its weights are shared with other operations"),
        ("zero", "its weights are zero"),
    ],
)
def test_what_cannot_be_changed_is_named(case: str, reason: str) -> None:
    kind = KINDS["pointwise"]
    model = kind.model() if case == "float" else quantized(kind, 1 if case == "along inputs" else 0, zero_point=False)
    node = nodes_by_name(model)["layer"]
    if case == "shared":
        ops.relu(node.input_value(1))
        other = ops.relu(node.input_value(1))
        model.add_results([ops.result(other)])
    if case == "zero":
        zeros = ops.constant(np.zeros(kind.weights, np.int8))
        nodes_by_name(model)["convert"].input(0).replace_source_output(zeros.output(0))
    [layer] = find_layers(read_operations(model))
    assert find_quantized_weights(node, 1, form_of(layer, kind.weights)) == reason
