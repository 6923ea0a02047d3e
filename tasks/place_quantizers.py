"""Step: where FakeQuantize operations belong."""

from dataclasses import dataclass

from tasks.algorithms.inference import sample_bytes
from tasks.caching import step
from tasks.errors import InputError
from tasks.graph import placement
from tasks.graph.layers import ChannelMean, find_layers
from tasks.graph.operations import read_operations
from tasks.graph.placement import QuantizerSetup, tapped_tensors
from tasks.graph.scope import IgnoredScope
from tasks.records import ModelRef, Runtime
from tasks.store import Store


@dataclass(frozen=True)
class Placement:
    """The setup of a model and the tensors whose statistics it needs, which presets and the like do not change.

    ``tensor_bytes`` are what each tensor takes for one sample, 0 where its shape is not known beforehand. ``means`` are
    those of the data of layers, which bias correction needs.
    """

    setup: QuantizerSetup
    tensors: tuple[str, ...]
    tensor_bytes: tuple[int, ...]
    means: tuple[ChannelMean, ...]

    def means_of(self, tensors: tuple[str, ...]) -> tuple[ChannelMean, ...]:
        """The means to collect together with some of the tensors."""
        return tuple(mean for mean in self.means if mean.tensor in tensors)

    def groups(self, most_bytes: int | None) -> tuple[tuple[str, ...], ...]:
        """The tensors in groups of at most so many bytes a sample, or of one tensor; a single group without a limit."""
        if most_bytes is None:
            return (self.tensors,)
        groups: list[list[str]] = []
        room = 0
        for tensor, size in zip(self.tensors, self.tensor_bytes, strict=True):
            if not groups or size > room:
                groups.append([])
                room = most_bytes
            groups[-1].append(tensor)
            room -= size
        return tuple(tuple(group) for group in groups)


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
        left = ", ".join(f"{each.type} '{each.name}' ({each.reason})" for each in setup.float_operations[:3])
        why = f": {left}" if left else ""
        msg = f"model.path: '{model.name}' has no operation that {target_device} quantizes{why}; nothing was written"
        raise InputError(msg)
    tensors = tapped_tensors(opened, setup, target_device=target_device)
    means = sorted({layer.mean for layer in find_layers(read_operations(opened))})
    tapped = tuple(mean for mean in means if mean.tensor in tensors)
    return Placement(setup, tensors, sample_bytes(opened, tensors), tapped)
