"""Range estimators: from the statistics of all samples to the range of values to represent.

A statistic of each sample and an aggregator over the samples make a bound of the range. The defaults are those of
DefaultQuantization. Per tensor, the mean over samples of their extremes; the lower bound in symmetric mode only tells
signed from unsigned, so that it is the minimum over all samples. Per channel, the extremes over all samples.
"""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tasks.numerics import minimal_error
from tasks.numerics.affine import Granularity, Mode, QuantizerConfig, Range, largest_magnitude
from tasks.numerics.aggregators import Aggregator, aggregate
from tasks.numerics.quantiles import sample_quantiles
from tasks.numerics.statistics import Quantile, Rows, StatisticType, TensorStatistic

QUANTILES = (StatisticType.QUANTILE, StatisticType.ABS_QUANTILE)
DEFAULT_OUTLIER_PROB = 1e-4


class EstimatorPreset(StrEnum):
    """The estimators of both bounds where nothing else is given.

    ``default`` takes extremes, ``quantile`` quantiles with DEFAULT_OUTLIER_PROB outside. ``mse`` minimises the squared
    error of the tensor (see :mod:`tasks.numerics.minimal_error`). ``auto`` does so with the clipping weight that suits
    the output of the model, or takes the extremes of all samples where these bring the output nearer to that of the
    float model.
    """

    DEFAULT = "default"
    QUANTILE = "quantile"
    MSE = "mse"
    AUTO = "auto"

    @property
    def minimises_error(self) -> bool:
        """Whether the range with the least squared error is searched for, which needs a sketch of the tensor."""
        return self in (EstimatorPreset.MSE, EstimatorPreset.AUTO)


@dataclass(frozen=True)
class Border:
    """The estimator of one bound of a range; None leaves the choice to the preset.

    Attributes:
        type: The statistic of each sample.
        outlier_prob: Share p of values outside: the upper bound is the quantile 1 - p, the lower one the quantile p.
        aggregator: How the values of all samples become one.
        clipping_value: The upper bound is at most this, the lower one at least this, in units of the tensor.
    """

    type: StatisticType | None = None
    outlier_prob: float | None = None
    aggregator: Aggregator | None = None
    clipping_value: float | None = None


@dataclass(frozen=True)
class RangeEstimator:
    """The estimators of both bounds of a range.

    Attributes:
        preset: Chooses what the bounds leave open.
        min: The lower bound.
        max: The upper bound.
    """

    preset: EstimatorPreset = EstimatorPreset.DEFAULT
    min: Border = field(default_factory=Border)
    max: Border = field(default_factory=Border)


def complete(estimator: RangeEstimator, config: QuantizerConfig) -> RangeEstimator:
    """The estimator with every open choice made as DefaultQuantization makes it.

    Args:
        estimator: What the user chose.
        config: Mode and granularity of the tensor.
    """
    symmetric = config.mode == Mode.SYMMETRIC
    per_channel = config.granularity == Granularity.PERCHANNEL
    quantile = estimator.preset == EstimatorPreset.QUANTILE
    lower_type, upper_type = StatisticType.MIN, StatisticType.ABS_MAX if symmetric else StatisticType.MAX
    if quantile:
        upper_type = StatisticType.ABS_QUANTILE if symmetric else StatisticType.QUANTILE
        lower_type = StatisticType.MIN if symmetric else StatisticType.QUANTILE
    lower_aggregator = Aggregator.MIN if symmetric or per_channel else Aggregator.MEAN
    upper_aggregator = Aggregator.MAX if per_channel else Aggregator.MEAN
    probability = DEFAULT_OUTLIER_PROB if quantile else None
    return RangeEstimator(
        estimator.preset,
        _filled(estimator.min, lower_type, probability, lower_aggregator),
        _filled(estimator.max, upper_type, probability, upper_aggregator),
    )


def _filled(border: Border, kind: StatisticType, probability: float | None, aggregator: Aggregator) -> Border:
    """``border`` with its open choices made, save the clipping value."""
    return Border(
        border.type or kind,
        probability if border.outlier_prob is None else border.outlier_prob,
        border.aggregator or aggregator,
        border.clipping_value,
    )


def needed_quantiles(estimator: RangeEstimator, granularity: Granularity) -> tuple[Quantile, ...]:
    """The quantiles of each sample that an estimator needs: none, one or two.

    Args:
        estimator: A completed estimator.
        granularity: Whether quantiles are those of the tensor or of every channel.

    Raises:
        ValueError: The estimator is not completed.
    """
    borders = ((estimator.min, False), (estimator.max, True))
    return tuple(_quantile(border, granularity, upper=upper) for border, upper in borders if border.type in QUANTILES)


