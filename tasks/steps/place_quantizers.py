"""Step: placement, where FakeQuantize operations belong."""

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.algorithms import channel_alignment
from tasks.algorithms.inference import sample_bytes
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.errors import InputError
from tasks.graph import placement
from tasks.graph.alignment import find_pairs
from tasks.graph.costs import RECURRENT
from tasks.graph.layers import ChannelMean, find_layers
from tasks.graph.operations import Operation, read_operations
from tasks.graph.placement import QuantizerSetup, Role, observed_tensors
from tasks.graph.presets import Scheme, choose
from tasks.graph.scope import IgnoredScope
from tasks.graph.smoothing import SmoothPoint, find_smooth_points
from tasks.graph.tensors import is_product
from tasks.numerics.affine import Granularity
from tasks.numerics.statistics import Observation, Quantile
from tasks.records import ModelRef, Runtime


@dataclass(frozen=True)
class Placement:
    """The quantizers of a model, and what to observe of it, which does not depend on presets and the like.

    Attributes:
        setup: The quantizers.
        tensors: Names of the tensors to observe.
        tensor_bytes: Bytes of each for one sample; 0 if its shape is dynamic.
        means: Means of layers' data, which bias correction needs.
        alignable: Names of the tensors whose channels can be aligned.
        smoothable: Tensors whose features can be smoothed.
        attention: Names of the operations that multiply computed matrices, as transformers do.
        recurrent: Names of the recurrent layers that are quantized.
    """

    setup: QuantizerSetup
    tensors: tuple[str, ...]
    tensor_bytes: tuple[int, ...]
    means: tuple[ChannelMean, ...]
    alignable: tuple[str, ...]
    smoothable: tuple[SmoothPoint, ...]
    attention: tuple[str, ...]
    recurrent: tuple[str, ...] = ()

    def observations(
        self, quantiles: Mapping[str, tuple[Quantile, ...]], *, values: bool = False, aligned: bool = False
    ) -> tuple[Observation, ...]:
        """What to observe of each tensor.

        Args:
            quantiles: Quantiles by name of the tensor.
            values: Whether to keep a sketch of each quantized tensor.
            aligned: Whether to observe what channel alignment needs.
        """
        quantized = {tensor for point in self.setup.points for tensor in point.observed}
        for_alignment = dict.fromkeys(self.alignable if aligned else (), channel_alignment.QUANTILES)
        return tuple(
            Observation(
                tensor,
                means=tuple(mean.axis for mean in self.means if mean.tensor == tensor),
                quantiles=tuple(sorted({*quantiles.get(tensor, ()), *for_alignment.get(tensor, ())})),
                values=values and tensor in quantized,
            )
            for tensor in self.tensors
        )

    def shares_scales(self, scheme: Scheme) -> bool:
        """Whether weights of more than one channel get one scale.

        Args:
            scheme: How the model is quantized.
        """
        weights = (point for point in self.setup.points if point.role == Role.WEIGHTS)
        return any(choose(point, scheme).granularity == Granularity.PERTENSOR for point in weights)

    def peaks(self) -> tuple[Observation, ...]:
        """What smoothing needs to observe."""
        return tuple(Observation(point.tensor, peaks=(point.axis,)) for point in self.smoothable)

    def groups(
        self, observations: tuple[Observation, ...], most_bytes: int | None
    ) -> tuple[tuple[Observation, ...], ...]:
        """Groups of tensors that are observed together, in their order.

        Args:
            observations: What to observe of each tensor.
            most_bytes: Most bytes of a group for one sample; a larger tensor has a group of its own. None for one
                group.
        """
        if most_bytes is None:
            return (observations,)
        groups: list[list[Observation]] = []
        room, sizes = 0, dict(zip(self.tensors, self.tensor_bytes, strict=True))
        for observation in observations:
            size = sizes[observation.tensor]
            if not groups or size > room:
                groups.append([])
                room = most_bytes
            groups[-1].append(observation)
            room -= size
        return tuple(tuple(group) for group in groups)


@step
def place_quantizers(
    model: ModelRef,
    target_device: str,
    model_type: str | None,
    ignored: IgnoredScope,
    runtime: Runtime,
    *,
    left_float: tuple[tuple[str, str], ...] = (),
) -> Placement:
    """The placement for a target device.

    Args:
        model: The float model.
        target_device: Name of the target device.
        model_type: ``"transformer"``, or None for other models.
        ignored: Operations that stay float.
        runtime: How the run works; it changes no result.
        left_float: Operations that stay float besides, each with the reason.

    Raises:
        InputError: An ignored entry has no effect.
    """
    opened = Store(runtime.home).open_model(model)
    setup = placement.place_quantizers(
        opened, target_device=target_device, model_type=model_type, ignored=ignored, left_float=dict(left_float)
    )
    alignable = tuple(sorted(pair.tensor for pair in find_pairs(opened)))
    tensors = tuple(sorted({*observed_tensors(opened, setup, target_device=target_device), *alignable}))
    quantized = {point.tensor for point in setup.points}
    smoothable = tuple(point for point in find_smooth_points(opened) if point.tensor in quantized)
    operations = read_operations(opened)
    means = sorted({layer.mean for layer in find_layers(operations)})
    tapped = tuple(mean for mean in means if mean.tensor in tensors)
    attention = tuple(each.name for each in operations if not each.constant and _multiplies_computed(each))
    targets = {name for point in setup.points for name in point.targets}
    recurrent = tuple(each.name for each in operations if each.type in RECURRENT and each.name in targets)
    sizes = sample_bytes(opened, tensors)
    return Placement(setup, tensors, sizes, tapped, alignable, smoothable, attention, recurrent)


def _multiplies_computed(operation: Operation) -> bool:
    return is_product(operation) or operation.type == "ScaledDotProductAttention"


def require_points(placement: Placement, model: ModelRef, target_device: str) -> Placement:
    """The placement, if the device quantizes something.

    Args:
        placement: The placement.
        model: The model, for the message.
        target_device: Name of the target device, for the message.

    Raises:
        InputError: The device quantizes no operation of the model.
    """
    setup = placement.setup
    if not setup.points:
        left = ", ".join(f"{each.type} '{each.name}' ({each.reason})" for each in setup.float_operations[:3])
        why = f": {left}" if left else ""
        msg = f"model.path: '{model.name}' has no operation that {target_device} quantizes{why}"
        raise InputError(msg)
    return placement
