"""Affine quantization: from the range of a tensor to the parameters of an OpenVINO FakeQuantize.

A FakeQuantize clips a tensor to a range and rounds it to one of ``levels`` evenly spaced values, of which zero is one:
https://docs.openvino.ai/2025/documentation/openvino-ir-format/operation-sets/operation-specs/quantization/fake-quantize-1.html
The rules are those of MinMaxQuantization, a part of POT's DefaultQuantization. Each function says where it departs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# The narrowest range, as in POT: a constant tensor has a scale above zero as well.
SMALLEST_RANGE = 8e-4
# The inverse of a step of a smaller range would pass float32, and a step itself soon.
LEAST_RANGE = 1e-30
# The magnitude of a symmetric channel is at least this share of that of the largest channel, as in POT.
CHANNEL_FLOOR = 0.01


class Mode(StrEnum):
    """Symmetric: the range is [-a, a], or [0, a] for activations without negative values. Asymmetric: any with zero."""

    SYMMETRIC = "symmetric"
    ASYMMETRIC = "asymmetric"


class Granularity(StrEnum):
    """The number of scales of a tensor: one, or one per channel."""

    PERTENSOR = "pertensor"
    PERCHANNEL = "perchannel"


@dataclass(frozen=True)
class QuantizerConfig:
    """One way to quantize a tensor, as the table of a target device lists it.

    ``level_low`` and ``level_high`` are the ends of the integer range; None stands for the default (see
    :func:`level_bounds`). ``unified_zero_point``: all channels of an asymmetric constant have the same zero point.
    """

    bits: int = 8
    mode: Mode = Mode.SYMMETRIC
    granularity: Granularity = Granularity.PERTENSOR
    level_low: int | None = None
    level_high: int | None = None
    unified_zero_point: bool = False


@dataclass(frozen=True)
class Range:
    """The range of values to represent: the bounds of each channel, (channels,), or (1,) per tensor; float32."""

    low: Array
    high: Array


@dataclass(frozen=True)
class FakeQuantizeParameters:
    """The inputs of a FakeQuantize: bounds, float32, (channels,), or (1,) per tensor; and the number of levels."""

    input_low: Array
    input_high: Array
    output_low: Array
    output_high: Array
    levels: int


def level_bounds(config: QuantizerConfig, *, weights: bool) -> tuple[int, int]:
    """The lowest and the highest integer level: (-128, 127) by default for 8 bits.

    Symmetric weights leave out the lowest level, so that zero is in the middle: (-127, 127).

    Args:
        config: Gives the bits and the mode; its ``level_low`` and ``level_high`` replace the defaults.
        weights: Whether the tensor is a constant.
    """
    low = -(2 ** (config.bits - 1))
    if weights and config.mode == Mode.SYMMETRIC:
        low += 1
    high = 2 ** (config.bits - 1) - 1
    return (
        low if config.level_low is None else config.level_low,
        high if config.level_high is None else config.level_high,
    )


def count_levels(config: QuantizerConfig, *, weights: bool) -> int:
    """The number of levels of a FakeQuantize: 255 for 8-bit symmetric weights, 256 for other 8-bit tensors.

    Args:
        config: Gives the bits, the mode and the ends of the integer range.
        weights: Whether the tensor is a constant.
    """
    low, high = level_bounds(config, weights=weights)
    return high - low + 1


def weight_parameters(
    values: Range, config: QuantizerConfig, smallest_scale: float | None = None
) -> FakeQuantizeParameters:
    """The FakeQuantize parameters of a constant tensor, (channels,) or (1,).

    A symmetric range is :func:`signed_range` of ``values.high``. Channels below CHANNEL_FLOOR of the largest one are
    raised to it. An asymmetric range comes from :func:`align_zero`.

    Args:
        values: Range of each channel, (channels,) or (1,).
        config: How the tensor is quantized.
        smallest_scale: The least scale of a symmetric channel, in units of the weights; replaces CHANNEL_FLOOR.
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
    """The FakeQuantize parameters of an activation tensor, (channels,) or (1,).

    A symmetric range is [0, high] where no channel has a negative lower bound and ``config.level_low`` is not negative;
    else it is :func:`signed_range` of ``values.high``. An asymmetric one comes from :func:`align_zero`.

    Args:
        values: Range of each channel, (channels,) or (1,).
        config: How the tensor is quantized.
        smallest: The narrowest range, in units of the tensor.

    Example:
        >>> values = Range(low=np.float32([-1.0]), high=np.float32([2.0]))
        >>> found = activation_parameters(values, QuantizerConfig(bits=8, mode=Mode.ASYMMETRIC))
        >>> found.levels, found.input_low.item(), found.input_high.item()
        (256, -1.0, 2.0)
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
    """The range [-high * below / above, high], in which zero is a level; bounds have the shape of ``high``.

    Of the levels ``above = (levels - 1) // 2`` lie above zero and ``below`` under it: 255 levels give [-high, high],
    256 give [-high * 128 / 127, high]. POT's factor is right for even numbers of levels only.

    Args:
        high: Upper bounds, (channels,) or (1,), float32.
        levels: Number of levels, at least 3.
    """
    above = (levels - 1) // 2
    return Range(-high * np.float32((levels - 1 - above) / above), high)


def largest_magnitude(values: Range) -> Array:
    """The largest magnitude of each channel, max(|low|, |high|), with the shape of the bounds (POT: ``abs_max``).

    Args:
        values: Range of each channel; bounds of any one shape.
    """
    return np.maximum(np.abs(values.low), np.abs(values.high))


def floor_channels(high: Array, smallest: float = SMALLEST_RANGE) -> Array:
    """``high`` with small channels raised to CHANNEL_FLOOR of the largest one, and to a tenth of ``smallest``.

    Args:
        high: Upper bounds of symmetric ranges, (channels,) or (1,), float32.
        smallest: The narrowest range, in units of the tensor.
    """
    return np.maximum(high, np.float32(max(smallest / 10, CHANNEL_FLOOR * float(high.max()))))


def smallest_range(values: Range) -> float:
    """The narrowest range of a tensor: SMALLEST_RANGE, times the largest magnitude if that lies between 0 and 1.

    But no less than what float32 can be divided by.

    Args:
        values: Range of each channel, (channels,) or (1,).
    """
    largest = float(largest_magnitude(values).max())
    return max(SMALLEST_RANGE * min(largest or 1.0, 1.0), LEAST_RANGE)


def align_zero(values: Range, levels: int, *, unified: bool = False, smallest: float = SMALLEST_RANGE) -> Range:
    """The range, widened until it contains zero and zero falls on a level; float32, of the shape of ``values``.

    Moving either bound puts zero on a level. The move that gives the wider range is made, so that no value is clipped.
    A side of less than half a level ends at zero, to which its values round anyway; POT leaves zero between levels.

    Args:
        values: Range of each channel, (channels,) or (1,).
        levels: Number of levels.
        unified: Whether all channels share one zero point, the mean of theirs. A side with values keeps a level.
        smallest: Ranges that are not wider are first widened by this on both sides, in units of the tensor.
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


