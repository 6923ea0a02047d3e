"""Moving quantization upwards, over operations that compute on quantized values as they are."""

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tasks.graph.constants import constant_value
from tasks.graph.devices import Device
from tasks.graph.insertion import scales_and_shifts
from tasks.graph.operations import Edge, Operation, Source, is_float, shape_of


@dataclass(frozen=True)
class Propagated:
    """Where quantization ends up.

    ``edges``: the inputs that read a quantized tensor, each with the operations for whose sake it is quantized.
    ``crossed``: the operations it moved over, with the same.
    """

    edges: Mapping[Edge, frozenset[Operation]]
    crossed: Mapping[Operation, frozenset[Operation]]


def propagate(
    operations: tuple[Operation, ...],
    starts: Mapping[Operation, tuple[Edge, ...]],
    device: Device,
    barriers: Collection[Operation],
) -> Propagated:
    """Move the quantized inputs of ``starts`` up over pass-through operations, except over ``barriers``.

    An operation is crossed when every reader of its results is quantized, hence one pass against the order of the data:
    below it everything is decided already. A reader that is itself pass-through counts as quantized when it has been
    crossed. ShapeOf does not read values. A Result does: it would quantize the model's output unasked. Only where
    a device's table lists Result among what is quantized it is a reader like others.
    """
    edges = {edge: frozenset({start}) for start, each in starts.items() for edge in each}
    crossed: dict[Operation, frozenset[Operation]] = {}
    indifferent: set[Edge] = set()
    for operation in reversed(operations):
        if operation.type == "ShapeOf":
            indifferent.update(operation.edges)
        if operation.type not in device.pass_through or operation in barriers or operation.known:
            continue
        readers = [edge for edge in operation.readers if edge not in indifferent]
        if not readers:
            indifferent.update(operation.edges)
        elif all(edge in edges for edge in readers) and (ports := crossing_edges(operation)):
            targets = frozenset().union(*(edges.pop(edge) for edge in readers))
            edges |= dict.fromkeys(ports, targets)
            crossed[operation] = targets
            indifferent.update(edge for edge in operation.edges if edge not in ports)
    scales = {target for edge, targets in edges.items() if _is_input_scale(edge, targets) for target in targets}
    return Propagated({edge: targets for edge, targets in edges.items() if not targets <= scales}, crossed)


def crossing_edges(operation: Operation) -> tuple[Edge, ...]:
    """The inputs that quantization moves to from a pass-through operation's outputs; () if it cannot be crossed.

    All values of the result must come from quantized inputs. A constant operand of Minimum and Maximum is left out all
    the same, as in POT: a bound, often beyond the range.
    """
    data = _data_edges(operation)
    computed = [edge for edge in data if not edge.source.operation.known]
    if any(edge.source.operation.shape_only for edge in data) or not all(is_float(edge.source) for edge in data):
        return ()
    if operation.type == "Concat":
        return tuple(data)
    if operation.type in ("Minimum", "Maximum"):
        return tuple(computed) if len(computed) == 1 else ()
    # Without a computed first input this is a look-up: the values of a constant, say of an embedding table.
    return tuple(computed) if data[0] in computed else ()


def keeps_channels(edges: Iterable[Edge], crossed: Container[Operation]) -> bool:
    """Whether the channels of what is read at ``edges``, on axis 1, are on it behind all that was ``crossed`` too.

    Tokens with the features behind them become images, say: what the layer then takes for channels were the features.
    """
    waiting = [edge.operation for edge in edges if edge.operation in crossed]
    while waiting:
        operation = waiting.pop()
        if _moves_channels(operation):
            return False
        waiting += {reader.operation for reader in operation.readers if reader.operation in crossed}
    return True


def _moves_channels(operation: Operation) -> bool:
    if operation.type == "Transpose":
        order = operation.sources[1].operation
        places = constant_value(order.node.output(0)).reshape(-1) if order.constant else np.empty(0)
        return places.size < 2 or bool(places[1] != 1)
    if operation.type not in ("Reshape", "Squeeze", "Unsqueeze", "DepthToSpace"):
        return False
    before, after = shape_of(operation.sources[0]), shape_of(Source(operation, 0))
    return before is None or after is None or before[:2] != after[:2]


def _data_edges(operation: Operation) -> list[Edge]:
    """The inputs whose values come out again, without indices, shapes and types."""
    if operation.type in ("Concat", "Minimum", "Maximum"):
        return operation.edges
    padding = operation.edges[3:4] if operation.type == "Pad" else []
    return operation.edges[:1] + padding


def _is_input_scale(edge: Edge, targets: frozenset[Operation]) -> bool:
    """Whether an input of the model is quantized for its own scale and shift only, i.e. for preprocessing."""
    return edge.source.operation.type == "Parameter" and all(map(scales_and_shifts, targets))
