"""Which operations may stay float together."""

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from tasks.graph.float_units import FloatUnit, float_units
from tasks.graph.operations import read_operations
from tasks.graph.placement import place_quantizers


def units(model: ov.Model) -> tuple[FloatUnit, ...]:
    return float_units(read_operations(model), place_quantizers(model).points)


def dense(data: ov.Node, name: str) -> ov.Node:
    return ops.matmul(data, np.ones((8, 8), np.float32), False, True, name=name)


def audio(layers_behind: int) -> ov.Model:
    data = ops.parameter([1, 4, 8], np.float32, name="data")
    spectrum = dense(data, "spectrum")
    value = ops.log(ops.add(ops.multiply(spectrum, spectrum, name="power"), np.float32(1e-6)))
    for number in range(layers_behind):
        value = ops.relu(dense(value, f"layer{number}"))
    return ov.Model([value], [data], "audio")


def test_all_in_front_of_the_first_logarithm_is_one_unit() -> None:
    first, *others = units(audio(2))
    assert first.kind == "front end"
    assert set(first.names) >= {"spectrum", "power"}
    assert not set(first.names) & {"layer0", "layer1"}
    assert {each.names for each in others} >= {("spectrum",), ("power",), ("layer0",), ("layer1",)}


def test_a_logarithm_behind_most_layers_ends_no_front_end() -> None:
    assert {each.kind for each in units(audio(0))} <= {"MatMul", "Multiply", "Add"}


def test_recurrent_layers_are_one_unit() -> None:
    value = data = ops.parameter([1, 5, 4], np.float32, name="data")
    state = ops.parameter([1, 1, 4], np.float32, name="state")
    shapes = (1, 12, 4), (1, 12, 4), (1, 12)
    for name in ("first", "second"):
        matrices = [ops.constant(np.ones(shape, np.float32)) for shape in shapes]
        layer = ops.gru_sequence(value, state, ops.constant([5]), *matrices, 4, "forward", name=name)
        value = ops.squeeze(layer.output(0), ops.constant([1]))
    model = ov.Model([dense(ops.concat([value, value], 2), "last")], [data, state], "recurrent")
    first, *others = units(model)
    assert first == FloatUnit("recurrent layers", ("first", "second"))
    assert {each.names for each in others} >= {("first",), ("second",), ("last",)}
