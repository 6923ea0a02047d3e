"""Step: the layers of a quantized model to tune, in groups."""

from tasks.algorithms import layerwise_tuning
from tasks.algorithms.layerwise_tuning import TuningPlan
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.errors import InputError
from tasks.graph.scope import IgnoredScope
from tasks.records import ModelRef, Runtime


@step
def plan_tuning(
    model: ModelRef, quantized: ModelRef, ignored: IgnoredScope, passes: int | None, runtime: Runtime
) -> TuningPlan:
    """The layers to tune, in groups of one pass over the samples each.

    Args:
        model: The float model.
        quantized: The quantized model made of it.
        ignored: Layers that are not tuned.
        passes: Most groups; None for as many as dependencies between layers demand.
        runtime: How the run works; it changes no result.

    Raises:
        InputError: An ignored entry has no effect.
    """
    store = Store(runtime.home)
    try:
        return layerwise_tuning.plan_tuning(store.open_model(model), store.open_model(quantized), ignored, passes)
    except InputError as error:
        raise InputError(str(error).replace("quantization.", "quantization.layerwise_tuning.", 1)) from error
