"""By which tensors the outputs of a model are told right from wrong, in the float and in the quantized model alike."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import openvino as ov

from tasks.graph.naming import output_names
from tasks.graph.operations import Operation, Source, is_float, read_operations
from tasks.graph.selections import find_selections

_HANDED_ON = frozenset({"FakeQuantize", "Convert"})
_SATURATING = frozenset({"Softmax", "Sigmoid"})


@dataclass(frozen=True)
class Judged:
    """A tensor by which ``output`` is judged: itself, or what decides it; ``axis``: its mean along it is no matter."""

    output: str
    tensor: str
    axis: int | None = None


def judged_tensors(model: ov.Model) -> tuple[Judged, ...]:
    """Of each output the tensors of real numbers to compare; float and quantized model have the same, in one order.

    A softmax or sigmoid is judged by what it reads: probabilities next to zero lose all of their digits. What is
    computed behind a selection is judged by what the selection reads and by what is picked from: equally good models
    pick other things, or the same in another order.

    Args:
        model: The float or the quantized model.
    """
    operations = read_operations(model)
    behind = find_selections(operations)
    selecting = set(behind.values()) - behind.keys()
    results = {operation.name: operation for operation in operations if operation.type == "Result"}
    found: dict[Judged, None] = {}
    for port, name in zip(model.outputs, output_names(model), strict=True):
        for source in _deciding(results[port.get_node().get_friendly_name()], behind, selecting):
            if is_float(source) and not source.operation.constant and source.operation.type != "Parameter":
                found[_before_saturation(name, source)] = None
    return tuple(found)


def _deciding(result: Operation, behind: Collection[Operation], selecting: Collection[Operation]) -> Iterator[Source]:
    """What the result reads, or what enters the part of the model that a selection shapes."""
    waiting, seen = [result], {result}
    while waiting:
        operation = waiting.pop()
        for source in operation.sources:
            above = source.operation
            if above not in behind and above not in selecting:
                yield source
            elif above not in seen:
                seen.add(above)
                waiting.append(above)


def _before_saturation(output: str, source: Source) -> Judged:
    last = source
    while last.operation.type in _HANDED_ON:
        last = last.operation.sources[0]
    if last.operation.type not in _SATURATING:
        return Judged(output, str(source))
    read = last.operation.sources[0]
    axis = last.operation.node.get_attributes()["axis"] if last.operation.type == "Softmax" else None
    return Judged(output, str(read), axis)
