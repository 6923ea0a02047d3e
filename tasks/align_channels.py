"""Step: the float model becomes one whose channels are aligned, and that computes the same."""

from dataclasses import dataclass

from tasks.algorithms import channel_alignment
from tasks.caching import step
from tasks.graph.alignment import find_pairs
from tasks.numerics.statistics import to_arrays
from tasks.records import ArraysRef, ModelRef, Runtime
from tasks.shards import open_statistics
from tasks.store import Store


@dataclass(frozen=True)
class AlignedModel:
    """The model, and the convolutions that read aligned channels: they get the saturation fix, whatever they read.

    ``statistics`` are those of the ``tensors`` that changed, None where none did; they lack the sketches of those that
    are ``unsketched``.
    """

    model: ModelRef
    operations: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()
    statistics: ArraysRef | None = None
    unsketched: tuple[str, ...] = ()


@step
def align_channels(model: ModelRef, statistics: tuple[tuple[ArraysRef, ...], ...], runtime: Runtime) -> AlignedModel:
    """Align the channels of every pair of layers; nothing is inferred.

    ``statistics`` are the shards, in order, of each group of tensors (see :func:`~tasks.shards.open_statistics`). A
    model without such pairs is the result.
    """
    store = Store(runtime.home)
    aligned = store.open_model(model)
    pairs = find_pairs(aligned)
    if not pairs:
        return AlignedModel(model)
    changed = channel_alignment.align(aligned, pairs, open_statistics(store, statistics))
    consumers = tuple(pair.consumer for pair in pairs)
    return AlignedModel(
        store.put_model(aligned, model.name),
        consumers,
        tuple(changed),
        store.put_arrays(to_arrays(changed)),
        tuple(tensor for tensor, statistic in changed.items() if statistic.values is None),
    )
