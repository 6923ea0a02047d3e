"""Sums of two branches on CPU_SPR: one operand stays float, as a layer adds the other branch in its accumulator."""

from tasks.graph.operations import Edge, Operation, Source, element_count
from tasks.graph.propagation import Propagated

_LAYERS = frozenset({"Convolution", "GroupConvolution", "MatMul"})


def drop_before_sums(operations: tuple[Operation, ...], propagated: Propagated) -> Propagated:
    """The propagated quantization, with one operand float in front of each Add of two quantized, computed tensors.

    Before: ``layer -> FakeQuantize -> Add <- FakeQuantize <- other branch``. After: ``layer -> Add <- FakeQuantize <-
    other branch``: the layer adds the other branch to its own result before rounding. A sum without a suitable operand
    stays as it is. Only the Add's own input becomes float; other readers of the tensor keep their quantization.

    Args:
        operations: All operations of a model, in topological order.
        propagated: The quantized inputs of the model.
    """
    edges = dict(propagated.edges)
    for operation in operations:
        if operation.type == "Add" and all(edge in edges for edge in operation.edges):
            first, second = operation.sources
            if first == second or first.operation.constant or second.operation.constant:
                continue
            dropped = _operand_to_drop(operation, edges)
            if dropped is not None:
                del edges[dropped]
    return Propagated(edges, propagated.crossed)


def _operand_to_drop(add: Operation, edges: dict[Edge, frozenset[Operation]]) -> Edge | None:
    """The operand that stays float; None if neither suits."""
    first, second = add.edges
    for own, other in ((first, second), (second, first)):
        if _readers(own.source, edges) == 1 and _readers(other.source, edges) > 1 and _is_layer(own.source.operation):
            return own
    if not (_follows_layer(first.source.operation) and _follows_layer(second.source.operation)):
        return None
    sizes = element_count(first.source), element_count(second.source)
    return second if sizes[0] is not None and sizes[1] is not None and sizes[0] < sizes[1] else first


def _readers(source: Source, edges: dict[Edge, frozenset[Operation]]) -> int:
    """The number of inputs that read the quantized form of a tensor."""
    return sum(edge in edges for edge in source.operation.consumers[source.port])


def _is_layer(operation: Operation) -> bool:
    """Whether an operation is a layer with constant weights, or the bias of one."""
    if operation.type == "Add" and any(source.operation.constant for source in operation.sources):
        operation = next((source.operation for source in operation.sources if not source.operation.constant), operation)
    return operation.type in _LAYERS and any(source.operation.constant for source in operation.sources)


def _follows_layer(operation: Operation) -> bool:
    """Whether a layer is found by going up along single computed operands."""
    while operation.type not in _LAYERS:
        above = [source.operation for source in operation.sources if not source.operation.constant]
        if len(above) != 1:
            return False
        operation = above[0]
    return True
