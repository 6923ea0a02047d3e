"""Selections: operations such as TopK that choose among computed values. A quantized model may choose others.

Behind a selection the float and the quantized model cannot be compared position by position: they look at different
things, or at the same things in another order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tasks.graph.activations import count_of, largest_along
from tasks.graph.layers import PRODUCTS
from tasks.graph.moving import HANDED_ON, KEEPING, TAKING, end_of
from tasks.graph.operations import Operation, Source, is_float, shape_of

_SELECTING = {"TopK", "NonZero", "Unique", "NonMaxSuppression", "MatrixNms", "MulticlassNms", "NMSRotated"} | {
    "Proposal",
    "DetectionOutput",
    "ExperimentalDetectronDetectionOutput",
    "ExperimentalDetectronGenerateProposalsSingleImage",
    "ExperimentalDetectronTopKROIs",
    "GenerateProposals",
    "CTCGreedyDecoder",
    "CTCGreedyDecoderSeqLen",
}
# Operations that pick what a selection found.
_PICKING = frozenset({"Gather", "GatherElements", "GatherND"})
# Operations behind which a network goes on with what it selected, as experts and decoders do.
_LAYERS = (
    PRODUCTS
    | {"MVN", "NormalizeL2", "ScaledDotProductAttention", "ReduceMean"}
    | {f"{cell}{form}" for cell in ("LSTM", "GRU", "RNN") for form in ("Cell", "Sequence")}
)
# What the values that a selection reads are made with of those that it picks: the score of a row is its largest.
_DERIVING = KEEPING | TAKING | {"Concat", "ReduceMax", "Sigmoid", "Softmax"}


def find_selections(operations: Iterable[Operation]) -> dict[Operation, Operation]:
    """The selection behind which each operation lies; operations in front of all selections are left out.

    A selection by values that quantization does not change does not count, such as that of the positions of a mask.

    Args:
        operations: All operations of a model, in topological order.
    """
    # Quantization changes the results of products, and all that is computed from them.
    changed: set[Operation] = set()
    found: dict[Operation, Operation] = {}
    for operation in operations:
        sources = [source.operation for source in operation.sources if not source.operation.constant]
        if operation.type in PRODUCTS or any(source in changed for source in sources):
            changed.add(operation)
        for source in sources:
            if source in found:
                found[operation] = found[source]
            elif source in changed and source.type in _SELECTING:
                found[operation] = source
    return found


def selected_by(selection: Operation) -> str:
    """The reason why a layer behind a selection is left out, as text.

    Args:
        selection: The selection.
    """
    return f"it reads what '{selection.name}' ({selection.type}) selects: other things in the quantized model"


@dataclass(frozen=True)
class Picked:
    """A tensor that a selection reads, or picks from; ``argmax``: where it is the largest class, the classes' axis."""

    source: Source
    argmax: int | None = None


def read_by_selections(source: Source, behind: Mapping[Operation, Operation]) -> tuple[Picked, ...]:
    """The tensors that decide a tensor by way of a selection; () where no selection shapes it.

    A layer behind the selection ends that, as places are again what they were, unless its rows are those selected.

    Args:
        source: The tensor.
        behind: The selection behind which each operation lies (:func:`find_selections`).
    """
    selecting = set(behind.values())
    found: dict[Source, Picked] = {}
    seen: set[Operation] = set()

    def visit(tensor: Source, reader: Operation | None) -> None:
        operation = tensor.operation
        selects = operation in selecting or (operation in behind and operation.type in _SELECTING)
        inside = operation in behind and (operation.type not in _LAYERS or _has_selected_rows(tensor, behind))
        if operation.known or operation.type == "Parameter" or operation in seen:
            return
        if selects or inside:
            seen.add(operation)
            for each in operation.sources:
                visit(each, operation)
        elif is_float(tensor) and reader is not None and (reader.type in _SELECTING or reader.type in _PICKING):
            axis = largest_along(reader)
            found.setdefault(end_of(tensor, HANDED_ON), Picked(tensor, axis))

    visit(source, None)
    return _without_derived(tuple(found.values()))


def _has_selected_rows(source: Source, behind: Mapping[Operation, Operation]) -> bool:
    """Whether the rows of a tensor are those that a selection found, in its order."""
    selection, shape = behind[source.operation], shape_of(source)
    if selection.type != "TopK":
        return selection.type not in ("NonZero", "Unique")
    count = count_of(selection)
    return shape is not None and count is not None and count > 1 and count in shape[:-1]


def _without_derived(picked: tuple[Picked, ...]) -> tuple[Picked, ...]:
    """The tensors without those whose values only repeat values of others, as the largest score of a row does."""
    kept: list[Picked] = []
    known: set[Source] = set()
    for each in picked:
        ends = _ends(each.source)
        if not ends <= known:
            kept.append(each)
        known |= ends
    return tuple(kept)


def _ends(source: Source) -> set[Source]:
    """The tensors whose values are all that a tensor consists of."""
    ends, waiting = set(), [source]
    while waiting:
        tensor = waiting.pop()
        if tensor.operation.type in _DERIVING:
            waiting += [each for each in tensor.operation.sources if not each.operation.known]
        else:
            ends.add(tensor)
    return ends
