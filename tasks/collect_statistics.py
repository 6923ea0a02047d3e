"""Step: one shard of the calibration samples becomes statistics of all tensors."""

from tasks.algorithms import calibration
from tasks.caching import cache_key, step
from tasks.numerics.statistics import Observation, to_arrays
from tasks.progress import advance_by_one
from tasks.records import ArraysRef, DatasetRef, Execution, ModelRef, Runtime
from tasks.shards import Arrays, complete_shard
from tasks.store import Store
from tasks.taps import open_taps

__all__ = ["Observation", "collect_statistics"]


@step
def collect_statistics(
    model: ModelRef, observations: tuple[Observation, ...], shard: DatasetRef, execution: Execution, runtime: Runtime
) -> ArraysRef:
    """Infer the samples of a shard; the result holds one row a sample for everything that is observed.

    A shard is the unit of caching: a run that was killed infers again only the shard it was in. Samples that another
    shard began with are not inferred again.
    """

    def collect(start: int) -> Arrays:
        rest = shard.part(start)
        taps, samples = open_taps(model, observations, rest, execution, runtime)
        return dict(to_arrays(calibration.collect_statistics(taps, samples, len(rest), advance_by_one())))

    what = {"model": model, "observations": observations, "decoding": shard.decoding}
    key = cache_key(collect_statistics.fn, what)
    return complete_shard(Store(runtime.home), key, shard.digests, collect)
