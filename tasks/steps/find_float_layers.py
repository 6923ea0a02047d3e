"""Step: the layers that had better stay float, by what their quantizers cost the model's output."""

from tasks.algorithms.inference import input_names
from tasks.algorithms.ranges import from_arrays
from tasks.algorithms.sensitivity import FloatChoice, choose_float, find_sensitivities
from tasks.data.source import open_source
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.engine.progress import advance_by_one
from tasks.graph.placement import QuantizerSetup
from tasks.records import ArraysRef, DatasetRef, ModelRef, Runtime

__all__ = ["MOST_SAMPLES", "FloatChoice", "find_float_layers"]

# Most samples to try; each costs an inference for every layer.
MOST_SAMPLES = 16


@step
def find_float_layers(
    model: ModelRef, setup: QuantizerSetup, parameters: ArraysRef, samples: DatasetRef, runtime: Runtime
) -> FloatChoice:
    """The layers that had better stay float; all samples are in memory.

    Args:
        model: The float model.
        setup: Its quantizers.
        parameters: FakeQuantize parameters of every quantizer.
        samples: The samples to infer.
        runtime: How the run works; it changes no result.
    """
    store, source = Store(runtime.home), open_source(samples.source)
    opened = store.open_model(model)
    names = input_names(opened)
    found, sqnr_db = find_sensitivities(
        opened,
        setup,
        from_arrays(store.open_arrays(parameters)),
        [source.load(index, names) for index in samples.indices],
        threads=runtime.threads,
        advance=advance_by_one(),
    )
    return choose_float(found, sqnr_db)
