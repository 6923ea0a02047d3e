"""The samples that a run uses, and the holdout among them, by index."""

import random

from tasks.errors import InputError

FIFTH = 5


def sample_indices(samples_count: int, subset_size: int | None, shuffle: bool, seed: int) -> tuple[int, ...]:
    """The indices of the samples to use.

    Without ``shuffle`` these are the first ones, so that a larger subset continues a smaller one. With it they are
    those that POT draws: ``random.sample`` after ``random.seed(seed)``.

    Args:
        samples_count: Number of samples in the data set.
        subset_size: Number of samples to use; None, or more than there are, uses all.
        shuffle: Whether samples are drawn.
        seed: Seed for drawing them.

    Raises:
        InputError: ``subset_size`` is below 1.

    Example:
        >>> sample_indices(10, 3, shuffle=False, seed=0)
        (0, 1, 2)
    """
    if subset_size is not None and subset_size < 1:
        raise InputError(f"subset size {subset_size}: expected at least 1 sample, or none for all {samples_count}.")
    size = samples_count if subset_size is None else min(subset_size, samples_count)
    if shuffle:
        return tuple(random.Random(seed).sample(range(samples_count), size))  # noqa: S311 - no secret
    return tuple(range(size))


def holdout_indices(samples_count: int, most: int) -> tuple[int, ...]:
    """The indices of the holdout: at most a fifth of the samples and at most ``most``, but one of two to nine.

    Ranges and weights are fitted to the other samples; the holdout decides what is accepted. A single sample has none.

    Args:
        samples_count: Number of samples to split.
        most: Largest size of the holdout.
    """
    return spread_indices(samples_count, min(most, max(samples_count // FIFTH, min(samples_count - 1, 1))))


def spread_indices(samples_count: int, most: int) -> tuple[int, ...]:
    """At most ``most`` indices, evenly spread over all samples, as data sets are often sorted by class.

    Args:
        samples_count: Number of samples.
        most: Largest number of indices.
    """
    count = min(samples_count, most)
    return tuple((2 * place + 1) * samples_count // (2 * count) for place in range(count))
