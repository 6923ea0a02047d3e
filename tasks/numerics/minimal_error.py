"""Ranges with the least squared error of the quantized tensor, also on samples that were not seen.

The error of a range has two parts: the step s between levels rounds values inside, and values outside are clipped.

    E(low, high) = sum w (v - s round(v / s))^2 + c (sum w (v - high)+^2 + sum w (low - v)+^2)
    s = (high - low) / (levels - 1)

Values v are those of the tensor's sketch, each of which stands for ``w`` elements; zero is a level. The clipping error
also counts the extremes of each channel and sample, one element each, as a sketch misses rare and large values. It is
estimated by cross-validation: the extremes of each fold of samples meet the bound that the other folds set. A channel
that is seldom active, whose largest value so far says little, thus gets a range with room for unseen samples.

The clipping weight ``c`` is 1 for the error of the tensor itself. The output of a model may need more: errors of
rounding are independent and average out in the layers behind, clipping errors all have one sign
(see ``tasks.algorithms.clipping_weight``).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tasks.numerics.affine import Granularity, Mode, QuantizerConfig, Range, count_levels
from tasks.numerics.float32 import as_float32
from tasks.numerics.statistics import Rows, TensorStatistic

Values = NDArray[np.float64]

# Bounds to try for a tensor, as shares of the most extreme value of all samples.
SHARES = np.concatenate([np.linspace(0.2, 1.0, 41), [1.05, 1.1, 1.2, 1.35, 1.5]])
# The same for each channel; the bound of the whole tensor, for which infinity stands, is the widest.
CHANNEL_SHARES = np.concatenate([np.linspace(0.5, 1.0, 11), [1.1, 1.25, 1.5, 2, 3, 5, 10, np.inf]])
# Bounds to try for weights, as shares of the largest one of a channel.
WEIGHT_SHARES = np.linspace(0.3, 1.0, 36)
FOLDS = 5
# LevelsPerSide for which the error of rounding is computed.
_STEPS = 48


def activation_range(
    statistic: TensorStatistic, config: QuantizerConfig, size: int, clipping_weight: float = 1.0
) -> Range:
    """The range of an activation tensor: bounds of shape (channels,), or (1,) per tensor, float32.

    Without a sketch only the extremes count. Samples without values are left out; without any the range is [0, 0].
    A tensor that reaches infinity keeps its extremes.

    Args:
        statistic: What was observed of each sample.
        config: Mode, granularity and levels of the tensor.
        size: Elements of the tensor in one sample.
        clipping_weight: The clipping weight c, for one scale per tensor; per channel it is 1.
    """
    seen = ~(np.isnan(statistic.minimum).any(axis=1) | np.isnan(statistic.maximum).any(axis=1))
    low, high = (rows[seen].astype(np.float64) for rows in (statistic.minimum, statistic.maximum))
    if not len(low):
        nothing = np.zeros(low.shape[1] if config.granularity == Granularity.PERCHANNEL else 1, np.float32)
        return Range(nothing, nothing)
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        axis = 0 if config.granularity == Granularity.PERCHANNEL else None
        ends = low.min(axis=axis, keepdims=axis is None), high.max(axis=axis, keepdims=axis is None)
        return Range(*(end.reshape(-1).astype(np.float32) for end in ends))
    values = np.zeros((len(low), 1)) if statistic.values is None else statistic.values[seen].astype(np.float64)
    forced = config.level_low is not None and config.level_low < 0
    magnitudes = config.mode == Mode.SYMMETRIC and (forced or bool((low < 0).any()))
    if magnitudes:
        # One bound for both sides of zero.
        high, values, low = np.maximum(high, -low), np.abs(values), np.zeros_like(low)
    levels = count_levels(config, weights=False) - 1
    steps = levels // 2 if magnitudes else levels
    if config.granularity == Granularity.PERCHANNEL:
        bottom, top = _per_channel(low, high, values, steps, size)
    else:
        bottom, top = _per_tensor(low, high, values, steps, size, clipping_weight)
    return Range(as_float32(-top if magnitudes else bottom), as_float32(top))


def weight_range(channels: Rows, config: QuantizerConfig) -> Range:
    """The range of each channel of a constant tensor: bounds of shape (channels,), float32.

    Args:
        channels: The tensor, (channels, values), float32.
        config: Mode and levels of the tensor.
    """
    if not np.isfinite(channels).all():
        return Range(channels.min(axis=1), channels.max(axis=1))
    values = channels.astype(np.float64)
    low, high = np.minimum(values.min(axis=1), 0), np.maximum(values.max(axis=1), 0)
    if config.mode == Mode.SYMMETRIC:
        high = np.maximum(high, -low)
        low = -high
    steps = count_levels(config, weights=True) - 1
    best, shares = np.full(len(values), np.inf), np.ones(len(values))
    for share in WEIGHT_SHARES:
        step = np.maximum((high - low) * share / steps, np.finfo(np.float32).tiny)[:, None]
        bottom, top = np.rint(low[:, None] * share / step), np.rint(high[:, None] * share / step)
        error = np.square(values - np.clip(np.rint(values / step), bottom, top) * step).sum(axis=1)
        better = error < best
        best[better], shares[better] = error[better], share
    return Range((low * shares).astype(np.float32), (high * shares).astype(np.float32))


def _per_tensor(
    low: Values, high: Values, values: Values, steps: float, size: int, clipping_weight: float
) -> tuple[Values, Values]:
    """The bounds, (1,) each, with the least error among all pairs of SHARES of the extremes."""
    weight = size / values.shape[1]
    lows, highs = np.meshgrid(SHARES * low.min(), SHARES * high.max(), indexing="ij")
    above, below = _cut_off(high, values, weight), _cut_off(-low, -values, weight)
    errors = _rounding((highs - lows) / steps, values, weight) + clipping_weight * (below[:, None] + above[None])
    row, column = np.unravel_index(int(np.argmin(errors)), errors.shape)
    return lows[row, column].reshape(1), highs[row, column].reshape(1)


def _per_channel(low: Values, high: Values, values: Values, steps: float, size: int) -> tuple[Values, Values]:
    """The bounds, (channels,) each: all channels have the one of CHANNEL_SHARES with the least error in total."""
    elements = size / low.shape[1] * float((values != 0).mean() or 1.0)
    errors = []
    for share in CHANNEL_SHARES:
        error = 0.0
        for held_out, others in _folds(len(low)):
            bottom, top = (-_channel_borders(-low[others], share), _channel_borders(high[others], share))
            error += np.square(np.maximum(high[held_out] - top, 0)).sum()
            error += np.square(np.maximum(bottom - low[held_out], 0)).sum()
        bottom, top = -_channel_borders(-low, share), _channel_borders(high, share)
        errors.append(error + len(low) * elements * np.square((top - bottom) / steps).sum() / 12)
    share = CHANNEL_SHARES[int(np.argmin(errors))]
    return -_channel_borders(-low, share), _channel_borders(high, share)


def _channel_borders(extremes: Values, share: float) -> Values:
    """The bound of each channel: a share of its extreme, at most the extreme of the tensor."""
    own, whole = extremes.max(axis=0), extremes.max()
    return np.minimum(own * share, whole) if np.isfinite(share) else np.full_like(own, whole)


def _folds(samples: int) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """For each fold of the samples the mask of the fold and that of all others; a single sample is both."""
    fold = np.arange(samples) % min(FOLDS, samples)
    for number in range(fold.max() + 1):
        held_out = fold == number
        yield held_out, held_out if samples == 1 else ~held_out


def _cut_off(extremes: Values, values: Values, weight: float) -> Values:
    """The squared clipping error above each of SHARES of the greatest extreme."""
    error = weight * _excess(values, SHARES * extremes.max())
    for held_out, others in _folds(len(extremes)):
        error += _excess(extremes[held_out], SHARES * extremes[others].max())
    return error


def _excess(values: Values, borders: Values) -> Values:
    """The sum of ``(v - border)+^2`` over all values, for each border."""
    falling = np.sort(values, axis=None)[::-1]
    sums, squares = (np.concatenate([[0.0], np.cumsum(each)]) for each in (falling, falling**2))
    count = np.searchsorted(-falling, -borders, side="left")
    excess: Values = np.maximum(squares[count] - 2 * borders * sums[count] + count * borders**2, 0)
    return excess


def _rounding(steps: Values, values: Values, weight: float) -> Values:
    """The squared error of rounding to multiples of each step, interpolated between _STEPS of them."""
    largest = float(steps.max())
    if largest <= 0:
        return np.zeros_like(steps)
    known = np.geomspace(max(float(steps.min()), largest * 1e-4), largest, _STEPS)
    errors = [weight * np.square(values - known_step * np.rint(values / known_step)).sum() for known_step in known]
    found: Values = np.interp(steps, known, errors)
    return found
