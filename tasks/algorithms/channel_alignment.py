"""Channel alignment: the channels between two convolutions get one centre and one width before they share a scale.

One range for a whole tensor wastes levels on channels that are narrower than the widest, or that lie on one side of
zero. As in POT's ActivationChannelAlignment (2023.3), every channel is shifted and scaled, and the layers around undo
it (:mod:`tasks.graph.alignment`).
"""

from collections.abc import Sequence

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.graph.alignment import CHANNEL_AXIS, AlignmentPair, align_pair, aligned_name
from tasks.graph.biases import Channels
from tasks.graph.traversal import find_output, nodes_by_name, tensor_name
from tasks.numerics.affine import Granularity
from tasks.numerics.float32 import LARGEST_FLOAT32, as_float32
from tasks.numerics.statistics import Quantile, Rows, Statistics, StatisticType, TensorStatistic

# Share of a channel's values that may lie outside its width, at each end.
OUTLIER_PROB = 1e-4
# Stronger factors would move the difference between channels into the consumer's weights.
FACTORS = (0.01, 100.0)

_INFINITE = 1e250

# The quantiles of each sample that alignment needs.
QUANTILES = LOW, HIGH = tuple(
    Quantile(StatisticType.QUANTILE, probability, Granularity.PERCHANNEL)
    for probability in (OUTLIER_PROB, 1 - OUTLIER_PROB)
)


def align(model: ov.Model, pairs: Sequence[AlignmentPair], statistics: Statistics) -> dict[str, TensorStatistic]:
    """The statistics of the tensors that changed or got another name, by name; the model is aligned in place.

    Statistics of the unchanged model serve chained pairs too: an edit changes its own tensor and nothing else that a
    layer computes, and the edits of a layer between two pairs commute.

    Args:
        model: The float model.
        pairs: The pairs of layers to align.
        statistics: Statistics of the model's tensors, with QUANTILES of each pair's tensor.

    Raises:
        KeyError: The quantiles of a tensor were not collected.
    """
    changed, nodes = {}, nodes_by_name(model)
    for pair in pairs:
        statistic, shape = statistics[pair.tensor], find_output(nodes, pair.tensor).get_partial_shape()
        centre, width = centre_and_width(statistic.quantiles[LOW], statistic.quantiles[HIGH])
        factors = scale_factors(width)
        align_pair(model, pair, centre, factors)
        on_grid = shape.rank.get_length() > 3 and all(size.is_static for size in list(shape)[CHANNEL_AXIS:])
        changed[pair.consumer] = shifted_and_scaled(statistic, centre, factors, on_grid=on_grid)
    nodes = nodes_by_name(model)
    found = {tensor_name(nodes[consumer].input_value(0)): statistic for consumer, statistic in changed.items()}
    for pair in pairs:
        # The output of a layer that got a bias has the bias's name; the input of the next layer is there already.
        before, after = f"{pair.consumer}:0", f"{aligned_name(pair.consumer)}:0"
        if pair.consumer_bias is None and before in statistics and after not in found:
            found[after] = statistics[before]
    return found


def shifted_and_scaled(
    statistic: TensorStatistic, centre: Channels, factors: Channels, *, on_grid: bool
) -> TensorStatistic:
    """The statistics of (x - centre) / factors, channels on axis 1, from those of x.

    Left out are quantiles of the whole tensor or of magnitudes, means along other axes, and a sketch that is not
    ``on_grid``: they cannot be computed.

    Args:
        statistic: The statistics of x.
        centre: Shift of each channel, (channels,), float64, in units of x.
        factors: Positive factor of each channel, (channels,), float64.
        on_grid: Whether the sketch has the same number of values of each channel, one channel after the other.
    """

    def edited(rows: Rows) -> Rows:
        apart = rows.reshape(len(rows), len(centre), -1)
        return as_float32(((apart - centre[:, None]) / factors[:, None]).reshape(rows.shape))

    return TensorStatistic(
        edited(statistic.minimum),
        edited(statistic.maximum),
        {quantile: edited(rows) for quantile, rows in statistic.quantiles.items() if quantile in (LOW, HIGH)},
        {axis: edited(rows) for axis, rows in statistic.means.items() if axis == CHANNEL_AXIS},
        values=None if statistic.values is None or not on_grid else edited(statistic.values),
    )


def centre_and_width(low: Rows, high: Rows) -> tuple[Channels, Channels]:
    """Of each channel (q0 + q1) / 2 and q1 - q0, (channels,) each, float64; q are medians over the samples.

    A channel that is not finite keeps its place: centre and width 0.

    Args:
        low: Lower quantiles q0, (samples, channels), float32.
        high: Upper quantiles q1, (samples, channels), float32.
    """
    # Infinities as numbers, which have means.
    bottom, top = (np.median(rows.astype(np.float64).clip(-_INFINITE, _INFINITE), axis=0) for rows in (low, high))
    finite = (np.abs(bottom) < LARGEST_FLOAT32) & (np.abs(top) < LARGEST_FLOAT32)
    bottom, top = np.where(finite, bottom, 0), np.where(finite, top, 0)
    return (bottom + top) / 2, top - bottom


def scale_factors(width: NDArray[np.float64]) -> Channels:
    """The factor that each channel is divided by, (channels,), float64, within FACTORS.

    It is the width in units of the median of all positive widths, and 1 for a channel without a width.

    Args:
        width: Width of each channel, (channels,), float64.
    """
    positive = width > 0
    if not positive.any():
        return np.ones_like(width)
    return np.clip(np.where(positive, width / np.median(width[positive]), 1.0), *FACTORS)
