"""Aggregators: the values that the samples of a data set gave become one value a channel.

Each takes rows of shape (samples, channels) and returns (channels,), float32. Sums are formed in float64.
"""

from collections.abc import Callable
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]

# The samples beyond these quantiles of a channel count as outliers.
OUTLIERS = (0.01, 0.99)
# Halvings of an interval of float64 after which its ends are neighbours, whatever they were.
_HALVINGS = 128


class Aggregator(StrEnum):
    """How the samples' values become one. ``*_no_outliers`` leave out what lies beyond the 1 % and 99 % quantiles."""

    MEAN = "mean"
    MAX = "max"
    MIN = "min"
    MEDIAN = "median"
    MEAN_NO_OUTLIERS = "mean_no_outliers"
    MEDIAN_NO_OUTLIERS = "median_no_outliers"
    HL_ESTIMATOR = "hl_estimator"


def aggregate(rows: Rows, aggregator: Aggregator) -> Rows:
    """One value a channel from ``rows`` of shape (samples, channels); rows with NaN are left out, zero without any."""
    seen = rows[~np.isnan(rows).any(axis=1)].astype(np.float64)
    if not len(seen):
        return np.zeros(rows.shape[1], np.float32)
    return _FUNCTIONS[aggregator](seen).astype(np.float32)


def hodges_lehmann(values: NDArray[np.float64]) -> float:
    """The median of (a + b) / 2 over all pairs of different samples; a single sample is its own estimate.

    The pairs are counted, never listed: memory O(n), time O(n log n) for each of the halvings of an interval that
    encloses the median. Hodges, Lehmann: Estimates of location based on rank tests, 1963.
    """
    if len(values) == 1:
        return float(values[0])
    ordered = np.sort(values)
    pairs = len(ordered) * (len(ordered) - 1) // 2
    lower = _nth_sum(ordered, (pairs - 1) // 2)
    upper = lower if pairs % 2 else _nth_sum(ordered, pairs // 2)
    return (lower + upper) / 4


def _nth_sum(ordered: NDArray[np.float64], n: int) -> float:
    """The n-th smallest (from 0) of the sums of two different elements of a sorted array."""
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
    """How many pairs of different elements have a sum of at most ``limit``."""
    partners = np.searchsorted(ordered, limit - ordered, side="right")
    # Partners of an element that come after it: each pair counts once.
    return int(np.maximum(partners - np.arange(1, len(ordered) + 1), 0).sum())


def _without_outliers(
    rows: NDArray[np.float64], reduce: Callable[[NDArray[np.float64]], np.float64]
) -> NDArray[np.float64]:
    low, high = np.quantile(rows, OUTLIERS, axis=0)
    inside = (rows >= low) & (rows <= high)
    # Of two samples both lie beyond the quantiles between them.
    inside |= ~inside.any(axis=0)
    return np.array([reduce(column[kept]) for column, kept in zip(rows.T, inside.T, strict=True)])


_FUNCTIONS: dict[Aggregator, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    Aggregator.MEAN: lambda rows: rows.mean(axis=0),
    Aggregator.MAX: lambda rows: rows.max(axis=0),
    Aggregator.MIN: lambda rows: rows.min(axis=0),
    Aggregator.MEDIAN: lambda rows: np.median(rows, axis=0),
    Aggregator.MEAN_NO_OUTLIERS: lambda rows: _without_outliers(rows, np.mean),
    Aggregator.MEDIAN_NO_OUTLIERS: lambda rows: _without_outliers(rows, np.median),
    Aggregator.HL_ESTIMATOR: lambda rows: np.array([hodges_lehmann(column) for column in rows.T]),
}
