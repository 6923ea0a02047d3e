from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.graph.constants import constant_value
from tasks.graph.traversal import find_output, is_constant, nodes_by_name, tensor_name
from tests.support import models as m

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_tensors_are_named_by_producer_and_port() -> None:
    split = m.named(ops.split(m.relu_image(), m.number("axis", 1), 2), "a:b")
    nodes = nodes_by_name(m.build(split.output(0), split.output(1)))
    assert tensor_name(split.output(1)) == "a:b:1"
    assert find_output(nodes, "a:b:1").get_index() == 1
    assert find_output(nodes, "a:b:1").get_node().get_friendly_name() == "a:b"


@pytest.mark.parametrize("tensor", ["relu:1", "absent:0", "relu", "relu:x", "relu:-1"])
def test_a_tensor_that_does_not_exist_is_an_error(tensor: str) -> None:
    with pytest.raises(KeyError, match=f"no tensor '{tensor}'"):
        find_output(nodes_by_name(m.build(m.relu_image())), tensor)


def test_nodes_stand_in_topological_order() -> None:
    names = list(nodes_by_name(m.crossed_pool()))
    assert names.index("image") < names.index("relu") < names.index("pool") < names.index("conv")


def decompressed() -> ov.Node:
    codes = ops.convert(ops.constant(VALUES.astype(np.int8)), "f32")
    return ops.multiply(ops.subtract(codes, ops.constant(np.float32(1))), ops.constant(np.float32(2)))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(lambda: ops.constant(VALUES), VALUES, id="Constant"),
        pytest.param(lambda: ops.convert(ops.constant(VALUES.astype(np.float16)), "f32"), VALUES, id="f16-converted"),
        pytest.param(lambda: ops.constant(VALUES.astype(np.float16)), VALUES, id="f16"),
        pytest.param(lambda: ops.constant(VALUES, dtype=ov.Type.bf16), VALUES, id="bf16"),
        pytest.param(lambda: ops.convert(ops.constant(VALUES, dtype=ov.Type.bf16), "f32"), VALUES, id="bf16-converted"),
        pytest.param(
            lambda: ops.convert(ops.constant(VALUES.astype(np.int8), dtype=ov.Type.i4), "f32"),
            VALUES,
            id="i4-converted",
        ),
        pytest.param(lambda: ops.transpose(ops.constant(VALUES), ops.constant([1, 0])), VALUES.T, id="Transpose"),
        pytest.param(
            lambda: ops.reshape(ops.constant(VALUES), ops.constant([3, 2]), False), VALUES.reshape(3, 2), id="Reshape"
        ),
        pytest.param(decompressed, (VALUES - 1) * 2, id="decompressed"),
        pytest.param(lambda: ops.constant(np.float32(3)), np.float32(3), id="scalar"),
    ],
)
def test_constant_values(make: Callable[[], ov.Node], expected: np.ndarray) -> None:
    value = constant_value(make().output(0))
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value, expected, strict=True)


@pytest.mark.parametrize("shape", [(), (8, 1, 1, 1), (1, 3, 1, 1), (3, 1, 1), (2, 1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("swapped", [False, True])
def test_scaled_int8_weights_are_what_openvino_makes_of_them(shape: tuple[int, ...], swapped: bool) -> None:
    rng = np.random.default_rng(5)
    codes = ops.convert(ops.constant(rng.integers(-128, 128, (8, 3, 5, 5)).astype(np.int8)), "f32")
    operands = (codes, ops.constant(np.asarray(rng.uniform(1e-3, 1, shape), np.float32)))
    output = ops.multiply(*(operands[::-1] if swapped else operands)).output(0)
    model = m.build(ops.add(output, m.image("zero", (1,))))
    [expected] = ov.Core().compile_model(model, "CPU")([np.zeros(1, np.float32)]).values()
    np.testing.assert_array_equal(constant_value(output), expected, strict=True)


def test_second_output_of_a_constant_operation() -> None:
    split = ops.split(ops.constant(VALUES), ops.constant(np.int64(0)), 2)
    np.testing.assert_array_equal(constant_value(split.output(1)), VALUES[1:])


def test_integers_keep_their_type() -> None:
    value = constant_value(m.integers("numbers", 1, 2).output(0))
    assert value.dtype == np.int64
    assert value.tolist() == [1, 2]


def test_a_computed_tensor_has_no_constant_value() -> None:
    with pytest.raises(ValueError, match="'relu:0' is not constant"):
        constant_value(m.relu_image().output(0))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(lambda: m.constant("w", 2), True, id="Constant"),
        pytest.param(decompressed, True, id="of-constants"),
        pytest.param(m.image, False, id="Parameter"),
        pytest.param(lambda: m.add(m.image(), m.constant("w", 1), "sum"), False, id="of-a-parameter"),
        pytest.param(lambda: m.shape_of(m.image(), "shape"), False, id="ShapeOf"),
        pytest.param(
            lambda: ops.random_uniform(m.integers("shape", 2), m.constant("low"), m.constant("high"), "f32"),
            False,
            id="RandomUniform",
        ),
    ],
)
def test_is_constant(make: Callable[[], ov.Node], expected: bool) -> None:
    assert is_constant(make().output(0)) is expected
