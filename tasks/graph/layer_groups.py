"""Layers in groups whose inputs can be observed together, in topological order."""

from collections.abc import Collection, Sequence
from itertools import pairwise

from tasks.graph.layers import Layer
from tasks.graph.operations import Operation

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
    first = min((other.index for other in others), default=layer.operation.index)
    pending, seen = [layer.data.source.operation], set()
    while pending:
        operation = pending.pop()
        if operation in others:
            return True
        if operation.index > first and operation not in seen:
            seen.add(operation)
            pending += [source.operation for source in operation.sources]
    return False
