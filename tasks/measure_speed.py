"""Step: latency and throughput of several models, side by side on this machine."""

from tasks.algorithms import speed
from tasks.algorithms.inference import input_names
from tasks.algorithms.speed import Speed, describe_machine
from tasks.caching import step
from tasks.data.source import open_source
from tasks.records import DatasetRef, ModelRef, Runtime
from tasks.store import Store

__all__ = ["Speed", "describe_machine", "measure_speed"]


@step
def measure_speed(
    models: tuple[ModelRef, ...], sample: DatasetRef, seconds: float, machine: str, runtime: Runtime
) -> tuple[Speed, ...]:
    """Measure the models on one sample. ``machine`` makes the result that of one machine alone."""
    store = Store(runtime.home)
    opened = [store.open_model(model) for model in models]
    values = open_source(sample.source).load(sample.indices[0], input_names(opened[0]))
    return tuple(speed.measure_speed(opened, values, seconds))
