"""A model as text, one line per operation in topological order: for tests and for people."""

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.graph.constants import constant_value
from tasks.graph.traversal import is_constant, tensor_name

# Digits enough to see a change, and too few to see the rounding of another machine.
_FORMAT = "{:.4g}"
_MOST_VALUES = 4


def model_text(model: ov.Model) -> str:
    """A line ``name = Type(inputs) element type[shape]`` for every operation.

    Inputs are the names of tensors, without the port where it is 0. Constants show their values, or the extremes of
    more than four. A FakeQuantize shows its levels and its range instead of inputs 1 to 4, whose constants have no
    lines.

    Args:
        model: The model; bodies of If, Loop and TensorIterator are not shown.

    Example:
        >>> from openvino import opset13 as ops
        >>> data = ops.parameter([1, 3], name="data")
        >>> model = ov.Model([ops.relu(data, name="relu")], [data])
        >>> print(model_text(model).splitlines()[1])
        relu = Relu(data) f32[1,3]
    """
    limits = _limit_names(model)
    return "".join(f"{_line(node)}\n" for node in model.get_ordered_ops() if node.get_friendly_name() not in limits)


def _line(node: ov.Node) -> str:
    shapes = ", ".join(
        f"{output.get_element_type().get_type_name()}{output.get_partial_shape()}" for output in node.outputs()
    )
    inputs = [_reference(node.input_value(port)) for port in range(node.get_input_size())]
    text = f"{node.get_friendly_name()} = {node.get_type_name()}"
    if node.get_type_name() == "FakeQuantize":
        return f"{text}({inputs[0]}) {shapes} {_quantization(node)}"
    if node.get_type_name() == "Constant":
        return f"{text} {shapes} {_values(constant_value(node.output(0)))}"
    return f"{text}({', '.join(inputs)}) {shapes}".rstrip()


def _quantization(node: ov.Node) -> str:
    low, high, out_low, out_high = (_limit(node.input_value(port)) for port in range(1, 5))
    text = f"levels={node.get_attributes()['levels']} in={low}..{high}"
    return text if (low, high) == (out_low, out_high) else f"{text} out={out_low}..{out_high}"


def _limit(output: ov.Output) -> str:
    return _values(constant_value(output)) if is_constant(output) else _reference(output)


def _values(values: NDArray[np.generic]) -> str:
    flat = values.ravel()
    if flat.size <= _MOST_VALUES:
        listed = ", ".join(_FORMAT.format(value) for value in flat.tolist())
        return listed if flat.size == 1 else f"{{{listed}}}"
    return f"{{{_FORMAT.format(flat.min())} to {_FORMAT.format(flat.max())}, {flat.size} values}}"


def _limit_names(model: ov.Model) -> set[str]:
    """The names of constants that only FakeQuantize operations read, as their range."""
    quantizers = [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    read = {node.input_value(port).get_node().get_friendly_name() for node in quantizers for port in range(1, 5)}
    shared = {
        node.input_value(port).get_node().get_friendly_name()
        for node in model.get_ordered_ops()
        for port in range(node.get_input_size())
        if node.get_type_name() != "FakeQuantize" or port == 0
    }
    return read - shared


def _reference(output: ov.Output) -> str:
    return tensor_name(output).removesuffix(":0")
