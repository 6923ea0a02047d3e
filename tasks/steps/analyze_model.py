"""Step: the error of each layer of a quantized model, and its parts."""

from tasks.algorithms import analysis
from tasks.algorithms.analysis import Analysis
from tasks.algorithms.inference import input_names
from tasks.data.source import open_source
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.engine.progress import advance_by_one
from tasks.records import DatasetRef, ModelRef, Runtime

__all__ = ["MOST_SAMPLES", "Analysis", "analyze_model"]

# With more samples the errors of layers change little.
MOST_SAMPLES = 16


@step
def analyze_model(model: ModelRef, quantized: ModelRef, samples: DatasetRef, runtime: Runtime) -> Analysis:
    """The error of each layer of a quantized model, compared with the float model it was made of.

    Args:
        model: The float model.
        quantized: The quantized model.
        samples: The samples to infer; all of them are in memory.
        runtime: How the run works; it changes no result.
    """
    store, source = Store(runtime.home), open_source(samples.source)
    opened = store.open_model(model)
    names = input_names(opened)
    loaded = [source.load(index, names) for index in samples.indices]
    return analysis.analyze(opened, store.open_model(quantized), loaded, advance_by_one(), runtime.threads)
