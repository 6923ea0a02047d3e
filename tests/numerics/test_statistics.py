"""Rows of samples: stacking and storing."""

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.numerics.affine import Granularity
from tasks.numerics.statistics import (
    Quantile,
    Rows,
    StatisticType,
    TensorStatistic,
    concatenate,
    concatenate_quantiles,
    from_arrays,
    quantiles_from_arrays,
    quantiles_to_arrays,
    to_arrays,
    with_quantiles,
)

# Names that models have: with slashes, colons and spaces.
NAMES = ("conv:0", "block/1/Relu:1", "a::b minimum:0", "maximum:0")
P, C = Granularity.PERTENSOR, Granularity.PERCHANNEL
QUANTILES = (
    Quantile(StatisticType.QUANTILE, 1e-4, P),
    Quantile(StatisticType.ABS_QUANTILE, 1 - 1e-5, C),
    Quantile(StatisticType.QUANTILE, 0.1 + 0.2, C),
)


def rows(samples: int, channels: int, seed: int) -> Rows:
    return np.random.default_rng([samples, channels, seed]).normal(size=(samples, channels)).astype(np.float32)


def statistics(samples: int) -> dict[str, TensorStatistic]:
    return {
        name: TensorStatistic(rows(samples, 1 + index, 0) - 5, rows(samples, 1 + index, 1) + 5)
        for index, name in enumerate(NAMES)
    }


def quantiles(samples: int) -> dict[str, dict[Quantile, Rows]]:
    return {name: {each: rows(samples, 2, index) for index, each in enumerate(QUANTILES)} for name in NAMES}


def assert_equal(found: Mapping[str, TensorStatistic], expected: Mapping[str, TensorStatistic]) -> None:
    assert list(found) == list(expected)
    for name, statistic in expected.items():
        np.testing.assert_array_equal(found[name].minimum, statistic.minimum)
        np.testing.assert_array_equal(found[name].maximum, statistic.maximum)


def part(whole: Mapping[str, TensorStatistic], start: int, stop: int) -> dict[str, TensorStatistic]:
    return {name: TensorStatistic(each.minimum[start:stop], each.maximum[start:stop]) for name, each in whole.items()}


@given(st.integers(1, 9), st.lists(st.integers(0, 9), max_size=3))
def test_shards_in_order_are_all_samples_at_once(samples: int, cuts: list[int]) -> None:
    whole = statistics(samples)
    borders = [0, *sorted(min(cut, samples) for cut in cuts), samples]
    shards = [part(whole, start, stop) for start, stop in itertools.pairwise(borders)]
    assert_equal(concatenate(shards), whole)
    assert concatenate(shards)[NAMES[0]].samples == samples


def test_the_order_of_shards_is_kept() -> None:
    whole = statistics(2)
    swapped = concatenate([part(whole, 1, 2), part(whole, 0, 1)])
    np.testing.assert_array_equal(swapped[NAMES[0]].maximum, whole[NAMES[0]].maximum[::-1])


def test_quantiles_of_shards_are_stacked_too() -> None:
    first, second = quantiles(2), quantiles(3)
    stacked = concatenate_quantiles([first, second])
    for name in NAMES:
        for each in QUANTILES:
            expected = np.concatenate([first[name][each], second[name][each]])
            np.testing.assert_array_equal(stacked[name][each], expected)


def test_shards_of_different_tensors_are_an_error() -> None:
    other = {name: each for name, each in statistics(2).items() if name != "conv:0"}
    with pytest.raises(ValueError, match="conv:0"):
        concatenate([statistics(2), other])
    with pytest.raises(ValueError, match="conv:0"):
        concatenate([other, statistics(2)])
    with pytest.raises(ValueError, match="conv:0"):
        concatenate_quantiles([quantiles(1), {name: each for name, each in quantiles(1).items() if name != "conv:0"}])


def test_shards_of_different_channels_are_an_error() -> None:
    narrow = {"a:0": TensorStatistic(rows(1, 2, 0), rows(1, 2, 1))}
    wide = {"a:0": TensorStatistic(rows(1, 3, 0), rows(1, 3, 1))}
    with pytest.raises(ValueError, match="concatenation"):
        concatenate([narrow, wide])


@pytest.mark.parametrize(
    ("minimum", "maximum"),
    [
        pytest.param((2, 3), (2, 4), id="channels"),
        pytest.param((2, 3), (3, 3), id="samples"),
        pytest.param((2,), (2,), id="rank"),
    ],
)
def test_extremes_have_one_shape(minimum: tuple[int, ...], maximum: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected two arrays"):
        TensorStatistic(np.zeros(minimum, np.float32), np.zeros(maximum, np.float32))


def test_extremes_come_back_from_arrays() -> None:
    flat = to_arrays(statistics(3))
    assert len(flat) == 2 * len(NAMES)
    assert_equal(from_arrays(flat), statistics(3))


def test_quantiles_come_back_from_arrays() -> None:
    flat = quantiles_to_arrays(quantiles(3))
    assert len(flat) == len(NAMES) * len(QUANTILES)
    found = quantiles_from_arrays(flat)
    assert {name: set(each) for name, each in found.items()} == {name: set(QUANTILES) for name in NAMES}
    for name, each in quantiles(3).items():
        for quantile, values in each.items():
            np.testing.assert_array_equal(found[name][quantile], values)


def test_statistics_get_the_quantiles_of_their_tensors() -> None:
    some = {NAMES[0]: quantiles(3)[NAMES[0]]}
    found = with_quantiles(statistics(3), some)
    assert found[NAMES[0]].quantiles == some[NAMES[0]]
    assert found[NAMES[1]].quantiles == {}
    assert_equal(found, statistics(3))
