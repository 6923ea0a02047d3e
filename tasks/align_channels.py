"""Step: the float model becomes one whose channels are aligned, and that computes the same."""

from dataclasses import dataclass

from tasks.algorithms import channel_alignment
from tasks.algorithms.calibration import collect_quantiles
from tasks.caching import step
from tasks.graph.alignment import find_pairs
from tasks.progress import advance_by_one
from tasks.records import DatasetRef, Execution, ModelRef, Runtime
from tasks.store import Store
from tasks.taps import open_taps


@dataclass(frozen=True)
class AlignedModel:
    """The model, and the convolutions that read aligned channels: they get the saturation fix, whatever they read."""

    model: ModelRef
    operations: tuple[str, ...]


@step
def align_channels(model: ModelRef, samples: DatasetRef, runtime: Runtime) -> AlignedModel:
    """Infer all samples once and align the channels of every pair of layers.

    A model without such pairs is not inferred, and is the result.
    """
    store = Store(runtime.home)
    aligned = store.open_model(model)
    pairs = find_pairs(aligned)
    if not pairs:
        return AlignedModel(model, ())
    wanted = channel_alignment.wanted_quantiles(pairs)
    taps, loaded = open_taps(model, tuple(wanted), samples, Execution(in_place=False), runtime)
    quantiles = collect_quantiles(taps, wanted, loaded, advance_by_one())
    operations = channel_alignment.align(aligned, pairs, quantiles)
    return AlignedModel(store.put_model(aligned, model.name), operations)
