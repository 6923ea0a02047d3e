"""What steps that observe tensors share: the model with its observers, compiled once a process, and the samples."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from tasks.algorithms.calibration import ObservedModel, compile_observed
from tasks.algorithms.inference import Sample, input_names, whole_inputs
from tasks.data.source import open_source
from tasks.engine.artifact_store import Store
from tasks.numerics.statistics import Observation
from tasks.records import DatasetRef, Execution, ModelRef, Runtime


def open_observed(
    model: ModelRef, observations: tuple[Observation, ...], shard: DatasetRef, execution: Execution, runtime: Runtime
) -> tuple[ObservedModel, Iterator[Sample]]:
    """The model with its observers, and the samples of a shard, each read when it is needed.

    Args:
        model: A model in the store.
        observations: What to observe of which tensors.
        shard: The samples.
        execution: How samples are inferred.
        runtime: Where and how the run works.
    """
    samples, opened = open_source(shard.source), _opened(runtime.home, model)
    names = input_names(opened)
    first = samples.load(shard.indices[0], names)
    how = (execution.in_place, execution.batch, runtime.threads)
    observed = _compiled(runtime.home, model, observations, whole_inputs(opened, first), *how)
    return observed, chain([first], (samples.load(index, names) for index in shard.indices[1:]))


@lru_cache(maxsize=1)
def _opened(home: Path, model: ModelRef) -> Any:
    """The model as it is stored; nobody may change it."""
    return Store(home).open_model(model)


@lru_cache(maxsize=1)
def _compiled(
    home: Path,
    model: ModelRef,
    observations: tuple[Observation, ...],
    whole: tuple[str, ...],
    in_place: bool,
    batch: int,
    threads: int | None,
) -> ObservedModel:
    opened = _opened(home, model)
    return compile_observed(opened, observations, whole=whole, in_place=in_place, batch=batch, threads=threads)
