"""Affine quantization: a value range becomes the limits and levels of an OpenVINO FakeQuantize.

Operation: https://docs.openvino.ai/2025/documentation/openvino-ir-format/operation-sets/operation-specs/quantization/fake-quantize-1.html
The rules are those of DefaultQuantization; where they differ, the docstring of the function says why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# A scale below this would underflow in f32 arithmetic; it also keeps a constant tensor quantizable.
SMALLEST_RANGE = 8e-4
# Symmetric limits of a channel are at least this share of the tensor's largest.
CHANNEL_FLOOR = 0.01


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
    ``bits`` and the role of the tensor (see :func:`count_levels`). ``unified_zero_point``: where zero is no middle
    level, it is the same one in all channels of a constant.
    """

    bits: int = 8
    mode: Mode = Mode.SYMMETRIC
    granularity: Granularity = Granularity.PERTENSOR
    level_low: int | None = None
    level_high: int | None = None
    unified_zero_point: bool = False


@dataclass(frozen=True)
class Range:
    """The values to represent: ``low`` and ``high`` of shape (channels,), or (1,) per tensor; float32."""

    low: Array
    high: Array


@dataclass(frozen=True)
class FakeQuantizeParameters:
    """The inputs of a FakeQuantize: four limits of shape (channels,) or (1,), float32, and the level count."""

    input_low: Array
    input_high: Array
    output_low: Array
    output_high: Array
    levels: int


def level_bounds(config: QuantizerConfig, *, weights: bool) -> tuple[int, int]:
    """Lowest and highest integer level; symmetric weights leave out the lowest, so that zero is in the middle."""
    low = -(2 ** (config.bits - 1))
    if weights and config.mode == Mode.SYMMETRIC:
        low += 1
    high = 2 ** (config.bits - 1) - 1
    return (
        low if config.level_low is None else config.level_low,
        high if config.level_high is None else config.level_high,
    )


def count_levels(config: QuantizerConfig, *, weights: bool) -> int:
    """Number of levels of a FakeQuantize: 255 for 8-bit symmetric weights, 256 for other 8-bit tensors."""
    low, high = level_bounds(config, weights=weights)
    return high - low + 1