def estimate_range(
    statistic: TensorStatistic,
    config: QuantizerConfig,
    estimator: RangeEstimator,
    size: int = 1,
    clipping_weight: float = 1.0,
) -> Range:
    """The range of an activation tensor: bounds of shape (channels,), or (1,) per tensor, float32.

    A channel that has none, zero in all samples, gets that of the whole tensor: zero is exact in any range, and what
    the channel holds later is not cut off.

    Args:
        statistic: What was observed of each sample.
        config: Mode and granularity of the tensor.
        estimator: A completed estimator.
        size: Elements of the tensor in one sample.
        clipping_weight: Weight of the clipping error for estimators of least error (see
            :mod:`tasks.numerics.minimal_error`).

    Raises:
        KeyError: The estimator needs a quantile that was not collected.
        ValueError: The estimator is not completed.

    Example:
        >>> config = QuantizerConfig(mode=Mode.ASYMMETRIC)
        >>> two_samples = TensorStatistic(np.float32([[-1, 0], [-2, -1]]), np.float32([[3, 4], [8, 6]]))
        >>> found = estimate_range(two_samples, config, complete(RangeEstimator(), config))  # means of extremes
        >>> found.low.tolist(), found.high.tolist()
        ([-1.5], [6.0])
    """

    def border(how: Border, *, upper: bool) -> Rows:
        if how.type in QUANTILES:
            rows = statistic.quantiles[_quantile(how, config.granularity, upper=upper)]
        else:
            rows = _extremes(statistic, how.type, per_channel=config.granularity == Granularity.PERCHANNEL)
        return aggregate(rows, how.aggregator or Aggregator.MEAN)

    if estimator.preset.minimises_error:
        values = minimal_error.activation_range(statistic, config, size, clipping_weight)
    else:
        values = Range(border(estimator.min, upper=False), border(estimator.max, upper=True))
    return _clipped(_with_all_channels(values), estimator)


def _with_all_channels(values: Range) -> Range:
    """The same with the range of the whole tensor for channels that have none."""
    unseen = (values.low == 0) & (values.high == 0)
    return Range(np.where(unseen, values.low.min(), values.low), np.where(unseen, values.high.max(), values.high))


def weight_range(
    weights: NDArray[np.float32], channel_axes: tuple[int, ...], config: QuantizerConfig, estimator: RangeEstimator
) -> Range:
    """The range of a constant tensor: bounds of shape (channels,), or (1,) without channel axes, float32.

    Args:
        weights: The tensor, any shape, float32.
        channel_axes: Axes of the tensor that the channels lie along, in C order; empty for one scale.
        config: Mode and levels of the tensor.
        estimator: A completed estimator; a constant has no samples, so that its aggregators do not matter.

    Raises:
        ValueError: The estimator is not completed.
    """
    axes = [axis for axis in range(weights.ndim) if axis in channel_axes]
    channels = np.moveaxis(weights, axes, range(len(axes)))
    channels = channels.reshape(int(np.prod(channels.shape[: len(axes)])), -1)
    if estimator.preset.minimises_error:
        return _clipped(minimal_error.weight_range(channels, config), estimator)

    def border(how: Border, *, upper: bool) -> Rows:
        if how.type in QUANTILES:
            quantile = _quantile(how, Granularity.PERCHANNEL, upper=upper)
            return sample_quantiles(channels, (quantile,))[quantile]
        extremes = TensorStatistic(channels.min(axis=1)[None], channels.max(axis=1)[None])
        return _extremes(extremes, how.type, per_channel=True).reshape(-1)

    return _clipped(Range(border(estimator.min, upper=False), border(estimator.max, upper=True)), estimator)


def _quantile(border: Border, granularity: Granularity, *, upper: bool) -> Quantile:
    """The quantile that ``border`` needs. Raises ValueError for one that is not completed."""
    if border.type is None or border.outlier_prob is None:
        msg = f"{border} is not completed"
        raise ValueError(msg)
    return Quantile(border.type, 1 - border.outlier_prob if upper else border.outlier_prob, granularity)


def _extremes(statistic: TensorStatistic, kind: StatisticType | None, *, per_channel: bool) -> Rows:
    """An extreme of each sample: (samples, channels), or (samples, 1) for the whole tensor."""
    low, high = statistic.minimum, statistic.maximum
    if not per_channel:
        low, high = low.min(axis=1, keepdims=True), high.max(axis=1, keepdims=True)
    if kind == StatisticType.MIN:
        return low
    return high if kind == StatisticType.MAX else largest_magnitude(Range(low, high))


def _clipped(values: Range, estimator: RangeEstimator) -> Range:
    """The range within the clipping values; done before levels are aligned, so that zero stays on one."""
    low, high = values.low, values.high
    if estimator.min.clipping_value is not None:
        low = np.maximum(low, np.float32(estimator.min.clipping_value))
    if estimator.max.clipping_value is not None:
        high = np.minimum(high, np.float32(estimator.max.clipping_value))
    return Range(low, high)
