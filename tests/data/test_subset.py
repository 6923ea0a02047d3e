"""Which samples a run uses."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.subset import holdout_indices, sample_indices, spread_indices
from tasks.errors import InputError

counts = st.integers(1, 300)
sizes = st.none() | st.integers(1, 400)
seeds = st.integers(0, 2**31)


@given(counts, sizes, st.booleans(), seeds)
def test_distinct_in_range_and_as_many_as_asked(count: int, size: int | None, shuffle: bool, seed: int) -> None:
    chosen = sample_indices(count, size, shuffle, seed)
    assert len(chosen) == len(set(chosen)) == min(count, count if size is None else size)
    assert all(0 <= index < count for index in chosen)


@given(counts, sizes, st.booleans(), seeds)
def test_reproducible_and_apart_from_the_global_generator(
    count: int, size: int | None, shuffle: bool, seed: int
) -> None:
    before = random.getstate()
    assert sample_indices(count, size, shuffle, seed) == sample_indices(count, size, shuffle, seed)
    assert random.getstate() == before


@given(counts, st.integers(1, 300), seeds)
def test_in_order_a_larger_subset_continues_a_smaller_one(count: int, size: int, seed: int) -> None:
    smaller, larger = sample_indices(count, size, False, seed), sample_indices(count, size + 1, False, seed)
    assert larger[: len(smaller)] == smaller


def test_shuffled_as_random_sample_draws_after_seeding() -> None:
    state = random.getstate()
    try:
        random.seed(7)
        expected = tuple(random.sample(range(100), 10))
    finally:
        random.setstate(state)
    assert sample_indices(100, 10, True, 7) == expected
    assert sample_indices(100, 10, True, 8) != expected


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"subset size {size}: expected at least 1 sample"):
        sample_indices(10, size, False, 0)


@given(st.integers(0, 400), st.integers(0, 64))
def test_samples_set_apart_are_few_and_spread(count: int, most: int) -> None:
    judges = holdout_indices(count, most)
    assert list(judges) == sorted(set(judges))
    assert all(0 <= place < count for place in judges)
    assert len(judges) <= min(most, max(count // 5, 1))
    assert len(judges) < max(count, 1)  # one sample at least is left to fit to
    assert len(judges) == 0 or count - len(judges) >= len(judges)
    if most and count > 1:
        assert judges
        gaps = np.diff([-1, *judges, count])
        assert gaps.max() <= count / len(judges) + 1


@given(st.integers(1, 400), st.integers(1, 500))
def test_evenly_spread_samples_are_as_many_as_asked_for(count: int, most: int) -> None:
    chosen = spread_indices(count, most)
    assert len(set(chosen)) == len(chosen) == min(count, most)
    assert chosen == tuple(sorted(chosen))
    assert chosen[0] >= 0
    assert chosen[-1] < count
    # The same from either end.
    assert all(abs(place + other - (count - 1)) <= 1 for place, other in zip(chosen, chosen[::-1], strict=True))
