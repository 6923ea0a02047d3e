"""Channel alignment: the channels between two convolutions get the same centre and width before they share a scale.

One range for a whole tensor wastes levels on channels that are narrower than the widest or lie beside zero. POT's
ActivationChannelAlignment (2023.3): shift and scale every channel, let the layers around undo it (``graph.alignment``).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.graph.alignment import AlignmentPair, align_pair
from tasks.graph.biases import Channels
from tasks.numerics.affine import Granularity
from tasks.numerics.statistics import Quantile, Quantiles, Rows, StatisticType

# Share of a channel's values that may lie outside of its width, at each end.
OUTLIER_PROB = 1e-4
# Stronger factors would only move the difference between channels into the consumer's weights.
FACTORS = (0.01, 100.0)

LOW, HIGH = (
    Quantile(StatisticType.QUANTILE, probability, Granularity.PERCHANNEL)
    for probability in (OUTLIER_PROB, 1 - OUTLIER_PROB)
)


def wanted_quantiles(pairs: Sequence[AlignmentPair]) -> Mapping[str, tuple[Quantile, ...]]:
    """The quantiles of each sample that :func:`align` needs, by tensor of the unchanged model."""
    return {pair.tensor: (LOW, HIGH) for pair in pairs}


def align(model: ov.Model, pairs: Sequence[AlignmentPair], quantiles: Quantiles) -> tuple[str, ...]:
    """Align the channels of all pairs in the model; returns the names of the consumers.

    Quantiles of the unchanged model serve chained pairs too: an edit changes its own tensor and nothing else that any
    layer computes, and the edits that a layer between two pairs gets commute. Raises KeyError for a tensor whose
    quantiles were not collected.
    """
    for pair in pairs:
        centre, width = centre_and_width(quantiles[pair.tensor][LOW], quantiles[pair.tensor][HIGH])
        align_pair(model, pair, centre, scale_factors(width))
    return tuple(pair.consumer for pair in pairs)


def centre_and_width(low: Rows, high: Rows) -> tuple[Channels, Channels]:
    """Of each channel (q0 + q1) / 2 and q1 - q0, with q the median over the samples; rows of shape (samples, channels).

    A channel that is not finite keeps its place: centre and width 0.
    """
    bottom, top = (np.median(rows.astype(np.float64), axis=0) for rows in (low, high))
    finite = np.isfinite(bottom) & np.isfinite(top)
    bottom, top = np.where(finite, bottom, 0), np.where(finite, top, 0)
    return (bottom + top) / 2, top - bottom


def scale_factors(width: NDArray[np.float64]) -> Channels:
    """What each channel is divided by: its width in medians of the positive ones, within FACTORS; 1 without a width."""
    positive = width > 0
    if not positive.any():
        return np.ones_like(width)
    return np.clip(np.where(positive, width / np.median(width[positive]), 1.0), *FACTORS)
