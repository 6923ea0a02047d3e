"""Groups of layers whose inputs can be observed in one pass over the samples, in topological order."""

from collections.abc import Collection, Sequence
from itertools import pairwise

from tasks.graph.biases import find_bias
from tasks.graph.layers import Layer
from tasks.graph.operations import Edge, Operation, shape_of

Groups = tuple[tuple[Layer, ...], ...]


def independent_groups(layers: Sequence[Layer]) -> Groups:
    """The fewest groups of consecutive layers in which no layer depends on another one of its group.

    Args:
        layers: Layers in topological order.
    """
    groups: list[list[Layer]] = []
    for layer in layers:
        if not groups or depends_on(layer, {each.operation for each in groups[-1]}):
            groups.append([])
        groups[-1].append(layer)
    return tuple(map(tuple, groups))


def joined(groups: Groups, most: int) -> Groups:
    """At most ``most`` groups, each of which joins neighbouring ones, as equal in number as possible.

    Args:
        groups: Groups in topological order.
        most: Largest number of groups, at least 1.
    """
    count = min(most, len(groups))
    borders = [number * len(groups) // count for number in range(count + 1)] if groups else [0]
    return tuple(tuple(layer for group in groups[start:stop] for layer in group) for start, stop in pairwise(borders))


def depends_on(layer: Layer, others: Collection[Operation]) -> bool:
    """Whether the data of a layer depend on the result of one of some operations.

    Args:
        layer: The layer.
        others: The operations.
    """
    return is_computed_from(layer.data.source.operation, others)


def is_computed_from(operation: Operation, others: Collection[Operation]) -> bool:
    """Whether an operation is one of some others or depends, directly or not, on the result of one.

    Args:
        operation: The operation.
        others: The other operations, of the same model.
    """
    first = min((other.index for other in others), default=operation.index)
    pending, seen = [operation], set()
    while pending:
        operation = pending.pop()
        if operation in others:
            return True
        if operation.index > first and operation not in seen:
            seen.add(operation)
            pending += [source.operation for source in operation.sources]
    return False


def find_sum(layer: Layer, group: Collection[Operation]) -> Edge | None:
    """The input at which an Add reads the output of a layer, where it adds another branch; None without such an Add.

    Nothing else reads the output of the layer, and the other branch depends on no layer of the group.

    Args:
        layer: The layer; its bias, if it has one, is a part of it.
        group: The operations of all layers of its group.
    """
    last = find_bias(layer.operation, layer.output_axis) or layer.operation
    if len(last.readers) != 1 or last.readers[0].operation.type != "Add":
        return None
    (edge,) = last.readers
    other = edge.operation.sources[1 - edge.port]
    if other.operation.constant or shape_of(other) != shape_of(edge.source) or is_computed_from(other.operation, group):
        return None
    return edge
