"""Cross-layer equalization: the weights of two layers that share channels get like magnitudes in each channel.

One scale for all weights of a layer wastes levels on channels that are smaller than the largest. With r1 and r2 the
largest magnitudes of a channel's weights in the first and the second layer, dividing the channel by
``s = sqrt(r1 r2) / r2`` makes both ``sqrt(r1 r2)``: Nagel et al. 2019, "Data-Free Quantization Through Weight
Equalization and Bias Correction", equation 11.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Stronger factors would move the difference between channels into the activations between the layers.
FACTORS = (0.01, 100.0)


def equalizing_factors(rows: Array, columns: Array) -> Array:
    """The number that each channel is divided by, (channels,), float64, within FACTORS.

    It is 1 for a channel whose weights on one side are all zero or not all finite.

    Args:
        rows: Weights of the first layer, which make a channel, (channels, values).
        columns: Weights of the second layer, which read it, (outputs, channels).
    """
    made, read = np.abs(rows).max(axis=1), np.abs(columns).max(axis=0)
    known = (made > 0) & (read > 0) & np.isfinite(made) & np.isfinite(read)
    factors = np.ones_like(made)
    factors[known] = np.sqrt(made[known] / read[known])
    return np.asarray(np.clip(factors, *FACTORS))
