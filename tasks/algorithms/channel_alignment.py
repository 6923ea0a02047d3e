"""Channel alignment: the channels between two convolutions get the same centre and width before they share a scale.

One range for a whole tensor wastes levels on channels that are narrower than the widest or lie beside zero. POT's
ActivationChannelAlignment (2023.3): shift and scale every channel, let the layers around undo it (``graph.alignment``).
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

# Share of a channel's values that may lie outside of its width, at each end.
OUTLIER_PROB = 1e-4
# Stronger factors would only move the difference between channels into the consumer's weights.
FACTORS = (0.01, 100.0)

_INFINITE = 1e250

# What alignment needs to know of each sample.
QUANTILES = LOW, HIGH = tuple(
    Quantile(StatisticType.QUANTILE, probability, Granularity.PERCHANNEL)
    for probability in (OUTLIER_PROB, 1 - OUTLIER_PROB)
)


def align(model: ov.Model, pairs: Sequence[AlignmentPair], statistics: Statistics) -> dict[str, TensorStatistic]:
    """Align the channels of all pairs in the model; returns statistics of tensors that changed or are called otherwise.

    Statistics of the unchanged model serve chained pairs too: an edit changes its own tensor and nothing else that any
    layer computes, and the edits that a layer between two pairs gets commute. Raises KeyError for a tensor whose
    quantiles were not collected.
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
        # What a layer without a bias answers has the name of the one it got; the next layer's input is there already.
        before, after = f"{pair.consumer}:0", f"{aligned_name(pair.consumer)}:0"
        if pair.consumer_bias is None and before in statistics and after not in found:
            found[after] = statistics[before]
    return found


def shifted_and_scaled(
    statistic: TensorStatistic, centre: Channels, factors: Channels, *, on_grid: bool
) -> TensorStatistic:
    """The statistic of (x - centre) / factors, channels along axis 1, from that of x.

    Nothing tells quantiles of the whole tensor, or of magnitudes, or means along another axis, or of which channel the
    values of a sketch are that is not ``on_grid``: they are left out.
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
    """Of each channel (q0 + q1) / 2 and q1 - q0, with q the median over the samples; rows of shape (samples, channels).

    A channel that is not finite keeps its place: centre and width 0.
    """
    # Infinities as numbers, which have means.
    bottom, top = (np.median(rows.astype(np.float64).clip(-_INFINITE, _INFINITE), axis=0) for rows in (low, high))
    finite = (np.abs(bottom) < LARGEST_FLOAT32) & (np.abs(top) < LARGEST_FLOAT32)
    bottom, top = np.where(finite, bottom, 0), np.where(finite, top, 0)
    return (bottom + top) / 2, top - bottom


def scale_factors(width: NDArray[np.float64]) -> Channels:
    """What each channel is divided by: its width in medians of the positive ones, within FACTORS; 1 without a width."""
    positive = width > 0
    if not positive.any():
        return np.ones_like(width)
    return np.clip(np.where(positive, width / np.median(width[positive]), 1.0), *FACTORS)
