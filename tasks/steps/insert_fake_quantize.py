"""Step: from the float model to the quantized model."""

from tasks.algorithms.ranges import from_arrays
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.graph.edits import insert_quantizers
from tasks.graph.placement import QuantizerSetup
from tasks.records import ArraysRef, ModelRef, Runtime


@step
def insert_fake_quantize(model: ModelRef, setup: QuantizerSetup, parameters: ArraysRef, runtime: Runtime) -> ModelRef:
    """The quantized model: a FakeQuantize for each activation tensor, int8 constants for weights.

    Args:
        model: The float model.
        setup: Its quantizers.
        parameters: FakeQuantize parameters of every quantizer.
        runtime: How the run works; it changes no result.
    """
    store = Store(runtime.home)
    quantized = store.open_model(model)
    insert_quantizers(quantized, setup.points, from_arrays(store.open_arrays(parameters)))
    return store.put_model(quantized, model.name)
