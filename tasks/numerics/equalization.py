"""Cross-layer equalization: two layers that share channels get weights of like size in each.

One scale for all weights of a layer wastes levels on channels that are smaller than the largest. Nagel et al. 2019,
"Data-Free Quantization Through Weight Equalization and Bias Correction", equation 11: with r1 and r2 the largest
magnitudes of a channel's weights in both layers, dividing it by ``s = sqrt(r1 r2) / r2`` makes both ``sqrt(r1 r2)``.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Stronger factors would only move the difference between channels into the activations between the layers.
FACTORS = (0.01, 100.0)


def equalizing_factors(rows: Array, columns: Array) -> Array:
    """What each channel is divided by, (channels,).

    ``rows``, (channels, values), are the weights that make a channel, ``columns``, (outputs, channels), those that read
    it. A channel without weights on one side, or with some that are not finite, keeps its size: 1.
    """
    made, read = np.abs(rows).max(axis=1), np.abs(columns).max(axis=0)
    known = (made > 0) & (read > 0) & np.isfinite(made) & np.isfinite(read)
    factors = np.ones_like(made)
    factors[known] = np.sqrt(made[known] / read[known])
    return np.asarray(np.clip(factors, *FACTORS))
