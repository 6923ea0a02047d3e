"""Step: the clipping weight of activation ranges with the least error."""

from tasks.algorithms import clipping_weight
from tasks.algorithms.clipping_weight import ClippingWeight
from tasks.algorithms.inference import input_names
from tasks.data.source import open_source
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.engine.partial_statistics import open_statistics
from tasks.engine.progress import advance_by_one
from tasks.graph.placement import QuantizerSetup
from tasks.graph.presets import Scheme
from tasks.records import ArraysRef, DatasetRef, ModelRef, Runtime

__all__ = ["MOST_SAMPLES", "ClippingWeight", "choose_clipping_weight"]

# Most samples to try; each costs one inference per clipping weight, and one more.
MOST_SAMPLES = 200


@step
def choose_clipping_weight(
    model: ModelRef,
    setup: QuantizerSetup,
    statistics: tuple[tuple[ArraysRef, ...], ...],
    scheme: Scheme,
    places: tuple[int, ...],
    tried: tuple[int, ...],
    samples: DatasetRef,
    runtime: Runtime,
) -> ClippingWeight:
    """The clipping weight, chosen on samples whose statistics did not set the ranges; they are all in memory.

    Args:
        model: The float model.
        setup: Its quantizers.
        statistics: The shards, in order, of each group of tensors (see `open_statistics`).
        scheme: How it is quantized.
        places: Rows of the statistics that may set ranges.
        tried: Rows of the statistics that belong to ``samples``.
        samples: The samples to infer.
        runtime: How the run works; it changes no result.
    """
    store, source = Store(runtime.home), open_source(samples.source)
    opened = store.open_model(model)
    names = input_names(opened)
    loaded = {place: source.load(index, names) for place, index in zip(tried, samples.indices, strict=True)}
    rows = open_statistics(store, statistics)
    return clipping_weight.choose_clipping_weight(
        opened, setup, rows, scheme, places, loaded, threads=runtime.threads, advance=advance_by_one()
    )
