"""Range estimators: statistics of the samples, aggregated, become the range to represent.

A border of the range is a statistic of each sample and an aggregator over the samples. The defaults are those of
DefaultQuantization. Per tensor: the mean over samples of the extremes (in symmetric mode the lower border only tells
signed from unsigned, so it is the least minimum of all). Per channel: the extremes of all samples.
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
    """``default``: extremes. ``quantile``: quantiles at a distance of 1e-4 from the extremes.

    ``mse``: the borders that minimise the squared error of the tensor (see ``numerics.minimal_error``). ``auto``:
    those with the caution that suits the model's output (see ``algorithms.caution``), or the extremes of all samples
    where these leave the output nearer to that of the float model.
    """

    DEFAULT = "default"
    QUANTILE = "quantile"
    MSE = "mse"
    AUTO = "auto"

    @property
    def minimises_error(self) -> bool:
        """Whether borders are looked for by their error, from a sketch of the tensor."""
        return self in (EstimatorPreset.MSE, EstimatorPreset.AUTO)


@dataclass(frozen=True)
class Border:
    """How one border of a range is estimated; None leaves a value to the preset.

    ``outlier_prob`` p: the upper border is the quantile 1 - p, the lower one the quantile p. ``clipping_value`` bounds
    the range: from above the upper border, from below the lower one.
    """

    type: StatisticType | None = None
    outlier_prob: float | None = None
    aggregator: Aggregator | None = None
    clipping_value: float | None = None


@dataclass(frozen=True)
class RangeEstimator:
    """How both borders of a range are estimated; what a border leaves open comes from the preset."""

    preset: EstimatorPreset = EstimatorPreset.DEFAULT
    min: Border = field(default_factory=Border)
    max: Border = field(default_factory=Border)


def complete(estimator: RangeEstimator, config: QuantizerConfig) -> RangeEstimator:
    """Fill in what DefaultQuantization would take for a tensor of this mode and granularity."""
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
    return Border(
        border.type or kind,
        probability if border.outlier_prob is None else border.outlier_prob,
        border.aggregator or aggregator,
        border.clipping_value,
    )


def needed_quantiles(estimator: RangeEstimator, granularity: Granularity) -> tuple[Quantile, ...]:
    """The quantiles of each sample that a completed estimator asks for."""
    borders = ((estimator.min, False), (estimator.max, True))
    return tuple(_quantile(border, granularity, upper=upper) for border, upper in borders if border.type in QUANTILES)


def estimate_range(
    statistic: TensorStatistic,
    config: QuantizerConfig,
    estimator: RangeEstimator,
    size: int = 1,
    caution: float = 1.0,
) -> Range:
    """The range of an activation tensor of ``size`` elements: borders of shape (channels,) or, per tensor, (1,).

    ``estimator`` is a completed one; ``caution`` is for those of least error. Raises KeyError for a
    quantile that was not collected.
    """

    def border(how: Border, *, upper: bool) -> Rows:
        if how.type in QUANTILES:
            rows = statistic.quantiles[_quantile(how, config.granularity, upper=upper)]
        else:
            rows = _extremes(statistic, how.type, per_channel=config.granularity == Granularity.PERCHANNEL)
        return aggregate(rows, how.aggregator or Aggregator.MEAN)

    if estimator.preset.minimises_error:
        return _clipped(minimal_error.activation_range(statistic, config, size, caution), estimator)
    return _clipped(Range(border(estimator.min, upper=False), border(estimator.max, upper=True)), estimator)


def weight_range(
    weights: NDArray[np.float32], channel_axes: tuple[int, ...], config: QuantizerConfig, estimator: RangeEstimator
) -> Range:
    """The range of a constant tensor, one element a channel in C order of ``channel_axes``; (1,) without axes.

    ``estimator`` is a completed one; its aggregators do not matter.
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
    if border.type is None or border.outlier_prob is None:
        msg = f"{border} is not completed"
        raise ValueError(msg)
    return Quantile(border.type, 1 - border.outlier_prob if upper else border.outlier_prob, granularity)


def _extremes(statistic: TensorStatistic, kind: StatisticType | None, *, per_channel: bool) -> Rows:
    """Values of shape (samples, channels), or (samples, 1) for the whole tensor."""
    low, high = statistic.minimum, statistic.maximum
    if not per_channel:
        low, high = low.min(axis=1, keepdims=True), high.max(axis=1, keepdims=True)
    if kind == StatisticType.MIN:
        return low
    return high if kind == StatisticType.MAX else largest_magnitude(Range(low, high))


def _clipped(values: Range, estimator: RangeEstimator) -> Range:
    """Bound the range before limits are made of it, so that zero stays on a level."""
    low, high = values.low, values.high
    if estimator.min.clipping_value is not None:
        low = np.maximum(low, np.float32(estimator.min.clipping_value))
    if estimator.max.clipping_value is not None:
        high = np.minimum(high, np.float32(estimator.max.clipping_value))
    return Range(low, high)
