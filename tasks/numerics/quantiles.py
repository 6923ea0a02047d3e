"""Exact quantiles near the ends of many values, without sorting or partitioning them.

A quantile p near 1 of n values is interpolated between two of about n (1 - p) largest values. The k largest values are
found by blocks: the k-th largest of the blocks' maxima is a threshold that at least k values reach, so that the k
largest are the few values above it, and the threshold itself for the rest. That is two passes over the data, each
faster than a partition.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.numerics.affine import Granularity
from tasks.numerics.statistics import Quantile, Rows, StatisticType

Values = NDArray[np.float32]

HALF = 0.5
# Blocks for each value to find: more give a higher threshold, fewer a quicker one.
_BLOCKS_A_VALUE = 8
# Up to so many values are found fastest one after the other.
_FEW = 4


def sample_quantiles(
    channels: Values, quantiles: Iterable[Quantile], *, non_negative: bool = False
) -> dict[Quantile, Rows]:
    """The quantiles of one sample, interpolated linearly: each (channels,), or (1,) per tensor, float32.

    Args:
        channels: The sample, (channels, values), float32.
        quantiles: The quantiles to find.
        non_negative: Whether no value is negative. Lower quantiles then count as 0, which is all that a range needs.

    Example:
        >>> upper = Quantile(StatisticType.QUANTILE, 0.75, Granularity.PERCHANNEL)
        >>> sample_quantiles(np.float32([[0, 1, 2, 3, 4], [0, 0, 0, 8, 9]]), [upper])[upper].tolist()
        [3.0, 8.0]
    """
    found: dict[Quantile, Rows] = {}
    for granularity in Granularity:
        asked = [quantile for quantile in quantiles if quantile.granularity == granularity]
        if asked:
            values = channels if granularity == Granularity.PERCHANNEL else channels.reshape(1, -1)
            found |= _quantiles(np.ascontiguousarray(values), asked, non_negative=non_negative)
    return found


@dataclass(frozen=True)
class Ends:
    """The number of smallest and of largest values that are enough to find some quantiles.

    Attributes:
        smallest: Number of the smallest values.
        largest: Number of the largest values.
    """

    smallest: int
    largest: int


def find_ends(quantiles: Sequence[Quantile], count: int, *, non_negative: bool = False) -> Ends:
    """The ends that are enough to find the quantiles of ``count`` values.

    Args:
        quantiles: The quantiles to find.
        count: Number of values.
        non_negative: Whether no value is negative.
    """
    depths = [_depth(quantile, count) for quantile in quantiles if not (non_negative and _is_lower(quantile))]
    of_magnitudes = any(quantile.type == StatisticType.ABS_QUANTILE for quantile in quantiles)
    lower = not non_negative and (of_magnitudes or any(map(_is_lower, quantiles)))
    upper = of_magnitudes or not all(map(_is_lower, quantiles))
    deepest = max(depths, default=0)
    return Ends(deepest * lower, deepest * upper)


def quantiles_of_ends(
    quantiles: Sequence[Quantile], smallest: Values, biggest: Values, count: int, *, non_negative: bool = False
) -> dict[Quantile, Rows]:
    """The quantiles of rows of ``count`` values, computed from the ends of the rows alone: each (rows,), float32.

    Args:
        quantiles: The quantiles to find.
        smallest: At least as many of the smallest values as :func:`find_ends` tells, in any order, (rows, any),
            float32.
        biggest: At least as many of the largest values, likewise.
        count: Number of values in a whole row.
        non_negative: Whether no value is negative.
    """
    rows, ends = len(biggest), find_ends(quantiles, count, non_negative=non_negative)
    smallest = np.sort(_smallest(smallest, ends.smallest), axis=1)
    biggest = -np.sort(_smallest(-biggest, ends.largest), axis=1)
    return {
        quantile: np.zeros(rows, np.float32)
        if non_negative and _is_lower(quantile)
        else _between(quantile, smallest, biggest, count)
        for quantile in quantiles
    }


def _smallest(values: Values, count: int) -> Values:
    """The ``count`` smallest values of each row, in any order, or all."""
    if count >= values.shape[1] or not count:
        return values[:, :count]
    return np.partition(values, count - 1, axis=1)[:, :count]


def _quantiles(values: Values, quantiles: list[Quantile], *, non_negative: bool) -> dict[Quantile, Rows]:
    """The quantiles of each row of (rows, values); each end is searched once for all of them."""
    count = values.shape[1]
    ends = find_ends(quantiles, count, non_negative=non_negative)
    deepest = max(ends.smallest, ends.largest)
    if deepest > _FEW and deepest * _BLOCKS_A_VALUE > count:
        return quantiles_of_ends(quantiles, values, values, count, non_negative=non_negative)
    smallest = -largest(-values, ends.smallest) if ends.smallest else values[:, :0]
    biggest = largest(values, ends.largest) if ends.largest else values[:, :0]
    return quantiles_of_ends(quantiles, smallest, biggest, count, non_negative=non_negative)


def _is_lower(quantile: Quantile) -> bool:
    """Whether the quantile lies nearer to the smallest value than to the largest."""
    return quantile.type == StatisticType.QUANTILE and quantile.probability < HALF


def largest(values: Values, k: int) -> Values:
    """The ``k`` largest values of each row in falling order, (rows, k), float32.

    Args:
        values: The rows, (rows, values), float32.
        k: How many values to find, from 1 to the length of a row.
    """
    rows, count = values.shape
    if k <= _FEW:
        return _one_by_one(values, k)
    size = max(1, count // (k * _BLOCKS_A_VALUE))
    blocks = count // size
    # Every blocks-th value: numpy takes the maximum of whole rows of blocks at once.
    maxima = values[:, : blocks * size].reshape(rows, size, blocks).max(axis=1)
    if blocks * size < count:
        maxima = np.concatenate([maxima, values[:, blocks * size :].max(axis=1, keepdims=True)], axis=1)
    bound = -np.partition(-maxima, k - 1, axis=1)[:, k - 1 : k]
    places = np.flatnonzero(values > bound)
    row, above = places // count, values.reshape(-1)[places]
    order = np.lexsort((-above, row))
    row, above = row[order], above[order]
    # The rank of each value within its row: rows follow each other, the largest value first.
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    found = np.repeat(bound, k, axis=1)
    kept = rank < k
    found[row[kept], rank[kept]] = above[kept]
    return found


def _one_by_one(values: Values, k: int) -> Values:
    """The ``k`` largest values of each row, one pass over the row for each."""
    rest, rows = values.copy(), np.arange(len(values))
    found = np.empty((len(values), k), np.float32)
    for rank in range(k):
        place = rest.argmax(axis=1)
        found[:, rank] = rest[rows, place]
        rest[rows, place] = -np.inf
    return found


def _depth(quantile: Quantile, count: int) -> int:
    """The number of values, counted from its end, among which a quantile is interpolated."""
    position = (count - 1) * quantile.probability
    if _is_lower(quantile):
        return int(np.ceil(position)) + 1
    return count - int(np.floor(position))


def _between(quantile: Quantile, smallest: Values, biggest: Values, count: int) -> Rows:
    """The quantile of each row, as numpy.quantile interpolates: between the neighbours of position (count - 1) p."""
    position = (count - 1) * quantile.probability
    below = int(np.floor(position))
    fraction = position - below
    if quantile.type == StatisticType.ABS_QUANTILE:
        both = np.sort(np.concatenate([biggest, -smallest], axis=1), axis=1)[:, ::-1]
        low, high = _ranked(both, count, below)
    elif _is_lower(quantile):
        low, high = smallest[:, below], smallest[:, min(below + 1, smallest.shape[1] - 1)]
    else:
        low, high = _ranked(biggest, count, below)
    # Between an infinity and another value lies that infinity; masks hold some.
    nearest = np.where(np.isfinite(high) | np.isnan(low) | (fraction == 0), low, high)
    finite = np.isfinite(low) & np.isfinite(high)
    start, end = (np.where(finite, each, 0).astype(np.float64) for each in (low, high))
    return np.where(finite, start + (end - start) * fraction, nearest).astype(np.float32)


def _ranked(falling: Values, count: int, below: int) -> tuple[Rows, Rows]:
    """The values at positions ``below`` and ``below + 1`` of the sorted rows, read from their falling end."""
    from_end = count - 1 - below
    return falling[:, from_end], falling[:, max(from_end - 1, 0)]
