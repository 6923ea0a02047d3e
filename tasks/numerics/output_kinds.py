"""What the values of an output are, by those of the float model: classes, channels of several scales, or neither."""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]

# Channels whose root mean squares differ by more than so many decades are of different kinds.
_DECADES = 1.0
# More kinds than that are none.
_MOST_KINDS = 4
# Of classes, the largest score of a place stands out so many times as far as the least one; of embeddings 1 time.
_STANDS_OUT = 1.5
# Share of the places that one class may have: what is the largest everywhere is no class.
_LARGEST_SHARE = 0.9
_FEWEST_CLASSES = 3
_MOST_PLACES = 10_000


def kinds_of_channels(values: Values) -> tuple[slice, ...]:
    """The runs of channels that are of one kind: boxes beside scores, say, whose noise must not be told by one number.

    Sorted by their root mean square, channels part where two neighbours lie more than a decade apart. Each kind has to
    be one run of neighbouring channels, since seldom active classes among others are no kind of their own.

    Args:
        values: Output of the float model, (samples, ..., channels).

    Example:
        >>> kinds_of_channels(np.array([[300.0, 200.0, 0.1, 0.2]]))
        (slice(0, 2, None), slice(2, 4, None))
    """
    count = values.shape[-1] if values.ndim > 1 else 1
    everything = (slice(0, count),)
    if count == 1:
        return everything
    energies = sum(np.square(each, dtype=np.float64).reshape(-1, count).sum(axis=0) for each in values)
    with np.errstate(divide="ignore"):
        scales = np.log10(energies) / 2
    told = np.isfinite(scales)
    if np.isnan(scales).any() or (scales == np.inf).any() or not told.any():
        return everything
    # What is silent throughout is of the kind of its neighbour.
    scales = np.interp(np.arange(count), np.flatnonzero(told), scales[told])
    order = np.argsort(scales, kind="stable")
    kinds = np.empty(count, int)
    kinds[order] = np.concatenate([[0], np.cumsum(np.diff(scales[order]) > _DECADES)])
    borders = np.flatnonzero(np.diff(kinds)) + 1
    if len(borders) != kinds.max() or len(borders) >= _MOST_KINDS:
        return everything
    return tuple(slice(int(a), int(b)) for a, b in zip([0, *borders], [*borders, count], strict=True))


def looks_like_classes(values: Values) -> bool:
    """Whether scores are those of classes: one stands out at each place, and not the same one everywhere.

    Embeddings and frames of sound lie as far below their mean as above it, and of measures in one unit the same one is
    the largest throughout. Of two scores nothing can be told.

    Args:
        values: Output of the float model, (samples, ..., scores).
    """
    scores = values.reshape(-1, values.shape[-1])
    scores = scores[:: -(-len(scores) // _MOST_PLACES)]
    scores = scores[np.isfinite(scores).all(axis=1)].astype(np.float64)
    if len(scores) < _FEWEST_CLASSES or scores.shape[1] < _FEWEST_CLASSES:
        return False
    means = scores.mean(axis=1)
    above, below = (scores.max(axis=1) - means).mean(), (means - scores.min(axis=1)).mean()
    most = np.bincount(scores.argmax(axis=1)).max() / len(scores)
    return bool(above > _STANDS_OUT * below > 0 and most <= _LARGEST_SHARE)
