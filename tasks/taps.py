"""What steps that observe tensors share: the model with its taps, compiled once a process, and the samples."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from tasks.algorithms.calibration import Taps, compile_taps
from tasks.algorithms.inference import Sample, input_names
from tasks.data.source import open_source
from tasks.numerics.statistics import Observation
from tasks.records import DatasetRef, Execution, ModelRef, Runtime
from tasks.store import Store


def open_taps(
    model: ModelRef, observations: tuple[Observation, ...], shard: DatasetRef, execution: Execution, runtime: Runtime
) -> tuple[Taps, Iterator[Sample]]:
    """The tapped model, and the samples of a shard, each read when it is needed."""
    taps = _compiled(runtime.home, model, observations, execution.in_place, execution.batch, runtime.threads)
    samples, names = open_source(shard.source), input_names(taps.compiled)
    return taps, (samples.load(index, names) for index in shard.indices)


@lru_cache(maxsize=1)
def _compiled(
    home: Path, model: ModelRef, observations: tuple[Observation, ...], in_place: bool, batch: int, threads: int | None
) -> Taps:
    opened = Store(home).open_model(model)
    return compile_taps(opened, observations, in_place=in_place, batch=batch, threads=threads)
