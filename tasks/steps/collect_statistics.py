"""Step: the statistics of all observed tensors on one shard of the calibration samples."""

from tasks.algorithms import calibration
from tasks.engine.artifact_store import Store
from tasks.engine.caching import cache_key, step
from tasks.engine.observed_model import open_observed
from tasks.engine.partial_statistics import Arrays, complete_shard
from tasks.engine.progress import advance_by_one
from tasks.numerics.statistics import Observation, to_arrays
from tasks.records import ArraysRef, DatasetRef, Execution, ModelRef, Runtime

__all__ = ["Observation", "collect_statistics"]


@step
def collect_statistics(
    model: ModelRef, observations: tuple[Observation, ...], shard: DatasetRef, execution: Execution, runtime: Runtime
) -> ArraysRef:
    """The statistics, one row per sample of the shard.

    A shard is the unit of caching: a run that was killed infers again only the shard it was in. Samples with which an
    earlier shard began are not inferred again.

    Args:
        model: The float model.
        observations: What to observe of each tensor.
        shard: The samples to infer.
        execution: How they are inferred; it changes no number.
        runtime: How the run works; it changes no result.
    """

    def collect(start: int) -> Arrays:
        rest = shard.part(start)
        observed, samples = open_observed(model, observations, rest, execution, runtime)
        return dict(to_arrays(calibration.collect_statistics(observed, samples, len(rest), advance_by_one())))

    what = {"model": model, "observations": observations, "decoding": shard.decoding}
    key = cache_key(collect_statistics.fn, what)
    return complete_shard(Store(runtime.home), key, shard.digests, collect)
