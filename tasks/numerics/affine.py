"""Affine quantization: a value range becomes the limits and levels of an OpenVINO FakeQuantize."""

from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """How zero lies in the quantized range."""

    SYMMETRIC = "symmetric"
    ASYMMETRIC = "asymmetric"


class Granularity(StrEnum):
    """How many scales a tensor has."""

    PERTENSOR = "pertensor"
    PERCHANNEL = "perchannel"


@dataclass(frozen=True)
class QuantizerConfig:
    """One way to quantize a tensor, as the table of a target device lists it.

    ``level_low`` and ``level_high`` are the ends of the integer range; None stands for the default of
    ``bits`` and the role of the tensor (see :func:`count_levels`).
    """

    bits: int = 8
    mode: Mode = Mode.SYMMETRIC
    granularity: Granularity = Granularity.PERTENSOR
    level_low: int | None = None
    level_high: int | None = None
