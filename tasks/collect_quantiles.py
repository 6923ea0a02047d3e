"""Step: one shard of the calibration samples becomes quantiles of the tensors whose ranges are estimated from them."""

from dataclasses import replace

from tasks.algorithms import calibration
from tasks.algorithms.ranges import wanted_quantiles
from tasks.caching import cache_key, step
from tasks.numerics.statistics import Quantile, quantiles_to_arrays
from tasks.progress import advance_by_one
from tasks.records import ArraysRef, DatasetRef, Execution, ModelRef, Runtime
from tasks.shards import Arrays, complete_shard
from tasks.store import Store
from tasks.taps import open_taps

__all__ = ["collect_quantiles", "wanted_quantiles"]


@step
def collect_quantiles(
    model: ModelRef,
    wanted: tuple[tuple[str, tuple[Quantile, ...]], ...],
    shard: DatasetRef,
    execution: Execution,
    runtime: Runtime,
) -> ArraysRef:
    """Infer the samples of a shard; the result holds one row a sample for each quantile of each tensor."""
    quantiles = dict(wanted)

    def collect(start: int) -> Arrays:
        copied_out = replace(execution, in_place=False)
        taps, samples = open_taps(model, tuple(quantiles), shard.part(start), copied_out, runtime)
        return dict(quantiles_to_arrays(calibration.collect_quantiles(taps, quantiles, samples, advance_by_one())))

    key = cache_key(collect_quantiles.fn, {"model": model, "wanted": wanted})
    return complete_shard(Store(runtime.home), key, shard.digests, collect)
