"""Step: one group of layers of the quantized model, tuned to answer like the float model's layers."""

from dataclasses import dataclass
from functools import lru_cache

from tasks.algorithms import layerwise_tuning
from tasks.algorithms.inference import Sample, input_names
from tasks.algorithms.layerwise_tuning import Parameter, TunedLayer
from tasks.data.source import open_source
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.engine.progress import advance_by_one
from tasks.records import DatasetRef, ModelRef, Runtime

__all__ = ["TunedLayer", "TunedModel", "tune_layers"]


@dataclass(frozen=True)
class TunedModel:
    """The quantized model, and the error of each layer of the group before and after."""

    model: ModelRef
    layers: tuple[TunedLayer, ...]


@step
def tune_layers(
    model: ModelRef,
    quantized: ModelRef,
    layers: tuple[str, ...],
    samples: DatasetRef,
    parameters: tuple[Parameter, ...],
    seed: int,
    runtime: Runtime,
) -> TunedModel:
    """The quantized model with one group of layers tuned, from one pass over the samples.

    Args:
        model: The float model.
        quantized: The quantized model, tuned up to this group.
        layers: Names of the layers of the group.
        samples: The samples to infer; they stay in memory for the next group.
        parameters: What is tuned.
        seed: Seed of the output positions that are drawn.
        runtime: How the run works; it changes no result.
    """
    store = Store(runtime.home)
    opened, tuned = store.open_model(model), store.open_model(quantized)
    results = layerwise_tuning.tune_layers(
        opened,
        tuned,
        layers,
        _read(samples, input_names(opened)),
        parameters=parameters,
        seed=seed,
        threads=runtime.threads,
        advance=advance_by_one(),
    )
    return TunedModel(store.put_model(tuned, quantized.name), results)


@lru_cache(maxsize=1)
def _read(samples: DatasetRef, names: tuple[str, ...]) -> tuple[Sample, ...]:
    """The samples; those of the last call are kept."""
    source = open_source(samples.source)
    return tuple(source.load(index, names) for index in samples.indices)
