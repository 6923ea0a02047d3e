"""Looking things up in a model: nodes and tensors by name, and which tensors are constant.

A tensor is addressed by ``"<friendly name of its producer>:<output port>"``; friendly names are unique.
"""

from collections.abc import Mapping

import openvino as ov

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
