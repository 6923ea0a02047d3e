"""Layers in groups whose inputs can be observed together, in topological order."""

from collections.abc import Collection, Sequence
from itertools import pairwise

from tasks.graph.biases import find_bias
from tasks.graph.layers import Layer
from tasks.graph.operations import Edge, Operation, shape_of

Groups = tuple[tuple[Layer, ...], ...]


def independent_groups(layers: Sequence[Layer]) -> Groups:
    """As few groups of consecutive layers as can be, none of which reads what another one of its group computes."""
    groups: list[list[Layer]] = []
    for layer in layers:
        if not groups or depends_on(layer, {each.operation for each in groups[-1]}):
            groups.append([])
        groups[-1].append(layer)
    return tuple(map(tuple, groups))


def joined(groups: Groups, most: int) -> Groups:
    """At most so many groups, each of neighbours, as equal in number as can be."""
    count = min(most, len(groups))
    borders = [number * len(groups) // count for number in range(count + 1)] if groups else [0]
    return tuple(tuple(layer for group in groups[start:stop] for layer in group) for start, stop in pairwise(borders))


def depends_on(layer: Layer, others: Collection[Operation]) -> bool:
    """Whether what a layer reads is computed from what one of the ``others`` computes."""
    return is_computed_from(layer.data.source.operation, others)


def is_computed_from(operation: Operation, others: Collection[Operation]) -> bool:
    """Whether an operation is one of the ``others`` or reads, directly or not, what one of them computes."""
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
    """Where the answer of a layer, which nothing else reads, is added to what no layer of its group computes."""
    last = find_bias(layer.operation, layer.output_axis) or layer.operation
    if len(last.readers) != 1 or last.readers[0].operation.type != "Add":
        return None
    (edge,) = last.readers
    other = edge.operation.sources[1 - edge.port]
    if other.operation.constant or shape_of(other) != shape_of(edge.source) or is_computed_from(other.operation, group):
        return None
    return edge
