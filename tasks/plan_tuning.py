"""Step: which layers of a quantized model are tuned, and which together."""

from tasks.algorithms import layerwise_tuning
from tasks.algorithms.layerwise_tuning import TuningPlan
from tasks.caching import step
from tasks.errors import InputError
from tasks.graph.scope import IgnoredScope
from tasks.records import ModelRef, Runtime
from tasks.store import Store


@step
def plan_tuning(
    model: ModelRef, quantized: ModelRef, ignored: IgnoredScope, passes: int | None, runtime: Runtime
) -> TuningPlan:
    """Plan the tuning of a quantized model. Raises InputError for ignored entries without effect."""
    store = Store(runtime.home)
    try:
        return layerwise_tuning.plan_tuning(store.open_model(model), store.open_model(quantized), ignored, passes)
    except InputError as error:
        raise InputError(str(error).replace("quantization.", "quantization.layerwise_tuning.", 1)) from error
