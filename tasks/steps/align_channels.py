"""Step: a float model with aligned channels, which computes the same."""

from dataclasses import dataclass

from tasks.algorithms import channel_alignment
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.engine.partial_statistics import open_statistics
from tasks.graph.alignment import find_pairs
from tasks.numerics.statistics import to_arrays
from tasks.records import ArraysRef, ModelRef, Runtime


@dataclass(frozen=True)
class AlignedModel:
    """The model with aligned channels.

    Attributes:
        model: The model; the one that came in where nothing can be aligned.
        operations: Names of the convolutions that read aligned channels. They get the saturation fix, whatever they
            read.
        tensors: Names of the tensors whose statistics changed.
        statistics: The new statistics of these; None without any.
        unsketched: Names of those whose sketch is lost.
    """

    model: ModelRef
    operations: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()
    statistics: ArraysRef | None = None
    unsketched: tuple[str, ...] = ()


@step
def align_channels(model: ModelRef, statistics: tuple[tuple[ArraysRef, ...], ...], runtime: Runtime) -> AlignedModel:
    """The float model with the channels of every pair of layers aligned (POT: ActivationChannelAlignment).

    Nothing is inferred.

    Args:
        model: The float model.
        statistics: The shards, in order, of each group of tensors (see `open_statistics`).
        runtime: How the run works; it changes no result.
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
