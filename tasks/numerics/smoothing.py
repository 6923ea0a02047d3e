"""SmoothQuant: outliers in few features of an activation move into the weights that read them, where they cost less.

With factors s, ``x W = (x / s) (s W)``: features of like magnitude share one scale well, and weights have a scale per
output anyway. Xiao et al. 2022, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language
Models", equation 4: ``s_j = max|x_j|^alpha / max|W_j|^(1 - alpha)``. Here alpha is the one with the least expected
error of the products.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.numerics.statistics import Rows

Factors = NDArray[np.float64]

# Values of alpha to try.
ALPHAS = np.linspace(0.05, 0.95, 19)
# Ratio of the largest magnitude of many values to their root mean square, roughly.
_PEAK_TO_RMS = 4.0
# Factors stay within this and its inverse: a feature that hardly varies would get one that float16 cannot hold.
_MOST = 1e4


@dataclass(frozen=True)
class LevelsPerSide:
    """The number of levels on either side of zero: 127 for 8 bits.

    Attributes:
        weights: Those of the weights.
        activations: Those of the activations.
    """

    weights: int = 127
    activations: int = 127


def smoothing_factors(
    peaks: Rows, weights: Sequence[NDArray[np.float64]], steps: LevelsPerSide = LevelsPerSide()
) -> Factors:
    """The number that each feature is divided by, (features,), float64; 1 each if no alpha lowers the error.

    Args:
        peaks: Largest magnitude of each feature in each sample, (samples, features), float32; rows that are not finite
            are left out.
        weights: The matrices that read the tensor, each (outputs, features).
        steps: Levels of weights and activations.
    """
    matrix = np.concatenate(list(weights)).astype(np.float64)
    seen = peaks[np.isfinite(peaks).all(axis=1)].astype(np.float64)
    largest, columns = seen.max(axis=0, initial=0.0), np.abs(matrix).max(axis=0)
    usual = np.square(np.median(seen, axis=0) / _PEAK_TO_RMS) if len(seen) else np.zeros_like(largest)
    live = (largest > 0) & (columns > 0)
    best: Factors = np.ones_like(largest)
    if not live.any():
        return best
    error = _error(best, largest, usual, matrix, steps)
    for alpha in ALPHAS:
        factors: Factors = np.ones_like(largest)
        factors[live] = largest[live] ** alpha / columns[live] ** (1 - alpha)
        factors[live] = (factors[live] / np.exp(np.log(factors[live]).mean())).clip(1 / _MOST, _MOST)
        tried = _error(factors, largest, usual, matrix, steps)
        if tried < error:
            error, best = tried, factors
    return best


def _error(
    factors: Factors, largest: Factors, usual: Factors, matrix: NDArray[np.float64], steps: LevelsPerSide
) -> float:
    """The expected squared error of all outputs, from rounded activations and from rounded weights."""
    scaled = matrix * factors
    activation_step = (largest / factors).max() / steps.activations
    weight_steps = np.abs(scaled).max(axis=1) / steps.weights
    of_activations = activation_step**2 * np.square(scaled).sum()
    of_weights = np.square(weight_steps).sum() * (usual / factors**2).sum()
    return float(of_activations + of_weights) / 12
