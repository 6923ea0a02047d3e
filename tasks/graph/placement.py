"""Where FakeQuantize operations belong: a value, decided before any node is touched."""

from dataclasses import dataclass
from enum import StrEnum

from tasks.numerics.affine import QuantizerConfig


class Role(StrEnum):
    """Whether a tensor is constant or computed from the input."""

    WEIGHTS = "weights"
    ACTIVATIONS = "activations"


@dataclass(frozen=True)
class QuantizationPoint:
    """One FakeQuantize to be inserted.

    ``name`` is its friendly name, ``tensor`` the quantized tensor as ``"<producer>:<output port>"``, ``consumers``
    the inputs that read the quantized tensor as ``"<operation>:<input port>"``, sorted. ``candidates`` are the
    configurations that the target device offers for all of these consumers, in the order of its table: the preset
    chooses among them later, so that placement does not depend on it. ``channel_axes`` are the axes of the tensor
    that hold the channels of a per-channel configuration. Points with the same ``group`` share one range.
    """

    name: str
    tensor: str
    consumers: tuple[str, ...]
    role: Role
    candidates: tuple[QuantizerConfig, ...]
    channel_axes: tuple[int, ...]
    group: str | None = None


@dataclass(frozen=True)
class FloatOperation:
    """An operation that the target could quantize but that stays float, and why."""

    name: str
    type: str
    reason: str


@dataclass(frozen=True)
class QuantizerSetup:
    """All points of a model, sorted by name, and what was left float."""

    points: tuple[QuantizationPoint, ...]
    float_operations: tuple[FloatOperation, ...]
