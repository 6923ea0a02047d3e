"""Step: a float model whose neighbouring layers have weights of like size, and which computes the same."""

from dataclasses import dataclass

from tasks.algorithms.equalization import equalize
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.records import ModelRef, Runtime


@dataclass(frozen=True)
class EqualizedModel:
    """The model, and the names of the tensors whose channels were scaled; without any, the model that came in."""

    model: ModelRef
    tensors: tuple[str, ...] = ()


@step
def equalize_layers(model: ModelRef, runtime: Runtime) -> EqualizedModel:
    """The float model with cross-layer equalization, without inference.

    Args:
        model: The float model.
        runtime: How the run works; it changes no result.
    """
    store = Store(runtime.home)
    equalized = store.open_model(model)
    pairs = equalize(equalized)
    if not pairs:
        return EqualizedModel(model)
    return EqualizedModel(store.put_model(equalized, model.name), tuple(pair.tensor for pair in pairs))
