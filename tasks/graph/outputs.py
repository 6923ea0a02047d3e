"""Results of operations that a device quantizes whoever reads them, as GNA does."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from tasks.graph.devices import Device
from tasks.graph.insertion import passes_input_on
from tasks.graph.operations import Edge, Operation, Source, is_float


@dataclass(frozen=True)
class Output:
    """A tensor that is quantized for the sake of the operation that computes it.

    Attributes:
        operation: The operation; the tensor may be the result of its bias.
        edges: The inputs that read the quantized tensor.
    """

    operation: Operation
    edges: tuple[Edge, ...]


def quantized_outputs(
    operations: Iterable[Operation], device: Device, skipped: Mapping[Operation, str], left_out: Collection[Operation]
) -> dict[Source, Output]:
    """The quantized results of operations, by tensor.

    The output of a layer with a bias is that of the bias. Operations that stay float and ShapeOf read the float tensor.

    Args:
        operations: The operations that the device quantizes.
        device: The target device.
        skipped: Operations that stay float because of a pattern, each with the reason.
        left_out: Operations that the user or the model type keeps float.
    """
    found: dict[Source, Output] = {}
    for operation in operations:
        row = device.row(operation)
        if row is None or not row.outputs:
            continue
        for source in _results(operation, skipped):
            edges = tuple(
                edge
                for edge in source.operation.consumers[source.port]
                if edge.operation.type != "ShapeOf"
                and edge.operation not in skipped
                and edge.operation not in left_out
                and not passes_input_on(edge)
            )
            if edges and is_float(source):
                found[source] = Output(operation, edges)
    return found


def _results(operation: Operation, skipped: Mapping[Operation, str]) -> Iterator[Source]:
    """The outputs of an operation, and those of its biases."""
    for port, readers in enumerate(operation.consumers):
        yield Source(operation, port)
        yield from (Source(edge.operation, 0) for edge in readers if skipped.get(edge.operation) == "bias")
