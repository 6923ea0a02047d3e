"""Constants of a model: read their values, and make new ones with names of their own."""

from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.errors import InputError, reason_of
from tasks.graph.traversal import is_constant, tensor_name

# The sums of one thread depend on no other.
_ONE_THREAD_OF_F32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "SNIPPETS_MODE": "DISABLE"}
_OF_NUMPY = {ov.Type.f16: np.float16, ov.Type.f32: np.float32, ov.Type.f64: np.float64, ov.Type.i8: np.int8}


def constant_value(output: ov.Output) -> NDArray[Any]:
    """The value of a constant tensor, in its shape; float32 for every floating-point type.

    Constants behind Convert, Reshape, Multiply, ... (compressed weights) are evaluated node by node, or inferred on the
    CPU where one of the operations has no such evaluation (attention, recurrent layers). The value of a Constant itself
    is read-only.

    Args:
        output: The tensor.

    Raises:
        ValueError: The tensor depends on the model's inputs.
        InputError: OpenVINO cannot compute the tensor.
    """
    node = output.get_node()
    if node.get_type_name() == "Constant":
        values = _numbers(node)
    elif not is_constant(output):
        raise ValueError(f"the tensor {tensor_name(output)!r} is not constant")
    elif (scaled := _scaled(node)) is not None:
        values = scaled
    else:
        values = _numbers(ov.op.Constant(_evaluate(output, {}) or _infer(output)))
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

    What the element type cannot hold becomes its largest number.

    Args:
        name: Friendly name.
        values: The values.
        element_type: OpenVINO's element type.
    """
    values = np.asarray(_rounded(values, np.float32) if values.dtype == np.float64 else values, order="C")
    # The function of the opset takes 20 us even if there is nothing to convert.
    kind = _OF_NUMPY.get(element_type)
    node = ops.constant(values, dtype=element_type) if kind is None else ov.op.Constant(_rounded(values, kind))
    node.set_friendly_name(name)
    return node.output(0)


def _rounded(values: NDArray[Any], kind: type) -> NDArray[Any]:
    wanted = np.dtype(kind)
    if wanted.kind == "f" and values.dtype.kind == "f" and wanted.itemsize < values.dtype.itemsize:
        largest = np.finfo(wanted).max
        values = np.where(np.isinf(values), values, np.clip(values, -largest, largest))
    return values.astype(wanted, copy=False)


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


def _evaluate(output: ov.Output, known: dict[str, ov.Tensor]) -> ov.Tensor | None:
    """The value of a tensor, None where it takes an operation that cannot be evaluated; ``known`` are those so far."""
    name = tensor_name(output)
    if name not in known:
        node = output.get_node()
        if node.get_type_name() == "Constant":
            known[name] = node.get_tensor_view()
        else:
            inputs = [_evaluate(node.input_value(port), known) for port in range(node.get_input_size())]
            # Some evaluations write beyond tensors that are too small (MVN, DepthToSpace, MaxPool; OpenVINO 2026.4).
            if None in inputs or any(each.get_partial_shape().is_dynamic for each in node.outputs()):
                return None
            results = [ov.Tensor(each.get_element_type(), each.get_shape()) for each in node.outputs()]
            if not _evaluates(node, results, inputs):
                return None
            known |= {tensor_name(each): result for each, result in zip(node.outputs(), results, strict=True)}
    return known[name]


def _evaluates(node: ov.Node, results: list[ov.Tensor], inputs: list[ov.Tensor | None]) -> bool:
    try:
        return bool(node.evaluate(results, inputs))
    except RuntimeError:
        return False


def _infer(output: ov.Output) -> ov.Tensor:
    try:
        compiled = ov.Core().compile_model(ov.Model([output], [], "constant"), "CPU", _ONE_THREAD_OF_F32)
        request = compiled.create_infer_request()
        request.infer()
    except RuntimeError as failure:
        named = f"{output.get_node().get_type_name()} {output.get_node().get_friendly_name()!r}"
        raise InputError(f"OpenVINO cannot compute the constant {named}: {reason_of(failure)}") from failure
    return request.get_output_tensor()
