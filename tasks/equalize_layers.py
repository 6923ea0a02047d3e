"""Step: layers that share channels get weights of like size; the float model computes the same."""

from dataclasses import dataclass

from tasks.algorithms.equalization import equalize
from tasks.caching import step
from tasks.records import ModelRef, Runtime
from tasks.store import Store


@dataclass(frozen=True)
class EqualizedModel:
    """The model, and the tensors whose channels were scaled; the model that came in where there are none."""

    model: ModelRef
    tensors: tuple[str, ...] = ()


@step
def equalize_layers(model: ModelRef, runtime: Runtime) -> EqualizedModel:
    """Equalize the weights of every pair of layers; nothing is inferred."""
    store = Store(runtime.home)
    equalized = store.open_model(model)
    pairs = equalize(equalized)
    if not pairs:
        return EqualizedModel(model)
    return EqualizedModel(store.put_model(equalized, model.name), tuple(pair.tensor for pair in pairs))
