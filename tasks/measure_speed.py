"""Step: latency and throughput of several models, side by side on this machine."""

from tasks.algorithms.inference import input_names
from tasks.algorithms.speed import Speed, describe_machine
from tasks.caching import step
from tasks.data.source import open_source
from tasks.records import DatasetRef, ModelRef, Runtime
from tasks.speed_process import UnmeasuredError, measure_apart
from tasks.store import Store

__all__ = ["Speed", "UnmeasuredError", "describe_machine", "measure_speed"]


@step
def measure_speed(
    models: tuple[ModelRef, ...], sample: DatasetRef, seconds: float, machine: str, runtime: Runtime
) -> tuple[Speed, ...]:
    """Measure the models on one sample. ``machine`` makes the result that of one machine alone.

    Raises UnmeasuredError when OpenVINO does not survive it.
    """
    store = Store(runtime.home)
    values = open_source(sample.source).load(sample.indices[0], input_names(store.open_model(models[0])))
    return measure_apart([store.model_folder(model) / "model.xml" for model in models], values, seconds)
