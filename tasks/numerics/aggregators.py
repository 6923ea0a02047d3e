"""Aggregators: one value per channel from the values that the samples of a data set gave.

Each takes rows of shape (samples, channels), forms sums in float64 and returns (channels,), float32. Names and rules
are POT's.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tasks.numerics.float32 import as_float32

Rows = NDArray[np.float32]
Reduce = Callable[[NDArray[np.float64]], NDArray[np.float64]]

# Samples of a channel outside these quantiles are outliers.
OUTLIERS = (0.01, 0.99)
# Infinite for float32, sums of it finite in float64.
_INFINITE = 1e250
# So many halvings make the ends of any interval of float64 neighbours.
_HALVINGS = 128


def hodges_lehmann(values: NDArray[np.float64]) -> float:
    """The median of (a + b) / 2 over all pairs of different samples; the value itself of a single sample.

    Hodges and Lehmann 1963, "Estimates of Location Based on Rank Tests". POT gives NaN for a single sample. Pairs are
    counted, not listed: memory is O(n). An interval around the median is halved until it is one number, O(n log n) each
    time.

    Args:
        values: One value per sample, (samples,), float64; at least one.
    """
    if len(values) == 1:
        return float(values[0])
    ordered = np.sort(values)
    pairs = len(ordered) * (len(ordered) - 1) // 2
    lower = _nth_sum(ordered, (pairs - 1) // 2)
    upper = lower if pairs % 2 else _nth_sum(ordered, pairs // 2)
    return (lower + upper) / 4


def _nth_sum(ordered: NDArray[np.float64], n: int) -> float:
    """The n-th smallest (from 0) of the sums of two different elements of ``ordered``, which is sorted."""
    low, high = ordered[0] + ordered[1], ordered[-2] + ordered[-1]
    for _ in range(_HALVINGS):
        middle = low + (high - low) / 2
        if middle in (low, high):
            break
        if _count_sums(ordered, middle) > n:
            high = middle
        else:
            low = middle
    return float(low if _count_sums(ordered, low) > n else high)


def _count_sums(ordered: NDArray[np.float64], limit: float) -> int:
    """The number of pairs of different elements whose sum is at most ``limit``."""
    partners = np.searchsorted(ordered, limit - ordered, side="right")
    # Only partners that come after an element: each pair counts once.
    return int(np.maximum(partners - np.arange(1, len(ordered) + 1), 0).sum())


def _without_outliers(
    rows: NDArray[np.float64], reduce: Callable[[NDArray[np.float64]], np.float64]
) -> NDArray[np.float64]:
    """One value per channel of (samples, channels): ``reduce`` over the samples between the quantiles of OUTLIERS."""
    low, high = np.quantile(rows, OUTLIERS, axis=0)
    inside = (rows >= low) & (rows <= high)
    # The quantiles of two samples lie between them, so that none is inside: both are kept then.
    inside |= ~inside.any(axis=0)
    return np.array([reduce(column[kept]) for column, kept in zip(rows.T, inside.T, strict=True)])


class Aggregator(StrEnum):
    """The rule by which the values of all samples become one: the name that users write, and a function.

    The function takes one row per sample, (samples, channels), float64, at least one, and returns (channels,).
    ``*_no_outliers`` leave out, channel by channel, the samples outside the quantiles of OUTLIERS. ``hl_estimator`` is
    :func:`hodges_lehmann`.
    """

    reduce: Reduce

    def __new__(cls, name: str, reduce: Reduce) -> Self:
        """Make a member of a row of this table."""
        member = str.__new__(cls, name)
        member._value_, member.reduce = name, reduce
        return member

    MEAN = "mean", lambda rows: rows.mean(axis=0)
    MAX = "max", lambda rows: rows.max(axis=0)
    MIN = "min", lambda rows: rows.min(axis=0)
    MEDIAN = "median", lambda rows: np.median(rows, axis=0)
    MEAN_NO_OUTLIERS = "mean_no_outliers", lambda rows: _without_outliers(rows, np.mean)
    MEDIAN_NO_OUTLIERS = "median_no_outliers", lambda rows: _without_outliers(rows, np.median)
    HL_ESTIMATOR = "hl_estimator", lambda rows: np.array([hodges_lehmann(column) for column in rows.T])


def aggregate(rows: Rows, aggregator: Aggregator) -> Rows:
    """One value per channel, (channels,), float32; zeros if there is no row without NaN.

    Infinities count as very large numbers.

    Args:
        rows: One row per sample, (samples, channels), float32; rows with NaN are left out.
        aggregator: How the rows become one.

    Example:
        >>> rows = np.float32([[1, 10], [2, 20], [9, 30]])
        >>> aggregate(rows, Aggregator.MEAN).tolist()
        [4.0, 20.0]
        >>> aggregate(rows, Aggregator.MEDIAN).tolist()
        [2.0, 20.0]
    """
    seen = rows[~np.isnan(rows).any(axis=1)].astype(np.float64)
    if not len(seen):
        return np.zeros(rows.shape[1], np.float32)
    # Infinities as numbers, which have means and differences.
    return as_float32(aggregator.reduce(seen.clip(-_INFINITE, _INFINITE)))
