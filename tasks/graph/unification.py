"""Scale groups: tensors that share their scales, as an operation combines them without rescaling (POT: unified)."""

from collections.abc import Iterable
from dataclasses import dataclass

from tasks.graph.devices import Device
from tasks.graph.operations import Edge, Operation, Source, shape_of
from tasks.graph.propagation import Propagated, crossing_edges
from tasks.numerics.affine import Granularity

# They run in integers only if all inputs of a Concat in front of them have one scale.
_INTEGER_CONSUMERS = frozenset({"Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"})


@dataclass(frozen=True)
class ScaleGroup:
    """Tensors that share their scales, all computed or all constant.

    Attributes:
        name: Name of the first operation that unifies their scales, with ``/weights`` for constants.
        sources: The tensors.
        per_tensor: Whether they cannot share a scale per channel.
    """

    name: str
    sources: frozenset[Source]
    per_tensor: bool


def scale_groups(operations: tuple[Operation, ...], propagated: Propagated, device: Device) -> tuple[ScaleGroup, ...]:
    """The groups of at least two quantized tensors whose scales an operation unifies.

    Tensors that are quantized above a crossed operation belong together, and so do those above operations crossed one
    after the other. An operation unifies scales if its row in the device's table says so, those of constants channel by
    channel. A Concat does in front of layers that compute in integers, unless one of its inputs is constant or a reader
    wants a scale per channel; on GNA it never does.

    Args:
        operations: All operations of a model, in topological order.
        propagated: The quantized inputs and the crossed operations.
        device: The target device.
    """
    parents: dict[Source | Operation, Source | Operation] = {}
    asking: list[tuple[Operation, Edge]] = []
    for operation in operations:
        if operation in propagated.crossed:
            edges = [edge for edge in crossing_edges(operation) if not edge.source.operation.constant]
            _join(parents, [operation, *(_node(edge, propagated) for edge in edges)])
            if _unifies(operation, propagated, device):
                asking.append((operation, edges[0]))
        for edges in _tied_edges(operation, propagated, device):
            _join(parents, [_node(edge, propagated) for edge in edges])
            asking.append((operation, edges[0]))
    members: dict[Source | Operation, set[Source]] = {}
    for edge in propagated.edges:
        members.setdefault(_root(parents, edge.source), set()).add(edge.source)
    groups: dict[Source | Operation, list[Operation]] = {}
    for operation, edge in asking:
        groups.setdefault(_root(parents, _node(edge, propagated)), []).append(operation)
    return tuple(
        _group(unifiers, frozenset(members[root]))
        for root, unifiers in groups.items()
        if len(members.get(root, ())) > 1
    )


def _group(unifiers: list[Operation], sources: frozenset[Source]) -> ScaleGroup:
    if all(source.operation.constant for source in sources):
        return ScaleGroup(f"{unifiers[0].name}/weights", sources, per_tensor=False)
    return ScaleGroup(unifiers[0].name, sources, _one_scale(unifiers, sources))


def _unifies(operation: Operation, propagated: Propagated, device: Device) -> bool:
    """Whether a crossed operation is a Concat that unifies scales."""
    if (
        operation.type != "Concat"
        or not device.unified_concat
        or any(source.operation.constant for source in operation.sources)
    ):
        return False
    targets = propagated.crossed[operation]
    rows = [row for target in targets if (row := device.row(target)) is not None]
    per_channel_only = any(
        all(config.granularity == Granularity.PERCHANNEL for config in row.activations) for row in rows
    )
    return not per_channel_only and any(target.type in _INTEGER_CONSUMERS for target in targets)


def _tied_edges(operation: Operation, propagated: Propagated, device: Device) -> Iterable[list[Edge]]:
    """The sets of inputs of an operation whose scales its row unifies."""
    row = device.row(operation)
    if row is None:
        return
    for ports in (range(len(operation.sources)),) if row.unified else row.unified_ports:
        edges = [Edge(operation, port) for port in ports]
        constant = all(edge.source.operation.constant and edge in propagated.edges for edge in edges)
        if len(edges) > 1 and (constant or all(_is_computed_and_quantized(edge, propagated) for edge in edges)):
            yield edges


def _is_computed_and_quantized(edge: Edge, propagated: Propagated) -> bool:
    above = edge.source.operation
    return not above.constant and (edge in propagated.edges or above in propagated.crossed)


def _node(edge: Edge, propagated: Propagated) -> Source | Operation:
    """The tensor that is quantized at an input, or the crossed operation above it, which decides the scale there."""
    return edge.source if edge in propagated.edges else edge.source.operation


def _one_scale(unifiers: list[Operation], sources: frozenset[Source]) -> bool:
    """Whether the tensors cannot share a scale per channel."""
    if any(operation.type == "Concat" for operation in unifiers):
        return True
    leading = {None if (shape := shape_of(source)) is None else shape[:2] for source in sources}
    return len(leading) > 1 or any(
        len({shape_of(source) for source in operation.sources}) > 1 for operation in unifiers
    )


def _root(parents: dict[Source | Operation, Source | Operation], node: Source | Operation) -> Source | Operation:
    """The representative of the set that a node belongs to (union-find)."""
    path = []
    while node in parents:
        path.append(node)
        node = parents[node]
    # Path compression: chains of crossed operations would cost quadratic time without it.
    parents.update(dict.fromkeys(path, node))
    return node


def _join(parents: dict[Source | Operation, Source | Operation], nodes: list[Source | Operation]) -> None:
    """Unite the sets of all nodes."""
    first = _root(parents, nodes[0])
    for node in nodes[1:]:
        if (root := _root(parents, node)) is not first and root != first:
            parents[root] = first
