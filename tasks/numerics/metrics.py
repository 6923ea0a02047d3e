"""Metrics: how near the quantized outputs are to the float ones, and how often each is right."""

from collections.abc import Iterator
from math import erf, inf, isnan, log10, nan, sqrt

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]
Labels = NDArray[np.integer]

_MOST_MARGINS = 100_000
# Of float64, its square 1e20 times.
_LARGEST = 1e140
# Values that are converted to float64 at once: those of all images would take twice the memory of the outputs.
_PART = 2**20


def sqnr(reference: Values, quantized: Values) -> float:
    """The signal-to-quantization-noise ratio in dB, 10 log10(sum r^2 / sum (r - q)^2); inf if both are equal.

    A reference of zeros has no signal: -inf. Places where both hold the same infinity, as masks do, are equal; NaN
    anywhere gives NaN.

    Args:
        reference: Output r of the float model, (samples, ...).
        quantized: Output q of the quantized model, of the same shape.

    Example:
        >>> round(sqnr(np.array([1.0, 2.0, 2.0]), np.array([1.1, 2.0, 2.0])), 2)
        29.54
    """
    signal = noise = 0.0
    for exact, inexact in _parts(reference, quantized):
        signal += signal_energy(exact)
        noise += noise_energy(exact, inexact)
    return decibels(signal, noise)


def signal_energy(values: Values) -> float:
    """The sum of the squares of all values that are not infinite, formed in float64.

    Args:
        values: Output of a model, of any shape.
    """
    exact = _float64(values)
    return float(np.square(exact, out=np.zeros_like(exact), where=~np.isinf(exact)).sum())


def noise_energy(reference: Values, found: Values) -> float:
    """The sum of the squared differences, formed in float64.

    Equal infinities do not differ, an infinity and another value do infinitely.

    Args:
        reference: Output of the float model, of any shape.
        found: Output of another model, of the same shape.
    """
    exact, inexact = _float64(reference), _float64(found)
    difference = np.subtract(exact, inexact, out=np.zeros_like(exact), where=exact != inexact)
    return float(np.square(difference, out=difference).sum())


def _float64(values: Values) -> NDArray[np.float64]:
    """The same in float64, no finite number so large that sums of squares pass it."""
    if values.dtype != np.float64:
        return values.astype(np.float64)
    return np.where(np.isinf(values), values, np.clip(values, -_LARGEST, _LARGEST))


def decibels(signal: float, noise: float) -> float:
    """The ratio of two energies in dB, 10 log10(signal / noise); inf without noise, -inf without a signal, NaN of NaN.

    Args:
        signal: Energy of the signal, not negative.
        noise: Energy of the noise, not negative, in the same unit.
    """
    if isnan(signal) or isnan(noise):
        return nan
    if noise == 0:
        return inf
    ratio = signal / noise
    return 10 * log10(ratio) if ratio > 0 else -inf


def cosine_similarity(reference: Values, quantized: Values) -> float:
    """The mean over samples of the cosine between both flattened outputs; two zero vectors count as 1.

    Args:
        reference: Output of the float model, (samples, ...).
        quantized: Output of the quantized model, of the same shape.
    """
    return float(np.concatenate([_cosines(*part) for part in _parts(reference, quantized)]).mean())


def top_k(scores: Values, labels: Labels, k: int) -> float:
    """The share of samples whose label is among the ``k`` largest scores, from 0 to 1.

    Of equal scores the lower class counts as larger, so that the order of a sort does not matter. NaN counts as larger
    than any other score, and a label whose own score is NaN is not found.

    Args:
        scores: One score per class, (samples, classes).
        labels: The right class of each sample, (samples,).
        k: How many classes may hold the label.

    Example:
        >>> top_k(np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]]), np.array([1, 1]), k=1)
        0.5
    """
    own = scores[np.arange(len(labels)), labels]
    larger = (~(scores <= own[:, None])).sum(axis=1)
    classes = np.arange(scores.shape[1])
    earlier = ((scores == own[:, None]) & (classes < labels[:, None])).sum(axis=1)
    return float((larger + earlier < k).mean())


def agreement(reference: Values, quantized: Values) -> float:
    """The share of samples for which both outputs have the same largest class, from 0 to 1 (top-1 agreement).

    Args:
        reference: Output of the float model, (samples, ..., classes).
        quantized: Output of the quantized model, of the same shape.
    """
    return float((reference.argmax(axis=-1) == quantized.argmax(axis=-1)).mean())


def expected_agreement(reference: Values, quantized: Values) -> float:
    """The expected share of samples that keep their largest class, from 0 to 1; NaN if no sample is finite.

    This needs fewer samples than counting, as each tells how near it is to a change: by its margin, the distance of the
    two largest scores of ``reference``. Errors of margins are taken to be normal, with one standard deviation s for all
    samples: a sample keeps its class with the probability (1 + erf(margin / (s sqrt 2))) / 2. Places whose scores are
    not all finite are left out. Of more than _MOST_MARGINS places (pixels, say) every n-th counts.

    Args:
        reference: Output of the float model, (samples, ..., classes), at least two classes.
        quantized: Output of the quantized model, of the same shape.
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
    """The margin of each finite row of ``reference``, and the distance of the same two scores of ``quantized``."""
    finite = np.isfinite(reference).all(axis=1) & np.isfinite(quantized).all(axis=1)
    scores, others = (each[finite].astype(np.float64) for each in (reference, quantized))
    second, first = np.argpartition(scores, -2, axis=1)[:, -2:].T
    rows = np.arange(len(scores))
    return np.stack([each[rows, first] - each[rows, second] for each in (scores, others)])


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cosine of each pair of rows, (samples,); 1 for two zero vectors.

    Equal infinities do not count, others give NaN.
    """
    a, b = (np.where(np.isinf(each) & (a == b), 0.0, _float64(each)) for each in (a, b))
    finite = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    cosines = np.full(len(a), np.nan)
    a, b = a[finite], b[finite]
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    norms = lengths[0] * lengths[1]
    found = np.einsum("nd,nd->n", a, b) / np.where(norms == 0, 1, norms)
    cosines[finite] = np.where((lengths[0] == 0) & (lengths[1] == 0), 1.0, found)
    return cosines


def _parts(*arrays: Values) -> Iterator[tuple[NDArray[np.float64], ...]]:
    """Some samples at a time, the same of every array: (samples, values), float64."""
    arrays = tuple(np.atleast_1d(each) for each in arrays)
    for part in _slices(arrays[0]):
        yield tuple(each[part].reshape(len(each[part]), -1).astype(np.float64) for each in arrays)


def _slices(values: Values) -> Iterator[slice]:
    """Slices of axis 0 of about _PART values each."""
    count = max(1, _PART * len(values) // max(values.size, 1))
    return (slice(start, start + count) for start in range(0, len(values), count))
