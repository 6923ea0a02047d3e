"""Which samples a run uses."""

import random

from tasks.errors import InputError

FIFTH = 5


def select(samples_count: int, subset_size: int | None, shuffle: bool, seed: int) -> tuple[int, ...]:
    """Choose samples of a data set, by index.

    Without ``shuffle`` the first ``subset_size`` ones, so that a larger subset continues a smaller one. With it,
    those that the Post-training Optimization Tool drew: Python's ``random.sample`` after ``random.seed(seed)``.
    More than there are, or None, means all.

    Raises InputError for a size below 1.
    """
    if subset_size is not None and subset_size < 1:
        raise InputError(f"subset size {subset_size}: expected at least 1 sample, or none for all {samples_count}.")
    size = samples_count if subset_size is None else min(subset_size, samples_count)
    if shuffle:
        return tuple(random.Random(seed).sample(range(samples_count), size))  # noqa: S311 - no secret
    return tuple(range(size))


def set_apart(samples_count: int, most: int) -> tuple[int, ...]:
    """Which of some samples judge what was fitted to the others: at most a fifth and ``most``; none of a single one."""
    return evenly_spread(samples_count, min(most, max(samples_count // FIFTH, min(samples_count - 1, 1))))


def evenly_spread(samples_count: int, most: int) -> tuple[int, ...]:
    """At most so many of some samples, spread over all of them, as data sets are often sorted by class."""
    count = min(samples_count, most)
    return tuple((2 * place + 1) * samples_count // (2 * count) for place in range(count))
