"""Operations that compute nothing: they hand a tensor on, move its values, or take some of them."""

from collections.abc import Collection

from tasks.graph.operations import Operation, Source

# The same values in the same places, if rounded.
HANDED_ON = frozenset({"FakeQuantize", "Convert", "Identity"})
# All values, in other places.
KEEPING = HANDED_ON | {
    "Reshape",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "DepthToSpace",
    "SpaceToDepth",
    "ShuffleChannels",
}
# Some of the values.
TAKING = frozenset({"Slice", "StridedSlice", "Split", "VariadicSplit", "Gather"})


def moved_from(operation: Operation, types: Collection[str]) -> Source | None:
    """The tensor whose values an operation of these types moves; None for other operations, or moves that are computed.

    Args:
        operation: The operation.
        types: Types of operations that move values.
    """
    if operation.type not in types or operation.constant:
        return None
    data, *others = operation.sources
    return None if any(not other.operation.known for other in others) else data


def end_of(source: Source, types: Collection[str]) -> Source:
    """The tensor from which operations of these types alone lead to ``source``.

    Args:
        source: The tensor to start from.
        types: Types of operations that move values.
    """
    while (before := moved_from(source.operation, types)) is not None:
        source = before
    return source
