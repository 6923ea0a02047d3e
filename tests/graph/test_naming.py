"""Names are unique, last from process to process, and stay what the user knows them by."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.engine.artifact_store import Store
from tasks.graph.biases import insert_bias
from tasks.graph.naming import input_name, name_nodes, name_outputs, output_names
from tasks.graph.reading import read_model
from tests.support import models as m
from tests.support.onnx_file import write_convolution, write_normalized

UNNAMED_SHAPE = [1, 4]


def unnamed() -> ov.Model:
    data = ops.parameter(UNNAMED_SHAPE, ov.Type.f32)
    total = ops.add(ops.relu(data), ops.relu(ops.multiply(data, ops.constant(np.ones((1, 4), np.float32)))))
    return ov.Model([ops.result(total)], [data], "unnamed")


def unnamed_body(operation: Callable[[ov.Node], ov.Node]) -> tuple[ov.Node, ov.Model]:
    data = ops.parameter(UNNAMED_SHAPE, ov.Type.f32)
    return data, ov.Model([ops.result(operation(data))], [data], "body")


def unnamed_branches() -> ov.Model:
    condition, data = ops.parameter([], ov.Type.boolean), ops.parameter(UNNAMED_SHAPE, ov.Type.f32)
    (then_data, then_body), (else_data, else_body) = unnamed_body(ops.relu), unnamed_body(ops.tanh)
    branches = ops.if_op(condition.output(0))
    branches.set_then_body(then_body)
    branches.set_else_body(else_body)
    branches.set_input(data.output(0), then_data, else_data)
    output = branches.set_output(then_body.results[0], else_body.results[0])
    return ov.Model([ops.result(output)], [condition, data], "unnamed")


def unnamed_iterations() -> ov.Model:
    inside, body = unnamed_body(ops.relu)
    loop, data = ops.tensor_iterator(), ops.parameter(UNNAMED_SHAPE, ov.Type.f32)
    loop.set_body(body)
    loop.set_merged_input(inside, data.output(0), body.results[0].output(0))
    return ov.Model([ops.result(loop.get_iter_value(body.results[0].output(0), -1))], [data], "unnamed")


def names(model: ov.Model) -> list[str]:
    return [str(node.get_friendly_name()) for node in model.get_ordered_ops()]


@pytest.mark.parametrize("make", [unnamed, unnamed_branches, unnamed_iterations])
def test_automatic_names_become_the_same_for_the_same_model(make: Callable[[], ov.Model], store: Store) -> None:
    first, second = make(), make()
    assert names(first) != names(second)
    name_nodes(first, {})
    name_nodes(second, {})
    assert names(first) == names(second)
    assert store.put_model(first, "a") == store.put_model(second, "a")


def test_a_converted_file_gives_the_same_model_each_time(tmp_path: Path, store: Store) -> None:
    path = write_convolution(tmp_path / "model.onnx")
    assert store.put_model(read_model(path), "a") == store.put_model(read_model(path), "a")


def test_names_in_a_file_stay_though_they_look_automatic(tmp_path: Path) -> None:
    assert {"x", "w", "Conv_0", "Relu_1", "y"} <= set(names(read_model(write_convolution(tmp_path / "model.onnx"))))


def test_names_of_an_ir_stay() -> None:
    model = unnamed()
    before = names(model)
    name_nodes(model)
    assert names(model) == before


@pytest.mark.parametrize(
    "lasting", [dict.fromkeys(("same", "same.copy1", "same.copy2", "same.copy1.copy1"), "Relu"), None]
)
def test_duplicates_are_told_apart_in_topological_order(lasting: dict[str, str] | None) -> None:
    data = m.image("same")
    model = ov.Model([m.named(ops.result(m.relu(m.relu(data, "same"), "same")), "same.copy1")], [data], "twins")
    name_nodes(model, lasting)
    assert names(model) == ["same", "same.copy1", "same.copy2", "same.copy1.copy1"]
    name_nodes(model, lasting)
    assert names(model) == ["same", "same.copy1", "same.copy2", "same.copy1.copy1"]


def test_an_automatic_name_avoids_a_given_one() -> None:
    data = m.image("Relu.0")
    model = ov.Model([m.named(ops.result(ops.relu(data)), "result")], [data], "collision")
    name_nodes(model, {"Relu.0": "Parameter", "result": "Result"})
    assert len(set(names(model))) == 3
    assert names(model)[0] == "Relu.0"


def test_copied_automatic_names_do_not_last_either(tmp_path: Path, store: Store) -> None:
    """The convolution that takes in a batch normalization has the name that OpenVINO gave a product on the way."""
    path = write_normalized(tmp_path / "model.onnx")
    first, second = read_model(path), read_model(path)
    assert names(first) == names(second)
    assert store.put_model(first, "a") == store.put_model(second, "a")


def test_inputs_and_outputs_go_by_their_tensor_names() -> None:
    model = m.build(m.relu(m.image("image"), "relu"))
    model.input(0).get_tensor().set_names({"pixels"})
    model.output(0).get_tensor().set_names({"scores", "logits"})
    assert (input_name(model.input(0)), output_names(model)) == ("pixels", ("logits",))
    compiled = ov.Core().compile_model(model, "CPU")
    assert input_name(compiled.input(0)) == "pixels"


def test_an_input_goes_by_the_name_of_its_parameter_if_its_tensor_has_it() -> None:
    model = m.build(m.relu(m.image("pixels"), "relu"))
    model.input(0).get_tensor().set_names({"40", "pixels"})
    assert input_name(model.input(0)) == "pixels"


def without_tensor_names(model: ov.Model) -> ov.Model:
    for port in (*model.inputs, *model.outputs):
        port.get_tensor().set_names(set())
    return model


def test_without_tensor_names_operations_give_theirs() -> None:
    split = m.named(ops.split(m.image("image"), m.number("axis", 1), 2), "split")
    model = without_tensor_names(m.build(split.output(0), split.output(1), m.relu(m.image("other"), "relu")))
    assert [input_name(port) for port in model.inputs] == ["image", "other"]
    assert output_names(model) == ("split.0", "split.1", "relu")


def test_nameless_outputs_keep_one_name_whatever_is_added_behind_their_layers() -> None:
    layer = m.convolution(m.image("image"), "layer")
    model = without_tensor_names(m.build(layer, m.relu(m.image("other"), "relu")))
    name_outputs(model)
    insert_bias(layer, -3, "layer/bias")
    assert output_names(model) == ("layer", "relu")


def test_a_name_that_another_tensor_has_is_not_given_again() -> None:
    inner = m.relu(m.image("image"), "inner")
    inner.output(0).get_tensor().set_names({"last"})
    model = m.build(m.relu(inner, "last"))
    model.output(0).get_tensor().set_names(set())
    name_outputs(model)
    assert model.output(0).get_names() == set()
