"""Step: latency and throughput of several models, side by side on this machine."""

from dataclasses import dataclass

from tasks.algorithms.inference import input_names
from tasks.algorithms.speed import Speed, describe_machine
from tasks.data.source import open_source
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.engine.speed_process import UnmeasuredError, measure_apart
from tasks.records import DatasetRef, ModelRef, Runtime

__all__ = ["Speed", "Speeds", "UnmeasuredError", "describe_machine", "measure_speed"]


@dataclass(frozen=True)
class Speeds:
    """The speed of each model, in the order in which they were given."""

    models: tuple[Speed, ...]


@step
def measure_speed(
    models: tuple[ModelRef, ...], sample: DatasetRef, seconds: float, machine: str, runtime: Runtime
) -> Speeds:
    """The speed of each model on one sample.

    Args:
        models: The models.
        sample: The sample to infer, the first of these.
        seconds: Time to spend on each model.
        machine: Description of the machine, on which alone the result is valid.
        runtime: How the run works; it changes no result.

    Raises:
        UnmeasuredError: OpenVINO ended the process that measures.
    """
    store = Store(runtime.home)
    values = open_source(sample.source).load(sample.indices[0], input_names(store.open_model(models[0])))
    return Speeds(measure_apart([store.model_folder(model) / "model.xml" for model in models], values, seconds))
