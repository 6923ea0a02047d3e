"""Step: bias correction by inference, in topological order."""

from tasks.algorithms import sequential_correction
from tasks.algorithms.inference import input_names
from tasks.data.source import open_source
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.engine.progress import advance_by_one
from tasks.records import DatasetRef, ModelRef, Runtime
from tasks.steps.correct_biases import CorrectedModel

# With more samples the means of channels change little.
MOST_SAMPLES = 64
MOST_PASSES = 1 + sequential_correction.MOST_GROUPS


@step
def correct_sequentially(
    model: ModelRef,
    quantized: ModelRef,
    samples: DatasetRef,
    threshold: float | None,
    every_layer: bool,
    runtime: Runtime,
) -> CorrectedModel:
    """The quantized model with biases that bring its means to those of the float model (POT: BiasCorrection).

    Args:
        model: The float model.
        quantized: The quantized model made of it.
        samples: The samples to infer; they are read once and all in memory.
        threshold: A channel whose bias would change by this times its value or more keeps it; None corrects all.
        every_layer: Whether to correct layers with float weights too.
        runtime: How the run works; it changes no result.
    """
    store, source = Store(runtime.home), open_source(samples.source)
    opened, corrected = store.open_model(model), store.open_model(quantized)
    names = input_names(opened)
    layers = sequential_correction.correct_sequentially(
        opened,
        corrected,
        [source.load(index, names) for index in samples.indices],
        threshold=threshold,
        every_layer=every_layer,
        threads=runtime.threads,
        advance=advance_by_one(),
    )
    return CorrectedModel(store.put_model(corrected, quantized.name), layers)
