"""How near the quantized outputs are to the float ones, and how often both are right."""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]
Labels = NDArray[np.integer]


def sqnr(reference: Values, quantized: Values) -> float:
    """Signal-to-quantization-noise ratio in dB: 10 log10(sum r^2 / sum (r - q)^2); inf where both are equal."""
    signal = float(np.sum(np.square(reference, dtype=np.float64)))
    noise = float(np.sum(np.square(reference.astype(np.float64) - quantized)))
    if noise == 0:
        return float("inf")
    return 10 * float(np.log10(signal / noise)) if signal > 0 else float("-inf")


def cosine_similarity(reference: Values, quantized: Values) -> float:
    """Mean over samples (axis 0) of the cosine between both flattened outputs; two zero vectors are alike."""
    a = reference.reshape(len(reference), -1).astype(np.float64)
    b = quantized.reshape(len(quantized), -1).astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = (np.linalg.norm(a, axis=1) == 0) & (np.linalg.norm(b, axis=1) == 0)
    cosines = np.einsum("nd,nd->n", a, b) / np.where(norms == 0, 1, norms)
    return float(np.where(both_zero, 1.0, cosines).mean())


def top_k(scores: Values, labels: Labels, k: int) -> float:
    """Share of samples whose label is among the ``k`` largest of ``scores`` (samples, classes).

    Of equal scores the lower class counts as larger, so that the result does not depend on a sort's whims. NaN counts
    as larger than any other score, and no class is found by a score of NaN.
    """
    own = scores[np.arange(len(labels)), labels]
    larger = (~(scores <= own[:, None])).sum(axis=1)
    classes = np.arange(scores.shape[1])
    earlier = ((scores == own[:, None]) & (classes < labels[:, None])).sum(axis=1)
    return float((larger + earlier < k).mean())


def agreement(reference: Values, quantized: Values) -> float:
    """Share of samples for which both (samples, classes) outputs have the same largest class."""
    return float((reference.argmax(axis=-1) == quantized.argmax(axis=-1)).mean())
