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
    StackedStatistics,
    StatisticType,
    TensorStatistic,
    to_arrays,
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
        name: TensorStatistic(
            rows(samples, 1 + index, 0) - 5,
            rows(samples, 1 + index, 1) + 5,
            {each: rows(samples, 2, 2 + place) for place, each in enumerate(QUANTILES)},
            {1: rows(samples, 3, 5), 2: rows(samples, 4, 6)},
            {3: rows(samples, 2, 7)},
            rows(samples, 6, 8) if index else None,
        )
        for index, name in enumerate(NAMES)
    }


def fields(statistic: TensorStatistic) -> dict[str, Rows]:
    named = {"minimum": statistic.minimum, "maximum": statistic.maximum}
    named |= {str(quantile): each for quantile, each in statistic.quantiles.items()}
    named |= {f"mean {axis}": each for axis, each in statistic.means.items()}
    named |= {f"peak {axis}": each for axis, each in statistic.peaks.items()}
    return named if statistic.values is None else named | {"values": statistic.values}


def assert_equal(found: Mapping[str, TensorStatistic], expected: Mapping[str, TensorStatistic]) -> None:
    assert list(found) == list(expected)
    for name, statistic in expected.items():
        ours, theirs = fields(found[name]), fields(statistic)
        assert ours.keys() == theirs.keys()
        for field, expected_rows in theirs.items():
            np.testing.assert_array_equal(ours[field], expected_rows, err_msg=field)


def part(whole: Mapping[str, TensorStatistic], start: int, stop: int) -> dict[str, Rows]:
    return {name: rows[start:stop] for name, rows in to_arrays(whole).items()}


@given(st.integers(1, 9), st.lists(st.integers(0, 9), max_size=3))
def test_shards_in_order_are_all_samples_at_once(samples: int, cuts: list[int]) -> None:
    whole = statistics(samples)
    borders = [0, *sorted(min(cut, samples) for cut in cuts), samples]
    shards = [part(whole, start, stop) for start, stop in itertools.pairwise(borders)]
    assert_equal(StackedStatistics(shards), whole)
    assert StackedStatistics(shards)[NAMES[0]].samples == samples


def test_the_order_of_shards_is_kept() -> None:
    whole = statistics(2)
    swapped = StackedStatistics([part(whole, 1, 2), part(whole, 0, 1)])
    np.testing.assert_array_equal(swapped[NAMES[0]].maximum, whole[NAMES[0]].maximum[::-1])


def test_shards_of_different_tensors_are_an_error() -> None:
    all_, some = (to_arrays(statistics(2)) for _ in range(2))
    some = {name: rows for name, rows in some.items() if not name.startswith("conv:0")}
    for shards in ([all_, some], [some, all_]):
        with pytest.raises(ValueError, match="conv:0"):
            StackedStatistics(shards)


def test_shards_of_different_channels_are_an_error() -> None:
    narrow = {"a:0": TensorStatistic(rows(1, 2, 0), rows(1, 2, 1))}
    wide = {"a:0": TensorStatistic(rows(1, 3, 0), rows(1, 3, 1))}
    with pytest.raises(ValueError, match="concatenation"):
        _ = StackedStatistics([to_arrays(narrow), to_arrays(wide)])["a:0"].maximum


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


def test_everything_comes_back_from_arrays() -> None:
    assert_equal(StackedStatistics([to_arrays(statistics(3))]), statistics(3))


def test_minima_of_zero_take_no_room_and_come_back() -> None:
    high = np.array([[1, 2], [np.nan, np.nan], [3, 0]], np.float32)
    low = np.where(np.isnan(high), high, 0)
    flat = to_arrays({"relu:0": TensorStatistic(low, high)})
    assert list(flat) == ["relu:0::maximum"]
    np.testing.assert_array_equal(StackedStatistics([flat])["relu:0"].minimum, low)


def test_a_minimum_that_one_shard_left_out_is_stacked() -> None:
    some, others = (TensorStatistic(np.full((2, 1), low, np.float32), np.ones((2, 1), np.float32)) for low in (0, -3))
    found = StackedStatistics([to_arrays({"x:0": each}) for each in (some, others, some)])["x:0"]
    assert found.minimum[:, 0].tolist() == [0, 0, -3, -3, 0, 0]


class Reading(dict[str, Rows]):
    """Arrays that remember which were asked for."""

    def __init__(self, arrays: Mapping[str, Rows]) -> None:
        super().__init__(arrays)
        self.read: list[str] = []

    def __getitem__(self, name: str) -> Rows:
        self.read.append(name)
        return super().__getitem__(name)


def test_nothing_is_read_but_what_is_asked_for() -> None:
    shard = Reading(to_arrays(statistics(2)))
    stacked = StackedStatistics([shard])
    assert set(stacked) == set(NAMES)
    assert shard.read == []
    assert "conv:0" in stacked
    statistic = stacked["conv:0"]
    assert shard.read == []
    assert statistic.means[1] is statistic.means[1]
    means = ["conv:0::mean 1", "conv:0::mean 2"]
    assert shard.read == means
    assert statistic.samples == 2
    assert shard.read == [*means, "conv:0::minimum"]