def widen_for_saturation(parameters: FakeQuantizeParameters) -> FakeQuantizeParameters:
    """Parameters of twice the range: weights use half of the levels, so that sums of products do not saturate.

    Args:
        parameters: Those of the weights; output bounds equal input bounds. (POT: ``saturation_fix``.)
    """
    low, high = 2 * parameters.input_low, 2 * parameters.input_high
    return FakeQuantizeParameters(low, high, low, high, parameters.levels)


def unify_parameters(members: Sequence[FakeQuantizeParameters]) -> FakeQuantizeParameters:
    """Parameters of one range that holds the ranges of all members, with zero on a level (POT: unified scales).

    POT takes the least and the greatest bound as they are, which leaves zero between two levels.

    Args:
        members: At least one, of the same number of levels. Where numbers of channels differ, the result is per tensor.
    """
    levels = members[0].levels
    lows, highs = [member.input_low for member in members], [member.input_high for member in members]
    if len({low.size for low in lows}) > 1:
        lows, highs = [low.min(keepdims=True) for low in lows], [high.max(keepdims=True) for high in highs]
    low, high = np.minimum.reduce(lows), np.maximum.reduce(highs)
    return _equal_limits(align_zero(Range(low, high), levels, smallest=0.0), levels)


def fake_quantize(values: Array, parameters: FakeQuantizeParameters, channel_axes: tuple[int, ...] = ()) -> Array:
    """The tensor that OpenVINO's FakeQuantize gives, float32, of the shape of ``values``.

    Args:
        values: The tensor, any shape, float32.
        parameters: Those of the FakeQuantize, (channels,) or (1,).
        channel_axes: Axes of ``values`` that the channels lie along, in C order; without any, one channel.

    Example:
        >>> unit = np.float32([1.0])
        >>> parameters = FakeQuantizeParameters(-unit, unit, -unit, unit, levels=5)
        >>> fake_quantize(np.float32([-3.0, -0.4, 0.1, 0.3, 0.9]), parameters).tolist()
        [-1.0, -0.5, 0.0, 0.5, 1.0]
    """
    low, high, out_low, out_high = (
        broadcast_channels(limit, values.shape, channel_axes)
        for limit in (parameters.input_low, parameters.input_high, parameters.output_low, parameters.output_high)
    )
    steps = np.float32(parameters.levels - 1)
    codes = np.rint((np.clip(values, low, high) - low) / (high - low) * steps)
    quantized: Array = (codes / steps * (out_high - out_low) + out_low).astype(np.float32)
    return quantized


def broadcast_channels(limit: NDArray[Any], shape: tuple[int, ...], channel_axes: tuple[int, ...]) -> NDArray[Any]:
    """``limit``, reshaped so that it broadcasts over a tensor.

    Args:
        limit: One value per channel, (channels,) or (1,), any dtype.
        shape: Shape of the tensor.
        channel_axes: Axes of the tensor that the channels lie along, in C order.
    """
    if limit.size == 1:
        return limit.reshape([1] * len(shape))
    return limit.reshape([n if axis in channel_axes else 1 for axis, n in enumerate(shape)])


def _equal_limits(values: Range, levels: int) -> FakeQuantizeParameters:
    return FakeQuantizeParameters(values.low, values.high, values.low, values.high, levels)
