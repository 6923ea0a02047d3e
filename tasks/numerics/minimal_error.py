"""Ranges that minimise the squared error of a quantized tensor, on samples that were not seen as well.

A border of a range costs twice: the step s between levels rounds what lies inside, and what lies beyond is cut off.

    E(low, high) = sum w (v - s round(v / s))^2 + c (sum w (v - high)+^2 + sum w (low - v)+^2)
    s = (high - low) / (levels - 1)

Values v of a tensor come from its sketch, each standing for ``w`` elements; zero is a level. What is cut off also
counts for the extremes of every channel and sample, one element each: rare and large values, which a sketch misses.
They are judged by others: samples are parted into folds, and the extremes of a fold meet the border that the other
folds give. So a channel that is seldom active, whose largest value among the samples says little, gets room for what is
to come.

The caution ``c`` is 1 for the error of the tensor itself. The output of a model may ask for more: errors of rounding
are independent and average out on the way, a region cut off is wrong in one direction (see ``algorithms.caution``).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tasks.numerics.affine import Granularity, Mode, QuantizerConfig, Range, count_levels
from tasks.numerics.statistics import Rows, TensorStatistic

Values = NDArray[np.float64]

# Borders that are tried, as shares of the most extreme value of all samples.
SHARES = np.concatenate([np.linspace(0.2, 1.0, 41), [1.05, 1.1, 1.2, 1.35, 1.5]])
# The same for a scale per channel, which cannot pass the border of the whole tensor: infinity stands for that.
CHANNEL_SHARES = np.concatenate([np.linspace(0.5, 1.0, 11), [1.1, 1.25, 1.5, 2, 3, 5, 10, np.inf]])
# Shares of the largest weight of a channel.
WEIGHT_SHARES = np.linspace(0.3, 1.0, 36)
FOLDS = 5
_STEPS = 48


def activation_range(statistic: TensorStatistic, config: QuantizerConfig, size: int, caution: float = 1.0) -> Range:
    """The range of an activation tensor of ``size`` elements a sample; borders of shape (channels,) or (1,).

    ``caution`` is by how much more than rounding the error of values beyond the borders of a whole tensor counts.
    Without a sketch only the extremes tell what is cut off. Samples without values do not count.
    """
    seen = np.isfinite(statistic.minimum).all(axis=1) & np.isfinite(statistic.maximum).all(axis=1)
    low, high = (rows[seen].astype(np.float64) for rows in (statistic.minimum, statistic.maximum))
    if not len(low):
        nothing = np.zeros(low.shape[1] if config.granularity == Granularity.PERCHANNEL else 1, np.float32)
        return Range(nothing, nothing)
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    values = np.zeros((len(low), 1)) if statistic.values is None else statistic.values[seen].astype(np.float64)
    forced = config.level_low is not None and config.level_low < 0
    magnitudes = config.mode == Mode.SYMMETRIC and (forced or bool((low < 0).any()))
    if magnitudes:
        # One border for both sides of zero.
        high, values, low = np.maximum(high, -low), np.abs(values), np.zeros_like(low)
    levels = count_levels(config, weights=False) - 1
    steps = levels // 2 if magnitudes else levels
    if config.granularity == Granularity.PERCHANNEL:
        bottom, top = _per_channel(low, high, values, steps, size)
    else:
        bottom, top = _per_tensor(low, high, values, steps, size, caution)
    return Range((-top if magnitudes else bottom).astype(np.float32), top.astype(np.float32))


def weight_range(channels: Rows, config: QuantizerConfig) -> Range:
    """The range of each channel of constants (channels, values); borders of shape (channels,)."""
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
    low: Values, high: Values, values: Values, steps: float, size: int, caution: float
) -> tuple[Values, Values]:
    weight = size / values.shape[1]
    lows, highs = np.meshgrid(SHARES * low.min(), SHARES * high.max(), indexing="ij")
    above, below = _cut_off(high, values, weight), _cut_off(-low, -values, weight)
    errors = _rounding((highs - lows) / steps, values, weight) + caution * (below[:, None] + above[None])
    row, column = np.unravel_index(int(np.argmin(errors)), errors.shape)
    return lows[row, column].reshape(1), highs[row, column].reshape(1)


def _per_channel(low: Values, high: Values, values: Values, steps: float, size: int) -> tuple[Values, Values]:
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
    """The border of each channel: a share of its most extreme value, within that of the tensor."""
    own, whole = extremes.max(axis=0), extremes.max()
    return np.minimum(own * share, whole) if np.isfinite(share) else np.full_like(own, whole)


def _folds(samples: int) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """The samples of each fold, and the others; a single sample judges itself."""
    fold = np.arange(samples) % min(FOLDS, samples)
    for number in range(fold.max() + 1):
        held_out = fold == number
        yield held_out, held_out if samples == 1 else ~held_out


def _cut_off(extremes: Values, values: Values, weight: float) -> Values:
    """The squared error of what lies above a border, for each of SHARES."""
    error = weight * _excess(values, SHARES * extremes.max())
    for held_out, others in _folds(len(extremes)):
        error += _excess(extremes[held_out], SHARES * extremes[others].max())
    return error


def _excess(values: Values, borders: Values) -> Values:
    """``sum (v - border)+^2`` for each border."""
    falling = np.sort(values, axis=None)[::-1]
    sums, squares = (np.concatenate([[0.0], np.cumsum(each)]) for each in (falling, falling**2))
    count = np.searchsorted(-falling, -borders, side="left")
    excess: Values = np.maximum(squares[count] - 2 * borders * sums[count] + count * borders**2, 0)
    return excess


def _rounding(steps: Values, values: Values, weight: float) -> Values:
    """The squared error of rounding to multiples of each step, read off a curve over some steps."""
    largest = float(steps.max())
    if largest <= 0:
        return np.zeros_like(steps)
    known = np.geomspace(max(float(steps.min()), largest * 1e-4), largest, _STEPS)
    errors = [weight * np.square(values - known_step * np.rint(values / known_step)).sum() for known_step in known]
    found: Values = np.interp(steps, known, errors)
    return found
