"""Constants of a model: read their values, and make new ones with names of their own."""

from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.graph.traversal import is_constant, tensor_name

_OF_NUMPY = {ov.Type.f16: np.float16, ov.Type.f32: np.float32, ov.Type.f64: np.float64, ov.Type.i8: np.int8}


def constant_value(output: ov.Output) -> NDArray[Any]:
    """The value of a constant tensor, in its shape; float32 for every floating-point type.

    Constants behind Convert, Reshape, Multiply, ... (compressed weights) are evaluated node by node. The value of a
    Constant itself is read-only.

    Args:
        output: The tensor.

    Raises:
        ValueError: The tensor depends on the model's inputs, or OpenVINO cannot evaluate one of the operations.
    """
    node = output.get_node()
    if node.get_type_name() == "Constant":
        values = _numbers(node)
    elif not is_constant(output):
        raise ValueError(f"the tensor {tensor_name(output)!r} is not constant")
    elif (scaled := _scaled(node)) is not None:
        values = scaled
    else:
        values = _evaluate(output, {}).data
    return values.astype(np.float32, copy=False) if output.get_element_type().is_real() else values


def read_constant(node: ov.Node, port: int) -> NDArray[np.float64]:
    """The value of a constant tensor that a node reads, float64.

    Args:
        node: The node.
        port: Input port.
    """
    return constant_value(node.input_value(port)).astype(np.float64)


def write_constant(node: ov.Node, port: int, values: NDArray[np.float64], suffix: str) -> None:
    """Let a node read new values from a new Constant ``<node>/<suffix>``, of the element type that it read before.

    Args:
        node: The node, changed in place.
        port: Input port.
        values: The values, float64.
        suffix: End of the Constant's name.
    """
    constant = make_constant(f"{node.get_friendly_name()}/{suffix}", values, node.get_input_element_type(port))
    node.input(port).replace_source_output(constant)


def make_constant(name: str, values: NDArray[Any], element_type: ov.Type) -> ov.Output:
    """A new Constant with a copy of the values; float64 values are rounded to float32 first.

    Args:
        name: Friendly name.
        values: The values.
        element_type: OpenVINO's element type.
    """
    values = np.asarray(values, np.float32 if values.dtype == np.float64 else None, order="C")
    # The function of the opset takes 20 us even if there is nothing to convert.
    kind = _OF_NUMPY.get(element_type)
    node = ops.constant(values, dtype=element_type) if kind is None else ov.op.Constant(values.astype(kind, copy=False))
    node.set_friendly_name(name)
    return node.output(0)


def _numbers(node: ov.Node) -> NDArray[Any]:
    """The value of a Constant: its own memory, read-only, where numpy has the element type."""
    element_type = node.get_output_element_type(0)
    if element_type.is_real() and element_type not in (ov.Type.f16, ov.Type.f32, ov.Type.f64):
        # numpy has no type for bf16 and the 8-bit floats, of which float32 holds every value.
        return np.asarray(node.get_data(dtype=np.float32))
    # Packed elements come back as bytes unless a wider type is asked for (boolean counts as 8 bits).
    return np.asarray(node.get_data(dtype=np.int32) if element_type.bitwidth < 8 else node.get_data())


def _scaled(node: ov.Node) -> NDArray[np.float32] | None:
    """The value of ``Constant(i8) -> Convert -> Multiply`` in float32, to the bit as OpenVINO has it, but sooner.

    None for other nodes.
    """
    if node.get_type_name() != "Multiply" or node.get_output_element_type(0) != ov.Type.f32:
        return None
    convert, scale = (node.input_value(port).get_node() for port in range(2))
    codes = convert.input_value(0).get_node() if convert.get_type_name() == "Convert" else convert
    if codes.get_output_element_type(0) != ov.Type.i8 or {codes.get_type_name(), scale.get_type_name()} != {"Constant"}:
        return None
    if node.get_output_shape(0) != codes.get_output_shape(0):
        return None
    values: NDArray[np.float32] = _numbers(codes).astype(np.float32)
    values *= _numbers(scale)
    return values


def _evaluate(output: ov.Output, known: dict[str, ov.Tensor]) -> ov.Tensor:
    name = tensor_name(output)
    if name not in known:
        node = output.get_node()
        if node.get_type_name() == "Constant":
            known[name] = node.get_tensor_view()
        else:
            inputs = [_evaluate(node.input_value(port), known) for port in range(node.get_input_size())]
            results = [ov.Tensor(each.get_element_type(), ov.Shape([])) for each in node.outputs()]
            if not node.evaluate(results, inputs):
                raise ValueError(f"{node.get_type_name()} {node.get_friendly_name()!r} cannot be evaluated")
            known |= {tensor_name(each): result for each, result in zip(node.outputs(), results, strict=True)}
    return known[name]