def weight_parameters(
    values: Range, config: QuantizerConfig, smallest_scale: float | None = None
) -> FakeQuantizeParameters:
    """Limits for a constant tensor from its range, one channel an element; symmetric ones hold ``values.high``.

    Symmetric channels below CHANNEL_FLOOR are raised to it, or with ``smallest_scale`` only to what gives them a step
    of that size.
    """
    levels = count_levels(config, weights=True)
    if config.mode == Mode.ASYMMETRIC:
        return _equal_limits(align_zero(values, levels, unified=config.unified_zero_point), levels)
    if smallest_scale is None:
        return _equal_limits(signed_range(floor_channels(values.high), levels), levels)
    least = np.float32(smallest_scale * ((levels - 1) // 2))
    return _equal_limits(signed_range(np.maximum(values.high, least), levels), levels)


def activation_parameters(
    values: Range, config: QuantizerConfig, smallest: float = SMALLEST_RANGE
) -> FakeQuantizeParameters:
    """Limits for an activation tensor whose ranges are to be ``smallest`` at least.

    Symmetric: [0, high] when no channel has a negative minimum and no negative level is forced, else
    :func:`signed_range` of the high border.
    """
    levels = count_levels(config, weights=False)
    if config.mode == Mode.ASYMMETRIC:
        return _equal_limits(align_zero(values, levels, smallest=smallest), levels)
    high = floor_channels(values.high, smallest)
    forced = config.level_low is not None and config.level_low < 0
    if np.all(values.low >= 0) and not forced:
        return _equal_limits(Range(np.zeros_like(high), high), levels)
    return _equal_limits(signed_range(high, levels), levels)


def signed_range(high: Array, levels: int) -> Range:
    """[-high l/h, high] with h = (levels - 1) // 2 levels above zero and the other l below it.

    Zero is a level whatever their number: 255 give [-high, high], 256 give [-high 128/127, high].
    """
    above = (levels - 1) // 2
    return Range(-high * np.float32((levels - 1 - above) / above), high)


def largest_magnitude(values: Range) -> Array:
    """abs_max: max(|low|, |high|) per channel."""
    return np.maximum(np.abs(values.low), np.abs(values.high))


def floor_channels(high: Array, smallest: float = SMALLEST_RANGE) -> Array:
    """Raise each channel's limit to 1 % of the largest one, and to a tenth of the smallest range at least."""
    return np.maximum(high, np.float32(max(smallest / 10, CHANNEL_FLOOR * float(high.max()))))


def smallest_range(values: Range) -> float:
    """SMALLEST_RANGE of numbers up to 1 or more, and as small a share of those of a tensor in small units."""
    largest = float(largest_magnitude(values).max())
    return SMALLEST_RANGE * min(largest or 1.0, 1.0)


def align_zero(values: Range, levels: int, *, unified: bool = False, smallest: float = SMALLEST_RANGE) -> Range:
    """Widen a range until it contains zero and zero falls on one of the ``levels``.

    Of the two borders the one moves whose move gives the wider range: no value of the range is cut off. A side of less
    than half a level ends at zero, to which its values would round anyway; DefaultQuantization left zero beside the
    levels then. ``unified``: on the same level in all channels, the mean of where each would have it; there every side
    keeps a level at least. A range not above ``smallest`` is widened by that on both sides first.
    """
    low, high = values.low.astype(np.float64), values.high.astype(np.float64)
    narrow = ~(high - low > smallest)
    low, high = np.where(narrow, low - smallest, low), np.where(narrow, high + smallest, high)
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    steps = levels - 1
    zero = -low * steps / (high - low)
    if unified:
        least, most = float((low < 0).any()), steps - float((high > 0).any())
        zero = np.full_like(low, np.clip(np.rint(zero.mean()), least, most))
    zero = np.rint(zero)
    low, high = np.where(zero == 0, 0.0, low), np.where(zero == steps, 0.0, high)
    with np.errstate(divide="ignore", invalid="ignore"):
        new_low = np.where(zero < steps, zero / (zero - steps) * high, low)
        new_high = np.where(zero > 0, (zero - steps) / zero * low, high)
    move_low = high - new_low > new_high - low
    return Range(
        np.where(move_low, new_low, low).astype(np.float32),
        np.where(move_low, high, new_high).astype(np.float32),
    )


def halve_levels(parameters: FakeQuantizeParameters) -> FakeQuantizeParameters:
    """Spread the levels over twice the range: the tensor then uses about half of them, and sums have room."""
    low, high = 2 * parameters.input_low, 2 * parameters.input_high
    return FakeQuantizeParameters(low, high, low, high, parameters.levels)


def unite(members: Sequence[FakeQuantizeParameters]) -> FakeQuantizeParameters:
    """Limits that hold those of all members (equal levels), with zero on a level again.

    Members with different numbers of channels get one scale for all channels.
    """
    levels = members[0].levels
    lows, highs = [member.input_low for member in members], [member.input_high for member in members]
    if len({low.size for low in lows}) > 1:
        lows, highs = [low.min(keepdims=True) for low in lows], [high.max(keepdims=True) for high in highs]
    low, high = np.minimum.reduce(lows), np.maximum.reduce(highs)
    return _equal_limits(align_zero(Range(low, high), levels, smallest=0.0), levels)


def fake_quantize(values: Array, parameters: FakeQuantizeParameters, channel_axes: tuple[int, ...] = ()) -> Array:
    """What OpenVINO's FakeQuantize computes, in float32; the limits are spread over ``channel_axes``."""
    low, high, out_low, out_high = (
        spread(limit, values.shape, channel_axes)
        for limit in (parameters.input_low, parameters.input_high, parameters.output_low, parameters.output_high)
    )
    steps = np.float32(parameters.levels - 1)
    codes = np.rint((np.clip(values, low, high) - low) / (high - low) * steps)
    quantized: Array = (codes / steps * (out_high - out_low) + out_low).astype(np.float32)
    return quantized


def spread(limit: NDArray[Any], shape: tuple[int, ...], channel_axes: tuple[int, ...]) -> NDArray[Any]:
    """Reshape limits of shape (channels,) or (1,) so that they broadcast over a tensor of ``shape``."""
    if limit.size == 1:
        return limit.reshape([1] * len(shape))
    return limit.reshape([n if axis in channel_axes else 1 for axis, n in enumerate(shape)])


def _equal_limits(values: Range, levels: int) -> FakeQuantizeParameters:
    return FakeQuantizeParameters(values.low, values.high, values.low, values.high, levels)
