"""Step: biases bring the quantized model's means to those of the float model, by inference."""

from tasks.algorithms import sequential_correction
from tasks.algorithms.inference import input_names
from tasks.caching import step
from tasks.correct_biases import CorrectedModel
from tasks.data.source import open_source
from tasks.progress import advance_by_one
from tasks.records import DatasetRef, ModelRef, Runtime
from tasks.store import Store

# More samples change the means of channels little.
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
    """Correct biases in topological order. The samples are read once and stay in memory for all passes."""
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
