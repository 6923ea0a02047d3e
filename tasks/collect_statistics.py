"""Step: one shard of the calibration samples becomes statistics of all tensors."""

from functools import lru_cache
from pathlib import Path

from tasks.algorithms import calibration
from tasks.algorithms.inference import input_names
from tasks.caching import step
from tasks.data.source import open_source
from tasks.numerics.statistics import to_arrays
from tasks.progress import advance_by_one
from tasks.records import ArraysRef, DatasetRef, ModelRef, Runtime
from tasks.store import Store


@step
def collect_statistics(model: ModelRef, tensors: tuple[str, ...], shard: DatasetRef, runtime: Runtime) -> ArraysRef:
    """Infer the samples of a shard; the result holds one row a sample for each of the tapped tensors.

    A shard is the unit of caching: a run that was killed infers again only the shard it was in.
    """
    compiled = _compiled(runtime.home, model, tensors, runtime.threads)
    samples = open_source(shard.source)
    names = input_names(compiled.compiled)
    statistics = calibration.collect_statistics(
        compiled, (samples.load(index, names) for index in shard.indices), advance_by_one()
    )
    return Store(runtime.home).put_arrays(to_arrays(statistics))


@lru_cache(maxsize=1)
def _compiled(
    home: Path, model: ModelRef, tensors: tuple[str, ...], threads: int | None
) -> calibration.StatisticsModel:
    """Compile once for all shards of a process."""
    return calibration.compile_statistics(Store(home).open_model(model), tensors, threads)
