"""Biases are found, changed and created; nothing but them changes."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.graph.biases import change_bias, find_bias, insert_bias
from tasks.graph.operations import read_operations
from tasks.graph.traversal import nodes_by_name
from tests.support import models as m


def bias_of(model: ov.Model, axis: int, layer: str = "layer") -> str | None:
    [operation] = [each for each in read_operations(model) if each.name == layer]
    found = find_bias(operation, axis)
    return found.name if found else None


def with_bias(*shape: int) -> ov.Model:
    layer = m.named(m.convolution(m.image(), "layer", 3), "layer")
    return m.build(m.named(ops.add(layer, m.constant("value", *shape)), "bias"))


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (3, 1, 1), (), (1,), (1, 1, 1, 1), (1, 3, 8, 8), (8, 8)])
def test_any_constant_that_broadcasts_is_a_bias(shape: tuple[int, ...]) -> None:
    assert bias_of(with_bias(*shape), -3) == "bias"


def test_an_added_constant_with_more_axes_is_none() -> None:
    assert bias_of(with_bias(1, 1, 3, 1, 1), -3) is None


def test_an_added_constant_that_makes_more_channels_is_none() -> None:
    layer = m.convolution(m.image(), "layer", 1)
    assert bias_of(m.build(m.named(ops.add(layer, m.constant("value", 1, 3, 1, 1)), "bias")), -3) is None


def test_a_layer_read_twice_has_none() -> None:
    layer = m.convolution(m.image(), "layer", 3)
    assert bias_of(m.build(m.bias(layer, "bias"), m.relu(layer, "other")), -3) is None


def test_the_sum_of_two_computed_tensors_is_none() -> None:
    layer = m.convolution(m.image(), "layer", 4)
    assert bias_of(m.build(m.add(layer, m.relu(layer.input_value(0).get_node(), "relu"), "sum")), -3) is None


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (3, 1, 1), (), (1, 3, 8, 8)])
@pytest.mark.parametrize("quantized", [False, True])
def test_changed_bias_adds_to_every_place(shape: tuple[int, ...], quantized: bool) -> None:
    layer = m.convolution(m.image(), "layer", 3)
    value = m.constant("value", *shape)
    high = np.float32(np.abs(value.get_data()).max())
    read = m.named(ops.fake_quantize(value, -high, high, -high, high, 255), "fq") if quantized else value
    model = m.build(m.named(ops.add(layer, read), "bias"), m.named(ops.multiply(value, value), "reader"))
    data = {"image": m.constant("data", 1, 4, 8, 8).get_data()}
    core = ov.Core()
    before = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(data)
    shift = np.array([1.0, -2.0, 3.0])
    change_bias(nodes_by_name(model)["bias"], -3, shift, suffix="changed")
    model.validate_nodes_and_infer_types()
    after = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(data)
    step = 2 * (high + 3) / 254 if quantized else 1e-5
    assert np.abs(after[0] - before[0] - shift.reshape(3, 1, 1)).max() <= step
    # What else reads the constant reads what it read.
    assert np.array_equal(after[1], before[1])


def test_inserted_bias_keeps_names_and_result() -> None:
    layer = m.convolution(m.image(), "layer", 3)
    layer.output(0).set_names({"answer"})
    model = m.build(layer, m.relu(layer, "other"))
    add = insert_bias(nodes_by_name(model)["layer"], -3, "layer/bias")
    change_bias(add, -3, np.ones(3), suffix="corrected")
    model.validate_nodes_and_infer_types()
    assert [node.get_friendly_name() for node in model.get_ordered_ops() if node.get_type_name() == "Add"] == [
        "layer/bias"
    ]
    data = {"image": m.constant("data", 1, 4, 8, 8).get_data()}
    found = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(data)
    assert found[1] == pytest.approx(np.maximum(found[0], 0))
    # The tensor's name stays with what the model answers.
    assert model.output("answer").get_any_name() == "answer"
    assert found["answer"] == pytest.approx(found[0])
