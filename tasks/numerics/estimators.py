"""Range estimators: per-sample statistics, aggregated over the samples, become the range to represent.

A border of the range is a statistic of each sample (min, max, abs_max) and an aggregator over samples. The defaults
are those of DefaultQuantization. Per tensor: the mean over samples of the extremes (in symmetric mode the lower
border only tells signed from unsigned, so it is the least minimum of all). Per channel: the extremes of all samples.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tasks.numerics.affine import Granularity, Mode, QuantizerConfig, Range
from tasks.numerics.statistics import TensorStatistic

Rows = NDArray[np.float32]


class StatisticType(StrEnum):
    """What is taken of each sample."""

    MIN = "min"
    MAX = "max"
    ABS_MAX = "abs_max"


class Aggregator(StrEnum):
    """How the samples' values become one."""

    MEAN = "mean"
    MAX = "max"
    MIN = "min"


@dataclass(frozen=True)
class BorderEstimator:
    """How one border of a range is found."""

    type: StatisticType
    aggregator: Aggregator


@dataclass(frozen=True)
class RangeEstimator:
    """How both borders of a range are found."""

    min: BorderEstimator
    max: BorderEstimator


_AGGREGATE: dict[Aggregator, Callable[[Rows], Rows]] = {
    # Summed in float64: the mean must not depend on the order in which numpy adds float32 numbers.
    Aggregator.MEAN: lambda rows: rows.mean(axis=0, dtype=np.float64).astype(np.float32),
    Aggregator.MAX: lambda rows: rows.max(axis=0),
    Aggregator.MIN: lambda rows: rows.min(axis=0),
}


def default_estimator(config: QuantizerConfig) -> RangeEstimator:
    """The estimator of DefaultQuantization for activations of this mode and granularity."""
    upper = StatisticType.ABS_MAX if config.mode == Mode.SYMMETRIC else StatisticType.MAX
    if config.granularity == Granularity.PERCHANNEL:
        lower_aggregator, upper_aggregator = Aggregator.MIN, Aggregator.MAX
    else:
        lower_aggregator = Aggregator.MIN if config.mode == Mode.SYMMETRIC else Aggregator.MEAN
        upper_aggregator = Aggregator.MEAN
    return RangeEstimator(
        min=BorderEstimator(StatisticType.MIN, lower_aggregator),
        max=BorderEstimator(upper, upper_aggregator),
    )


def estimate_range(statistic: TensorStatistic, config: QuantizerConfig, estimator: RangeEstimator) -> Range:
    """The range of an activation tensor: borders of shape (channels,) or, per tensor, (1,)."""
    per_channel = config.granularity == Granularity.PERCHANNEL

    def border(how: BorderEstimator) -> Rows:
        return _AGGREGATE[how.aggregator](_sample_values(statistic, how.type, per_channel=per_channel))

    return Range(border(estimator.min), border(estimator.max))


def _sample_values(statistic: TensorStatistic, kind: StatisticType, *, per_channel: bool) -> Rows:
    """Values of shape (samples, channels), or (samples, 1) for the whole tensor."""
    low, high = statistic.minimum, statistic.maximum
    if not per_channel:
        low, high = low.min(axis=1, keepdims=True), high.max(axis=1, keepdims=True)
    if kind == StatisticType.MIN:
        return low
    return high if kind == StatisticType.MAX else np.maximum(high, -low)


def weight_range(weights: NDArray[np.float32], channel_axes: tuple[int, ...]) -> Range:
    """Extremes of a constant tensor, one element a channel in C order of ``channel_axes``; (1,) without axes."""
    axes = tuple(axis for axis in range(weights.ndim) if axis not in channel_axes)
    return Range(weights.min(axis=axes).reshape(-1), weights.max(axis=axes).reshape(-1))
