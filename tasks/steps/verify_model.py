"""Step: whether an INT8 model may be written, and which operations are at fault if not."""

from itertools import islice

from tasks.algorithms import faulty, verification
from tasks.algorithms.faulty import Verdict
from tasks.algorithms.inference import input_names
from tasks.data.source import open_source
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.engine.progress import advance_by_one
from tasks.records import DatasetRef, ModelRef, Runtime

__all__ = ["Verdict", "verify_model"]

# Samples that tell which operations are at fault.
_LOOKED_AT = 4


@step
def verify_model(model: ModelRef, quantized: ModelRef, samples: DatasetRef, runtime: Runtime) -> Verdict:
    """Compare an INT8 model on all samples with the float one that it was made of, and with its own graph.

    Args:
        model: The float model.
        quantized: The quantized model.
        samples: The samples to infer.
        runtime: How the run works; it changes no result.
    """
    store, source = Store(runtime.home), open_source(samples.source)
    before, after = store.open_model(model), store.open_model(quantized)
    names = input_names(before)
    loaded = (source.load(index, names) for index in samples.indices)
    found = verification.verify(before, after, loaded, advance_by_one(), runtime.threads)
    few = [source.load(index, names) for index in islice(samples.indices, _LOOKED_AT)]
    return faulty.find_faults(before, after, found, few, runtime.threads)
