"""Nodes and tensors of a model by name, and which tensors are constant.

The name of a tensor is ``"<friendly name of its producer>:<output port>"``. Friendly names are unique (see
:mod:`tasks.graph.naming`).
"""

from collections.abc import Mapping

import openvino as ov

# Operations whose result may change from one inference to the next even if all that they read is constant.
STATEFUL_TYPES = frozenset({"ReadValue", "RandomUniform", "Multinomial", "If", "Loop", "TensorIterator"})


def tensor_name(output: ov.Output) -> str:
    """The name of a tensor, ``"<producer>:<output port>"``.

    Args:
        output: The tensor.
    """
    return f"{output.get_node().get_friendly_name()}:{output.get_index()}"


def nodes_by_name(model: ov.Model) -> dict[str, ov.Node]:
    """The nodes of the main graph by friendly name, in topological order.

    Args:
        model: The model; bodies of If, Loop and TensorIterator are not entered.
    """
    return {node.get_friendly_name(): node for node in model.get_ordered_ops()}


def find_output(nodes: Mapping[str, ov.Node], tensor: str) -> ov.Output:
    """The tensor of a name.

    Args:
        nodes: Nodes of a model by friendly name (:func:`nodes_by_name`).
        tensor: Name of the tensor, ``"<producer>:<output port>"``.

    Raises:
        KeyError: The model has no such producer or port.
    """
    name, _, port = tensor.rpartition(":")
    if name not in nodes or not port.isdecimal() or int(port) >= nodes[name].get_output_size():
        raise KeyError(f"the model has no tensor {tensor!r}")
    return nodes[name].output(int(port))


def is_constant(output: ov.Output) -> bool:
    """Whether a tensor has the same value in every inference: it depends on Constants alone.

    Args:
        output: The tensor.
    """
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
