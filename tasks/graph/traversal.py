"""Looking things up in a model: tensors by name, constants and their values.

A tensor is addressed by ``"<friendly name of its producer>:<output port>"``; friendly names are unique.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

# Operations whose result can change between inferences although every leaf below them is a constant.
STATEFUL_TYPES = frozenset({"ReadValue", "RandomUniform", "Multinomial", "If", "Loop", "TensorIterator"})


def tensor_name(output: ov.Output) -> str:
    """``"<producer>:<output port>"`` of a tensor."""
    return f"{output.get_node().get_friendly_name()}:{output.get_index()}"


def nodes_by_name(model: ov.Model) -> dict[str, ov.Node]:
    """Every node of the main graph by its friendly name, in topological order."""
    return {node.get_friendly_name(): node for node in model.get_ordered_ops()}


def find_output(nodes: Mapping[str, ov.Node], tensor: str) -> ov.Output:
    """The output that ``tensor`` names, among the ``nodes`` of :func:`nodes_by_name`.

    Raises KeyError for a producer or a port that does not exist.
    """
    name, _, port = tensor.rpartition(":")
    if name not in nodes or not port.isdecimal() or int(port) >= nodes[name].get_output_size():
        raise KeyError(f"the model has no tensor {tensor!r}")
    return nodes[name].output(int(port))


def is_constant(output: ov.Output) -> bool:
    """Whether a tensor has the same value in every inference: all leaves below it are Constants."""
    seen: set[str] = set()
    pending = [output.get_node()]
    while pending:
        node = pending.pop()
        if node.get_friendly_name() in seen or node.get_type_name() == "Constant":
            continue
        if node.get_input_size() == 0 or node.get_type_name() in STATEFUL_TYPES:
            return False
        seen.add(node.get_friendly_name())
        pending += [node.input_value(port).get_node() for port in range(node.get_input_size())]
    return True


def constant_value(output: ov.Output) -> NDArray[Any]:
    """The value of a constant tensor, in the tensor's shape; float32 for every floating-point type.

    Constants behind Convert, Reshape, Multiply, ... (compressed weights) are evaluated node by node; the value of a
    Constant itself is read-only. Raises ValueError for a tensor that depends on the model's inputs and for an operation
    that OpenVINO cannot evaluate.
    """
    if not is_constant(output):
        raise ValueError(f"the tensor {tensor_name(output)!r} is not constant")
    node = output.get_node()
    values: NDArray[Any] = _numbers(node) if node.get_type_name() == "Constant" else _evaluate(output, {}).data
    return values.astype(np.float32, copy=False) if output.get_element_type().is_real() else values


def _numbers(node: ov.Node) -> NDArray[Any]:
    """What a Constant holds: its own memory, which numpy lets nobody write, where the element type is one of numpy's."""
    element_type = node.get_output_element_type(0)
    if element_type.is_real() and element_type not in (ov.Type.f16, ov.Type.f32, ov.Type.f64):
        # bf16 and the 8-bit floats have no numpy type: read as float32 they keep every value.
        return np.asarray(node.get_data(dtype=np.float32))
    # Packed elements come back as bytes unless a wider type is asked for (boolean counts as 8 bits).
    return np.asarray(node.get_data(dtype=np.int32) if element_type.bitwidth < 8 else node.get_data())


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
