"""Step: the error of each layer of an INT8 model, and what it is made of."""

from tasks.algorithms import analysis
from tasks.algorithms.analysis import Analysis
from tasks.algorithms.inference import input_names
from tasks.caching import step
from tasks.data.source import open_source
from tasks.progress import advance_by_one
from tasks.records import DatasetRef, ModelRef, Runtime
from tasks.store import Store

__all__ = ["MOST_SAMPLES", "Analysis", "analyze_model"]

# More samples change the figures of layers little.
MOST_SAMPLES = 16


@step
def analyze_model(model: ModelRef, quantized: ModelRef, samples: DatasetRef, runtime: Runtime) -> Analysis:
    """Compare an INT8 model with the float model that it was made of, layer by layer."""
    store, source = Store(runtime.home), open_source(samples.source)
    opened = store.open_model(model)
    names = input_names(opened)
    loaded = [source.load(index, names) for index in samples.indices]
    return analysis.analyze(opened, store.open_model(quantized), loaded, advance_by_one(), runtime.threads)
