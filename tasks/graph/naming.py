"""Names that last: unique, and the same whenever the same file is read."""

import re
from collections import Counter
from typing import Any

import openvino as ov


def input_name(port: Any) -> str:
    """The name users give data for: the input's tensor name, the friendly name of its Parameter without one."""
    return _any_name(port) or str(port.get_node().get_friendly_name())


def output_names(model: ov.Model) -> tuple[str, ...]:
    """One name an output: its tensor name, or the friendly name of what feeds it."""
    return tuple(
        _any_name(port) or str(port.get_node().input_value(0).get_node().get_friendly_name()) for port in model.outputs
    )


def name_nodes(model: ov.Model, *, automatic: bool) -> None:
    """Make friendly names unique, and with ``automatic`` replace those that OpenVINO numbered by a process's counter.

    IR files carry their names; a converted ONNX or TensorFlow model has nodes called ``Constant_1319``, which would be
    another number in the next process. These become ``Constant.0``, ``Constant.1`` ... in topological order.
    """
    counters: Counter[str] = Counter()
    seen: set[str] = set()
    for node in model.get_ordered_ops():
        name, kind = node.get_friendly_name(), node.get_type_name()
        if automatic and re.fullmatch(rf"{kind}_\d+", name):
            name = f"{kind}.{counters[kind]}"
            counters[kind] += 1
        base, copies = name, 0
        while name in seen:
            copies += 1
            name = f"{base}.copy{copies}"
        seen.add(name)
        if name != node.get_friendly_name():
            node.set_friendly_name(name)


def _any_name(port: Any) -> str | None:
    names = port.get_names()
    return min(names) if names else None
