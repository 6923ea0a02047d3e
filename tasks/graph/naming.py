"""Names that last: unique, and the same whenever the same file is read."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import openvino as ov


def input_name(port: Any) -> str:
    """The name users give data for: that of its Parameter, if the input's tensor has it or none, or the tensor's."""
    names, own = port.get_names(), str(port.get_node().get_friendly_name())
    return own if own in names or not names else str(min(names))


def output_names(model: ov.Model) -> tuple[str, ...]:
    """One name an output: its tensor name, or that of the node that feeds it, ``<node>.<port>`` for one of several."""
    return tuple(_any_name(port) or _source_name(port.get_node().input_value(0)) for port in model.outputs)


def output_aliases(model: ov.Model) -> dict[str, str]:
    """Every other name of an output, its other tensor names and its node's, with the one of :func:`output_names`."""
    return {
        alias: name
        for port, name in zip(model.outputs, output_names(model), strict=True)
        for alias in sorted({*port.get_names(), _source_name(port.get_node().input_value(0))} - {name})
    }


def name_outputs(model: ov.Model) -> None:
    """Give the tensor of every nameless output the name that :func:`output_names` has for it.

    Without one it is called by what computes it, which may be another operation in the quantized model.
    """
    taken = {name for node in model.get_ordered_ops() for output in node.outputs() for name in output.get_names()}
    for port, name in zip(model.outputs, output_names(model), strict=True):
        if not port.get_names() and name not in taken:
            port.get_tensor().set_names({name})
            taken.add(name)


def kinds_by_name(model: ov.Model) -> dict[str, str]:
    """The type of each node by its name, in bodies of If, Loop and TensorIterator too."""
    kinds = {}
    for node in model.get_ordered_ops():
        kinds[node.get_friendly_name()] = node.get_type_name()
        for body in _bodies(node):
            kinds |= kinds_by_name(body)
    return kinds


def name_nodes(model: ov.Model, lasting: Mapping[str, str] | None = None) -> None:
    """Make friendly names unique, and replace those that are not among the ``lasting`` ones; None for all.

    IR files carry their names; a converted ONNX or TensorFlow model has nodes called ``Constant_1319`` by a counter of
    the process, which would be another number in the next one. These become ``Constant.0``, ``Constant.1`` ... in
    topological order, in bodies too. With the types of ``lasting`` names, an operation that others were fused into gets
    the name of the one of its own type among them: a convolution that took in a batch normalization stays ``Conv_0``.
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
    """Give the names of one tensor to another, which an output of the model has become."""
    names = source.get_names()
    source.get_tensor().set_names(set())
    target.get_tensor().set_names(target.get_names() | names)


def _rename(node: ov.Node, name: str) -> None:
    old = node.get_friendly_name()
    node.set_friendly_name(name)
    for output in node.outputs():
        # OpenVINO calls the tensors of nameless inputs and outputs like their nodes.
        if old == node.get_name() and old in output.get_names():
            output.get_tensor().set_names(output.get_names() - {old} | {name})


def _fused_names(node: ov.Node) -> list[str]:
    info = node.get_rt_info()
    return str(info["fused_names_0"].astype(str)).split(",") if "fused_names_0" in info else []


def _bodies(node: ov.Node) -> list[ov.Model]:
    if node.get_type_name() == "If":
        return [node.get_then_body(), node.get_else_body()]
    return [node.get_function()] if node.get_type_name() in {"Loop", "TensorIterator"} else []


def _source_name(output: ov.Output) -> str:
    name = str(output.get_node().get_friendly_name())
    return name if output.get_node().get_output_size() == 1 else f"{name}.{output.get_index()}"


def _any_name(port: Any) -> str | None:
    names = port.get_names()
    return min(names) if names else None
