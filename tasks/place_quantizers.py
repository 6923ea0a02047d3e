"""Step: where FakeQuantize operations belong."""

from dataclasses import dataclass

from tasks.caching import step
from tasks.errors import InputError
from tasks.graph import placement
from tasks.graph.placement import QuantizerSetup, tapped_tensors
from tasks.graph.scope import IgnoredScope
from tasks.records import ModelRef, Runtime
from tasks.store import Store


@dataclass(frozen=True)
class Placement:
    """The setup of a model and the tensors whose statistics it needs, which presets and the like do not change."""

    setup: QuantizerSetup
    tensors: tuple[str, ...]


@step
def place_quantizers(
    model: ModelRef, target_device: str, model_type: str | None, ignored: IgnoredScope, runtime: Runtime
) -> Placement:
    """Place quantizers for a device.

    Raises InputError when the model has no operation that the device quantizes, and for ignored entries without effect.
    """
    opened = Store(runtime.home).open_model(model)
    setup = placement.place_quantizers(opened, target_device=target_device, model_type=model_type, ignored=ignored)
    if not setup.points:
        msg = f"model.path: '{model.name}' has no operation that {target_device} quantizes; nothing was written"
        raise InputError(msg)
    return Placement(setup, tapped_tensors(opened, setup, target_device=target_device))
