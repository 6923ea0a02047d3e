"""Selections: operations such as TopK that choose among computed values. A quantized model may choose others.

Behind a selection the float and the quantized model cannot be compared position by position: they look at different
things, or at the same things in another order.
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
