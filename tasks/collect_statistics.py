"""Step: one shard of the calibration samples becomes statistics of all tensors."""

from tasks.algorithms import calibration
from tasks.caching import cache_key, step
from tasks.graph.layers import ChannelMean
from tasks.numerics.statistics import to_arrays
from tasks.progress import advance_by_one
from tasks.records import ArraysRef, DatasetRef, Execution, ModelRef, Runtime
from tasks.shards import Arrays, complete_shard
from tasks.store import Store
from tasks.taps import open_taps


@step
def collect_statistics(
    model: ModelRef,
    tensors: tuple[str, ...],
    means: tuple[ChannelMean, ...],
    shard: DatasetRef,
    execution: Execution,
    runtime: Runtime,
) -> ArraysRef:
    """Infer the samples of a shard; the result holds one row a sample for each of the tapped tensors and means.

    A shard is the unit of caching: a run that was killed infers again only the shard it was in. Samples that another
    shard began with are not inferred again.
    """

    def collect(start: int) -> Arrays:
        taps, samples = open_taps(model, tensors, shard.part(start), execution, runtime, means)
        return dict(to_arrays(calibration.collect_statistics(taps, samples, advance_by_one())))

    key = cache_key(collect_statistics.fn, {"model": model, "tensors": tensors, "means": means})
    return complete_shard(Store(runtime.home), key, shard.digests, collect)
