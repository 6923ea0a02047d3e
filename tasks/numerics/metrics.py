"""How near the quantized outputs are to the float ones, and how often both are right."""

from collections.abc import Iterator
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]
Labels = NDArray[np.integer]

_MOST_MARGINS = 100_000
# Values that are converted to float64 at once: of the outputs of many images that would take their memory twice.
_PART = 2**20


def sqnr(reference: Values, quantized: Values) -> float:
    """Signal-to-quantization-noise ratio in dB: 10 log10(sum r^2 / sum (r - q)^2); inf where both are equal."""
    signal = noise = 0.0
    for exact, inexact in _parts(reference, quantized):
        signal += float(np.square(exact).sum())
        noise += float(np.square(exact - inexact).sum())
    if noise == 0:
        return float("inf")
    return 10 * float(np.log10(signal / noise)) if signal > 0 else float("-inf")


def cosine_similarity(reference: Values, quantized: Values) -> float:
    """Mean over samples (axis 0) of the cosine between both flattened outputs; two zero vectors are alike."""
    return float(np.concatenate([_cosines(*part) for part in _parts(reference, quantized)]).mean())


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
    places = reference[0].size // reference.shape[-1]
    step = -(-len(reference) * places // _MOST_MARGINS)
    pairs = []
    for part in _slices(reference):
        some = slice(-part.start * places % step, None, step)
        pairs.append(_margins(*(each[part].reshape(-1, each.shape[-1])[some] for each in (reference, quantized))))
    margins, found = np.concatenate(pairs, axis=1)
    width = sqrt(float(np.square(found - margins).mean())) if len(margins) else 0.0
    if width == 0:
        return 1.0 if len(margins) else float("nan")
    return float(np.mean([(1 + erf(margin / (width * sqrt(2)))) / 2 for margin in margins]))


def _margins(reference: Values, quantized: Values) -> NDArray[np.float64]:
    """How far the two largest scores of each finite row of ``reference`` lie apart, and the same two of the other."""
    finite = np.isfinite(reference).all(axis=1) & np.isfinite(quantized).all(axis=1)
    scores, others = (each[finite].astype(np.float64) for each in (reference, quantized))
    second, first = np.argpartition(scores, -2, axis=1)[:, -2:].T
    rows = np.arange(len(scores))
    return np.stack([each[rows, first] - each[rows, second] for each in (scores, others)])


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row of (samples, values); 1 for two zero vectors."""
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    norms = lengths[0] * lengths[1]
    cosines = np.einsum("nd,nd->n", a, b) / np.where(norms == 0, 1, norms)
    return np.where((lengths[0] == 0) & (lengths[1] == 0), 1.0, cosines)


def _parts(*arrays: Values) -> Iterator[tuple[NDArray[np.float64], ...]]:
    """Some samples of each of the arrays at a time, (samples, values)."""
    arrays = tuple(np.atleast_1d(each) for each in arrays)
    for part in _slices(arrays[0]):
        yield tuple(each[part].reshape(len(each[part]), -1).astype(np.float64) for each in arrays)


def _slices(values: Values) -> Iterator[slice]:
    count = max(1, _PART * len(values) // max(values.size, 1))
    return (slice(start, start + count) for start in range(0, len(values), count))
