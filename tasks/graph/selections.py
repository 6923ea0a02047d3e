"""Selections: operations that choose among computed values, so that a quantized model may go on with other ones.

What is computed behind them cannot be compared place by place: both models look at different things, or at the same
ones in another order.
"""

from collections.abc import Iterable

from tasks.graph.layers import PRODUCTS
from tasks.graph.operations import Operation

_SELECTING = {"TopK", "NonZero", "Unique", "NonMaxSuppression", "MatrixNms", "MulticlassNms", "NMSRotated"} | {
    "Proposal",
    "DetectionOutput",
    "ExperimentalDetectronDetectionOutput",
    "ExperimentalDetectronGenerateProposalsSingleImage",
    "ExperimentalDetectronTopKROIs",
}


def find_selections(operations: Iterable[Operation]) -> dict[Operation, Operation]:
    """Of each operation behind a selection, that one; ``operations`` are those of a model in topological order.

    A selection by values that quantization does not change, such as the positions that a mask leaves, is none.
    """
    # Quantized weights or data change what products compute, and all that is made of it.
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
    """Why a layer behind a selection is left out."""
    return f"it reads what '{selection.name}' ({selection.type}) selects: other things in the quantized model"
