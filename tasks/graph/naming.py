"""Names of nodes, inputs and outputs: unique, and the same whenever the same file is read."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import openvino as ov


def input_name(port: Any) -> str:
    """The name under which users give the data of an input.

    It is the name of the Parameter, unless the input's tensor has other names only: then the first in alphabetical
    order.

    Args:
        port: Input of a model or of a compiled model.
    """
    names, own = port.get_names(), str(port.get_node().get_friendly_name())
    return own if own in names or not names else str(min(names))


def output_names(model: ov.Model) -> tuple[str, ...]:
    """One name per output: the first tensor name in alphabetical order, or the name of the node that computes it.

    A node with several outputs gives ``<node>.<port>``.

    Args:
        model: The model.
    """
    return tuple(_any_name(port) or _source_name(port.get_node().input_value(0)) for port in model.outputs)


def output_aliases(model: ov.Model) -> dict[str, str]:
    """The other names of outputs, each with the output's name in :func:`output_names`.

    They are the other names of its tensor, and the name of the node that computes it.

    Args:
        model: The model.
    """
    return {
        alias: name
        for port, name in zip(model.outputs, output_names(model), strict=True)
        for alias in sorted({*port.get_names(), _source_name(port.get_node().input_value(0))} - {name})
    }


def name_outputs(model: ov.Model) -> None:
    """Give the tensor of every output without a name the name of :func:`output_names`, in place.

    OpenVINO otherwise names the output after the node that computes it, which is another one in the quantized model.

    Args:
        model: The model.
    """
    taken = {name for node in model.get_ordered_ops() for output in node.outputs() for name in output.get_names()}
    for port, name in zip(model.outputs, output_names(model), strict=True):
        if not port.get_names() and name not in taken:
            port.get_tensor().set_names({name})
            taken.add(name)


def kinds_by_name(model: ov.Model) -> dict[str, str]:
    """The type of each node by its name, in bodies of If, Loop and TensorIterator too.

    Args:
        model: The model.
    """
    kinds = {}
    for node in model.get_ordered_ops():
        kinds[node.get_friendly_name()] = node.get_type_name()
        for body in _bodies(node):
            kinds |= kinds_by_name(body)
    return kinds


def name_nodes(model: ov.Model, lasting: Mapping[str, str] | None = None) -> None:
    """Make friendly names unique and replace those that do not last, in place, in bodies too.

    A name lasts if it is the same whenever the file is read. An IR holds its names, but a converted ONNX or TensorFlow
    model has nodes called ``Constant_1319`` by a counter of the process. They become ``Constant.0``, ``Constant.1`` ...
    in topological order. An operation that others were fused into gets the name of the one of its own type among them:
    a convolution that took in a batch normalization stays ``Conv_0``.

    Args:
        model: The model.
        lasting: Names that last, with the type of the node; None if all do.
    """
    nodes = model.get_ordered_ops()
    counters: Counter[str] = Counter()
    taken = {node.get_friendly_name() for node in nodes} & (lasting or {}).keys()
    seen: set[str] = set()
    for node in nodes:
        name, kind = node.get_friendly_name(), node.get_type_name()
        if lasting is not None and name not in lasting:
            fused = [each for each in _fused_names(node) if lasting.get(each) == kind and each not in taken]
            name = fused[0] if fused else f"{kind}.{counters[kind]}"
            counters[kind] += not fused
            taken.add(name)
        base, copies = name, 0
        while name in seen:
            copies += 1
            name = f"{base}.copy{copies}"
        seen.add(name)
        if name != node.get_friendly_name():
            _rename(node, name)
        for body in _bodies(node):
            name_nodes(body, lasting)


def move_names(source: ov.Output, target: ov.Output) -> None:
    """Move the names of one tensor to another, which is now the output of the model.

    Args:
        source: The tensor that loses its names.
        target: The tensor that gets them.
    """
    names = source.get_names()
    source.get_tensor().set_names(set())
    target.get_tensor().set_names(target.get_names() | names)


def _rename(node: ov.Node, name: str) -> None:
    old = node.get_friendly_name()
    node.set_friendly_name(name)
    for output in node.outputs():
        # OpenVINO names the tensors of nameless inputs and outputs after their nodes.
        if old == node.get_name() and old in output.get_names():
            output.get_tensor().set_names(output.get_names() - {old} | {name})


def _fused_names(node: ov.Node) -> list[str]:
    """The names of the operations that were fused into a node."""
    info = node.get_rt_info()
    return str(info["fused_names_0"].astype(str)).split(",") if "fused_names_0" in info else []


def _bodies(node: ov.Node) -> list[ov.Model]:
    """The bodies of an If, a Loop or a TensorIterator; none for other nodes."""
    if node.get_type_name() == "If":
        return [node.get_then_body(), node.get_else_body()]
    return [node.get_function()] if node.get_type_name() in {"Loop", "TensorIterator"} else []


def _source_name(output: ov.Output) -> str:
    name = str(output.get_node().get_friendly_name())
    return name if output.get_node().get_output_size() == 1 else f"{name}.{output.get_index()}"


def _any_name(port: Any) -> str | None:
    names = port.get_names()
    return min(names) if names else None
