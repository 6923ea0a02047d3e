"""Whether the classes that a model answers have anything to do with the labels."""

import numpy as np
from numpy.typing import NDArray

# Of data sets of guesses, so many have as many right answers by luck; of those of a model that knows something, so many
# have as few.
_LUCK, _MISFORTUNE = 0.05, 0.001
# How far the latter is on its way from guessing to being always right.
_KNOWS = 1 / 3


def chance_level(answers: NDArray[np.integer], labels: NDArray[np.integer], classes: int) -> float | None:
    """Return the share of right answers that guessing would have, if these are no better; otherwise None.

    Guesses keep how often each class is answered and asked for, and no more. They are right with a probability of p,
    the sum of the products of both shares over all classes (the chance agreement of Cohen, 1960), but at least
    1 / classes: a constant answer is right as often as its class is asked for. Two binomial tests decide, so that
    neither a few samples of a good model nor many samples of a poor one are taken for guesses: as many right answers
    are common among guesses (above 5 %), and as few are rare (below 0.1 %) for a model that is right with
    p + (1 - p) / 3.

    Args:
        answers: (samples,), classes of the largest scores.
        labels: (samples,), the right classes.
        classes: how many there are.

    """
    count = len(labels)
    shares = [np.bincount(each, minlength=classes) / count for each in (answers, labels)]
    chance = max(float(shares[0] @ shares[1]), 1 / classes)
    if chance >= 1:  # one class is all there is
        return None
    right = int((answers == labels).sum())
    lucky = 1 - _at_most(right - 1, count, chance)
    unlucky = _at_most(right, count, chance + _KNOWS * (1 - chance))
    return chance if lucky > _LUCK and unlucky < _MISFORTUNE else None


def _at_most(right: int, count: int, probability: float) -> float:
    """The probability of at most so many right answers among ``count``."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    k = np.arange(right + 1)
    ways = logs[count] - logs[k] - logs[count - k]
    return float(np.exp(ways + k * np.log(probability) + (count - k) * np.log1p(-probability)).sum())
