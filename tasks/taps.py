"""What steps that observe tensors share: the model with its taps, compiled once a process, and the samples."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from tasks.algorithms.calibration import Taps, compile_taps
from tasks.algorithms.inference import Sample, input_names
from tasks.data.source import open_source
from tasks.graph.layers import ChannelMean
from tasks.records import DatasetRef, Execution, ModelRef, Runtime
from tasks.store import Store


def open_taps(
    model: ModelRef,
    tensors: tuple[str, ...],
    shard: DatasetRef,
    execution: Execution,
    runtime: Runtime,
    means: tuple[ChannelMean, ...] = (),
) -> tuple[Taps, Iterator[Sample]]:
    """The tapped model, and the samples of a shard, each read when it is needed."""
    taps = _compiled(runtime.home, model, tensors, means, execution.in_place, execution.batch, runtime.threads)
    samples, names = open_source(shard.source), input_names(taps.compiled)
    return taps, (samples.load(index, names) for index in shard.indices)


@lru_cache(maxsize=1)
def _compiled(
    home: Path,
    model: ModelRef,
    tensors: tuple[str, ...],
    means: tuple[ChannelMean, ...],
    in_place: bool,
    batch: int,
    threads: int | None,
) -> Taps:
    opened = Store(home).open_model(model)
    return compile_taps(opened, tensors, means=means, in_place=in_place, batch=batch, threads=threads)
