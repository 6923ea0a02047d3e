"""The parts of outputs by which two models are compared: what decides them, and what is of one kind.

What a selection makes of computed values cannot be compared place by place, as equally good models order ties
otherwise: what it reads and picks from is compared. Most probabilities are close to 0 or 1 whatever their logits are,
and the few samples in doubt make up nearly all of their error: what a softmax or a sigmoid reads is compared, to whose
error all samples contribute. And what a Concat joins, as boxes and scores, is compared apart.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from tasks.graph.activations import Activation, Kind, argmax_axis, find_activation, is_plain
from tasks.graph.moving import HANDED_ON, KEEPING, end_of
from tasks.graph.naming import output_names
from tasks.graph.operations import Source, is_float, read_operations
from tasks.graph.selections import Picked, find_selections, read_by_selections
from tasks.graph.traversal import find_output, nodes_by_name


@dataclass(frozen=True)
class Part:
    """What is compared of one output.

    Attributes:
        output: Name of the output.
        name: Name of the part; "" for the output as it is.
        tensors: Names of the tensors that hold it: several where a detector has several levels.
        centre: Axis along which the mean of the tensor is no matter, as in front of a softmax.
        kind: What computes it.
        classes: Axis of the classes, from the end, where the graph tells it.
    """

    output: str
    name: str
    tensors: tuple[str, ...]
    centre: int | None = None
    kind: Kind = Kind.OTHER
    classes: int | None = None

    @property
    def label(self) -> str:
        """How reports and metrics call it."""
        return f"{self.output}[{self.name}]" if self.name else self.output


@dataclass(frozen=True)
class Parts:
    """The parts of all outputs of real numbers, and the names of the outputs that a selection shapes."""

    parts: tuple[Part, ...]
    selected: tuple[str, ...]

    @property
    def as_they_are(self) -> bool:
        """Whether the outputs themselves are compared."""
        return not self.selected and not any(part.name for part in self.parts)


def find_parts(model: ov.Model) -> Parts:
    """The parts by which outputs are compared; float and quantized model have the same, in one order.

    A tensor that decides several outputs counts once.

    Args:
        model: The float or the quantized model.
    """
    operations = read_operations(model)
    behind = find_selections(operations)
    results = {operation.name: operation for operation in operations if operation.type == "Result"}
    found: dict[tuple[Source, ...], Part] = {}
    selected = []
    for port, name in zip(model.outputs, output_names(model), strict=True):
        source = results[port.get_node().get_friendly_name()].sources[0]
        read = read_by_selections(source, behind)
        if read:
            selected.append(name)
        elif not _is_compared(source):
            continue
        for group, part in _of_output(name, source, read):
            found.setdefault(group, part)
    return Parts(tuple(found.values()), tuple(selected))


def show_parts(model: ov.Model) -> ov.Model:
    """A model of the same operations whose outputs are the parts, in order; the same model if it has none.

    Args:
        model: The model, for one sample per request; it cannot be used any more.
    """
    nodes = nodes_by_name(model)
    results = [ops.result(_joined(nodes, part)) for part in find_parts(model).parts]
    if not results:
        return model
    return ov.Model(results, model.get_sinks(), model.get_parameters(), "parts")


def _is_compared(source: Source) -> bool:
    return is_float(source) and not source.operation.constant


def _of_output(output: str, source: Source, read: tuple[Picked, ...]) -> Iterator[tuple[tuple[Source, ...], Part]]:
    """The parts of one output, each with the tensors that stand for it whatever quantizers lie behind them."""
    for tensor, axis in [(each.source, each.argmax) for each in read] or [(source, None)]:
        groups = _split(tensor)
        for group in groups:
            name = group.name if read or len(groups) > 1 else "logits" if group.activation else ""
            part = Part(output, name, tuple(map(str, group.tensors)))
            if group.activation:
                one = len(group.tensors) == 1
                part = replace(
                    part,
                    centre=group.activation.axis,
                    kind=group.activation.kind if one else Kind.OTHER,
                    classes=group.activation.classes if one else None,
                )
            elif len(groups) == 1:
                classes = argmax_axis(tensor) if axis is None else axis
                part = replace(part, classes=classes, kind=Kind.PLAIN if is_plain(tensor) else Kind.OTHER)
            yield tuple(_base(each) for each in group.tensors), part


@dataclass(frozen=True)
class _Group:
    """Tensors of one kind; ``name`` is that of the operation that computes the first one."""

    name: str
    type: str
    tensors: tuple[Source, ...]
    activation: Activation | None = None


def _split(source: Source) -> list[_Group]:
    """The kinds of values that a tensor holds: what its last Concat joins, where that ends in different operations.

    Levels of a detector, each joined alike, are put together kind by kind.
    """
    activation = find_activation(source)
    if activation:
        name = activation.operation.name
        return [_Group(name, activation.operation.type, (activation.read,), activation)]
    end = end_of(source, KEEPING)
    whole = _Group(_name(end), end.operation.type, (source,))
    branches = [each for each in end.operation.sources if not each.operation.known]
    if end.operation.type != "Concat" or len(branches) < 2:
        return [whole]
    each = [_split(branch) for branch in branches]
    if len({tuple(group.type for group in groups) for groups in each}) > 1:
        return [group for groups in each for group in groups]
    if len(each[0]) == 1 and not each[0][0].activation:
        return [whole]
    return [_together(level) for level in zip(*each, strict=True)]


def _together(groups: Iterable[_Group]) -> _Group:
    first, *others = groups
    return replace(first, tensors=first.tensors + tuple(each for other in others for each in other.tensors))


def _name(source: Source) -> str:
    return source.operation.name if len(source.operation.consumers) == 1 else str(source)


def _base(source: Source) -> Source:
    """The tensor in front of quantizers."""
    return end_of(source, HANDED_ON)


def _joined(nodes: dict[str, ov.Node], part: Part) -> ov.Output:
    """The tensor of a part; several become one row."""
    tensors = [find_output(nodes, name) for name in part.tensors]
    if part.centre is not None:
        axis = np.array([part.centre])
        tensors = [ops.subtract(each, ops.reduce_mean(each, axis, keep_dims=True)).output(0) for each in tensors]
    if len(tensors) == 1:
        return tensors[0]
    rows = [ops.reshape(each, np.array([1, -1]), False) for each in tensors]
    return ops.concat(rows, 1).output(0)
