"""Which samples a run uses."""

import random

from tasks.errors import InputError


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
