"""How near the quantized outputs are to the float ones, and how often both are right."""

from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]
Labels = NDArray[np.integer]

_MOST_MARGINS = 100_000


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


def expected_agreement(reference: Values, quantized: Values) -> float:
    """Share of samples whose largest class is to be expected to stay, from margins: a few samples tell much.

    Of (samples, classes) the margin is the distance between the two largest scores of ``reference``. Were its errors
    normal, of a width s that all samples tell, a sample would keep its class with probability (1 + erf(margin / (s
    sqrt 2))) / 2. Samples that are not finite do not count; without any, NaN. Of many (pixels, say) some are looked at.
    """
    step = -(-reference.size // reference.shape[-1] // _MOST_MARGINS)
    scores, others = (each.reshape(-1, each.shape[-1])[::step].astype(np.float64) for each in (reference, quantized))
    finite = np.isfinite(scores).all(axis=1) & np.isfinite(others).all(axis=1)
    scores, others = scores[finite], others[finite]
    second, first = np.argpartition(scores, -2, axis=1)[:, -2:].T
    rows = np.arange(len(scores))
    margins, found = (each[rows, first] - each[rows, second] for each in (scores, others))
    width = sqrt(float(np.square(found - margins).mean())) if len(rows) else 0.0
    if width == 0:
        return 1.0 if len(rows) else float("nan")
    return float(np.mean([(1 + erf(margin / (width * sqrt(2)))) / 2 for margin in margins]))
