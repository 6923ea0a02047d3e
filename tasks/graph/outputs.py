"""Results of operations that a device stores quantized, whoever reads them."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from tasks.graph.devices import Device
from tasks.graph.insertion import passes_input_on
from tasks.graph.operations import Edge, Operation, Source, is_float


@dataclass(frozen=True)
class Output:
    """A tensor quantized for the sake of ``operation``, which computes it, and the inputs that read it so."""

    operation: Operation
    edges: tuple[Edge, ...]


def quantized_outputs(
    operations: Iterable[Operation], device: Device, skipped: Mapping[Operation, str], left_out: Collection[Operation]
) -> dict[Source, Output]:
    """The outputs of ``operations`` that the device quantizes.

    The output of a layer with a bias is that of the bias. What stays float, because it is ``skipped`` or ``left_out``,
    reads the float tensor, and so does ShapeOf.
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
    for port, readers in enumerate(operation.consumers):
        yield Source(operation, port)
        yield from (Source(edge.operation, 0) for edge in readers if skipped.get(edge.operation) == "bias")
