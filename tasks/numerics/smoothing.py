"""SmoothQuant: outliers in few features of an activation move into the weights that read them, where they are harmless.

With factors s, ``x W = (x / s) (s W)``: features of like size share one scale, and weights have a scale for each output
anyway. Xiao et al. 2022, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models",
equation 4: ``s_j = max|x_j|^alpha / max|W_j|^(1 - alpha)``. Here alpha is what makes the expected error of the products
least.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.numerics.statistics import Rows

Factors = NDArray[np.float64]

ALPHAS = np.linspace(0.05, 0.95, 19)
# The largest magnitude of many values is about so many times their root mean square.
_PEAK_TO_RMS = 4.0
# A feature that hardly varies would get factors that no float16 holds.
_MOST = 1e4


@dataclass(frozen=True)
class Steps:
    """How many steps of a grid lie on either side of zero, as 127 of 8 bits."""

    weights: int = 127
    activations: int = 127


def smoothing_factors(peaks: Rows, weights: Sequence[NDArray[np.float64]], steps: Steps = Steps()) -> Factors:
    """What each feature is divided by, (features,); ones where nothing is better.

    ``peaks``, (samples, features), are the largest magnitudes of each sample, ``weights`` the matrices (outputs,
    features) that read the tensor.
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


def _error(factors: Factors, largest: Factors, usual: Factors, matrix: NDArray[np.float64], steps: Steps) -> float:
    """The expected squared error of all outputs: of rounded activations, and of rounded weights."""
    scaled = matrix * factors
    activation_step = (largest / factors).max() / steps.activations
    weight_steps = np.abs(scaled).max(axis=1) / steps.weights
    of_activations = activation_step**2 * np.square(scaled).sum()
    of_weights = np.square(weight_steps).sum() * (usual / factors**2).sum()
    return float(of_activations + of_weights) / 12
