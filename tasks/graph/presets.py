"""Presets: which of the configurations that a device offers is taken for a point."""

from enum import StrEnum

from tasks.graph.placement import QuantizationPoint, Role
from tasks.numerics.affine import QuantizerConfig


class Preset(StrEnum):
    """The trade between speed and accuracy.

    ``performance``: symmetric weights and activations. ``mixed``: symmetric weights, asymmetric activations.
    ``accuracy``: both asymmetric.
    """

    PERFORMANCE = "performance"
    MIXED = "mixed"
    ACCURACY = "accuracy"


def choose(point: QuantizationPoint, preset: Preset) -> QuantizerConfig:
    """The first candidate of the device's table, or the last where the preset asks for asymmetric quantization."""
    asymmetric = preset == Preset.ACCURACY or (preset == Preset.MIXED and point.role == Role.ACTIVATIONS)
    return point.candidates[-1 if asymmetric else 0]
