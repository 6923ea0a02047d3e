"""Units: operations that may stay float together, because they are of one kind or because each stands for itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.graph.costs import RECURRENT
from tasks.graph.layers import PRODUCTS
from tasks.graph.operations import Operation
from tasks.graph.placement import QuantizationPoint


@dataclass(frozen=True)
class FloatUnit:
    """Operations that may stay float together.

    Attributes:
        kind: What they are: ``"recurrent layers"``, ``"front end"``, or the type of a single operation.
        names: Their names.
    """

    kind: str
    names: tuple[str, ...]


def float_units(operations: Sequence[Operation], points: Iterable[QuantizationPoint]) -> tuple[FloatUnit, ...]:
    """The units of a model: its recurrent layers, its front end, and every quantized operation, in topological order.

    The front end is all in front of a logarithm that has less than half of the model's layers in front of it: the
    spectrum of audio, whose values span many orders of magnitude.

    Args:
        operations: All operations of the float model, in topological order.
        points: Its quantizers.
    """
    quantized = {name for point in points for name in point.targets}
    mine = [operation for operation in operations if operation.name in quantized]
    units = [FloatUnit(operation.type, (operation.name,)) for operation in mine]
    kinds = {
        "recurrent layers": [operation for operation in mine if operation.type in RECURRENT],
        "front end": [operation for operation in _front_end(operations) if operation.name in quantized],
    }
    joint = [FloatUnit(kind, tuple(each.name for each in members)) for kind, members in kinds.items()]
    return (*(unit for unit in joint if len(unit.names) > 1), *units)


def _front_end(operations: Sequence[Operation]) -> list[Operation]:
    """Logarithms with less than half of the layers in front of them, and all that they are computed from."""
    found: set[Operation] = set()
    layers = sum(_is_layer(operation) for operation in operations)
    for operation in operations:
        if operation.type == "Log" and not operation.known:
            before = _ancestors(operation)
            if 2 * sum(map(_is_layer, before)) < layers:
                found |= {operation, *before}
    return [operation for operation in operations if operation in found]


def _is_layer(operation: Operation) -> bool:
    return operation.type in PRODUCTS | RECURRENT and not operation.constant


def _ancestors(operation: Operation) -> set[Operation]:
    waiting, found = [operation], set[Operation]()
    while waiting:
        for source in waiting.pop().sources:
            if source.operation not in found:
                found.add(source.operation)
                waiting.append(source.operation)
    return found
