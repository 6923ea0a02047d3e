"""Ranges from hand-made statistics, against what float64 arithmetic gives."""

import tracemalloc
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tasks.numerics.affine import Granularity, Mode, QuantizerConfig
from tasks.numerics.aggregators import OUTLIERS, Aggregator, aggregate, hodges_lehmann
from tasks.numerics.estimators import (
    Border,
    EstimatorPreset,
    RangeEstimator,
    complete,
    estimate_range,
    needed_quantiles,
    weight_range,
)
from tasks.numerics.quantiles import sample_quantiles
from tasks.numerics.statistics import Quantile, Rows, StatisticType, TensorStatistic

P, C = Granularity.PERTENSOR, Granularity.PERCHANNEL
SYMMETRIC, ASYMMETRIC = Mode.SYMMETRIC, Mode.ASYMMETRIC
CONFIGS = [QuantizerConfig(8, mode, granularity) for mode in Mode for granularity in Granularity]
QUANTILE_PRESET = RangeEstimator(EstimatorPreset.QUANTILE)


def rows(*samples: tuple[float, ...]) -> Rows:
    return np.array(samples, np.float32)


#                   sample 0: channels  sample 1     sample 2
STATISTIC = TensorStatistic(rows((-4, 1), (-1, 0), (-2, -3)), rows((1, 2), (5, 8), (3, 0.5)))


def estimate(config: QuantizerConfig, estimator: RangeEstimator | None = None) -> tuple[list[float], list[float]]:
    found = estimate_range(STATISTIC, config, complete(estimator or RangeEstimator(), config))
    assert found.low.dtype == found.high.dtype == np.float32
    return found.low.tolist(), found.high.tolist()


def config_id(config: QuantizerConfig) -> str:
    return f"{config.mode}-{config.granularity}"


@pytest.mark.parametrize(
    ("config", "low", "high"),
    [
        # The least minimum; the mean of the largest magnitudes 4, 8, 3.
        pytest.param(QuantizerConfig(8, SYMMETRIC, P), [-4], [5], id="symmetric-pertensor"),
        # The mean of the minima -4, -1, -3; the mean of the maxima 2, 8, 3.
        pytest.param(QuantizerConfig(8, ASYMMETRIC, P), [-8 / 3], [13 / 3], id="asymmetric-pertensor"),
        # Magnitudes of the channels: 4, 5, 3 and 2, 8, 3.
        pytest.param(QuantizerConfig(8, SYMMETRIC, C), [-4, -3], [5, 8], id="symmetric-perchannel"),
        pytest.param(QuantizerConfig(8, ASYMMETRIC, C), [-4, -3], [5, 8], id="asymmetric-perchannel"),
    ],
)
def test_default_ranges(config: QuantizerConfig, low: list[float], high: list[float]) -> None:
    found = estimate(config)
    assert found[0] == pytest.approx(low)
    assert found[1] == pytest.approx(high)


def test_the_order_of_the_samples_does_not_matter() -> None:
    generator = np.random.default_rng(0)
    low, high = (generator.normal(size=(300, 2)).astype(np.float32) for _ in range(2))
    order = generator.permutation(300)
    for config in CONFIGS:
        estimator = complete(RangeEstimator(), config)
        first = estimate_range(TensorStatistic(low - 5, high + 5), config, estimator)
        second = estimate_range(TensorStatistic(low[order] - 5, high[order] + 5), config, estimator)
        np.testing.assert_array_equal(first.low, second.low)
        np.testing.assert_array_equal(first.high, second.high)


@pytest.mark.parametrize("config", CONFIGS, ids=config_id)
def test_a_border_of_the_users_own(config: QuantizerConfig) -> None:
    wish = RangeEstimator(max=Border(type=StatisticType.MAX, aggregator=Aggregator.MIN))
    channels = STATISTIC.maximum if config.granularity == C else STATISTIC.maximum.max(axis=1, keepdims=True)
    low, high = estimate(config, wish)
    assert high == channels.min(axis=0).tolist()
    assert low == estimate(config)[0]


@pytest.mark.parametrize("config", CONFIGS, ids=config_id)
def test_clipping_bounds_the_range_and_nothing_else(config: QuantizerConfig) -> None:
    tight = RangeEstimator(min=Border(clipping_value=-0.5), max=Border(clipping_value=0.25))
    assert set(estimate(config, tight)[0]) == {-0.5}
    assert set(estimate(config, tight)[1]) == {0.25}
    loose = RangeEstimator(min=Border(clipping_value=-100), max=Border(clipping_value=100))
    assert estimate(config, loose) == estimate(config)


@pytest.mark.parametrize("config", CONFIGS, ids=config_id)
def test_extremes_need_no_quantiles(config: QuantizerConfig) -> None:
    assert needed_quantiles(complete(RangeEstimator(), config), config.granularity) == ()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (QuantizerConfig(8, SYMMETRIC, P), {Quantile(StatisticType.ABS_QUANTILE, 1 - 1e-4, P)}),
        (QuantizerConfig(8, SYMMETRIC, C), {Quantile(StatisticType.ABS_QUANTILE, 1 - 1e-4, C)}),
        (
            QuantizerConfig(8, ASYMMETRIC, P),
            {Quantile(StatisticType.QUANTILE, 1e-4, P), Quantile(StatisticType.QUANTILE, 1 - 1e-4, P)},
        ),
    ],
    ids=lambda value: config_id(value) if isinstance(value, QuantizerConfig) else "",
)
def test_the_quantile_preset_needs_those_of_its_mode(config: QuantizerConfig, expected: set[Quantile]) -> None:
    assert set(needed_quantiles(complete(QUANTILE_PRESET, config), config.granularity)) == expected


def test_a_share_of_outliers_changes_the_quantiles_only() -> None:
    config = QuantizerConfig(8, ASYMMETRIC, P)
    wish = RangeEstimator(EstimatorPreset.QUANTILE, max=Border(outlier_prob=0.01))
    probabilities = {each.probability for each in needed_quantiles(complete(wish, config), P)}
    assert probabilities == {1e-4, 0.99}


def test_quantiles_are_aggregated_like_extremes() -> None:
    config = QuantizerConfig(8, ASYMMETRIC, P)
    estimator = complete(QUANTILE_PRESET, config)
    lower, upper = needed_quantiles(estimator, P)
    quantiles = {lower: rows((-1,), (-3,)), upper: rows((2,), (6,))}
    statistic = TensorStatistic(rows((-9,), (-9,)), rows((9,), (9,)), quantiles)
    found = estimate_range(statistic, config, estimator)
    assert (found.low.tolist(), found.high.tolist()) == ([-2], [4])


def test_a_quantile_that_was_not_collected_is_an_error() -> None:
    config = QuantizerConfig(8, SYMMETRIC, P)
    with pytest.raises(KeyError):
        estimate_range(STATISTIC, config, complete(QUANTILE_PRESET, config))


VALUES = np.random.default_rng(1).normal(0.5, 2, (3, 500)).astype(np.float32)


@pytest.mark.parametrize("probability", [0.0, 1e-4, 0.1, 0.5, 0.999, 1.0])
def test_quantiles_of_a_sample(probability: float) -> None:
    kinds = [
        Quantile(kind, probability, each)
        for kind in (StatisticType.QUANTILE, StatisticType.ABS_QUANTILE)
        for each in Granularity
    ]
    found = sample_quantiles(VALUES, tuple(kinds))

    def oracle(values: NDArray[np.float64]) -> float:
        ordered = np.sort(values)
        place = probability * (len(ordered) - 1)
        below = int(np.floor(place))
        above = min(below + 1, len(ordered) - 1)
        return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))

    for kind in kinds:
        values = VALUES.astype(np.float64) if kind.type == StatisticType.QUANTILE else np.abs(VALUES.astype(np.float64))
        expected = [oracle(channel) for channel in values] if kind.granularity == C else [oracle(values.ravel())]
        np.testing.assert_allclose(found[kind], expected, rtol=1e-5, atol=1e-6)


WEIGHTS = np.random.default_rng(2).normal(0.5, 1, (2, 3, 4, 5)).astype(np.float32)


@pytest.mark.parametrize(
    ("axes", "count"),
    [((), 1), ((0,), 2), ((1,), 3), ((3,), 5), ((0, 1), 6), ((1, 3), 15)],
    ids=str,
)
@pytest.mark.parametrize("mode", Mode)
def test_ranges_of_weights_are_extremes_channel_by_channel(mode: Mode, axes: tuple[int, ...], count: int) -> None:
    config = QuantizerConfig(8, mode, C)
    found = weight_range(WEIGHTS, axes, config, complete(RangeEstimator(), config))
    kept = [range(WEIGHTS.shape[axis]) if axis in axes else [slice(None)] for axis in range(WEIGHTS.ndim)]
    channels = [WEIGHTS[a, b, c, d] for a in kept[0] for b in kept[1] for c in kept[2] for d in kept[3]]
    assert found.low.shape == found.high.shape == (count,)
    np.testing.assert_array_equal(found.low, [channel.min() for channel in channels])
    largest = [np.abs(channel).max() if mode == SYMMETRIC else channel.max() for channel in channels]
    np.testing.assert_array_equal(found.high, largest)


def test_ranges_of_weights_by_quantiles() -> None:
    wish = RangeEstimator(EstimatorPreset.QUANTILE, max=Border(outlier_prob=0.1))
    config = QuantizerConfig(8, SYMMETRIC, C)
    found = weight_range(VALUES, (0,), config, complete(wish, config))
    np.testing.assert_allclose(found.high, np.quantile(np.abs(VALUES.astype(np.float64)), 0.9, axis=1), rtol=1e-5)


def naive_hodges_lehmann(values: NDArray[np.float64]) -> float:
    return float(np.median([(a + b) / 2 for a, b in combinations(values, 2)] or values))


def without_outliers(
    reduce: Callable[[NDArray[np.float64]], np.float64],
) -> Callable[[NDArray[np.float64]], np.float64]:
    def kept(values: NDArray[np.float64]) -> np.float64:
        low, high = np.quantile(values, OUTLIERS)
        inside = [value for value in values if low <= value <= high]
        return reduce(np.array(inside or values))

    return kept


ORACLES: dict[Aggregator, Callable[[NDArray[np.float64]], np.float64 | float]] = {
    Aggregator.MEAN: np.mean,
    Aggregator.MAX: np.max,
    Aggregator.MIN: np.min,
    Aggregator.MEDIAN: np.median,
    Aggregator.MEAN_NO_OUTLIERS: without_outliers(np.mean),
    Aggregator.MEDIAN_NO_OUTLIERS: without_outliers(np.median),
    Aggregator.HL_ESTIMATOR: naive_hodges_lehmann,
}


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 40, 301])
@pytest.mark.parametrize("aggregator", Aggregator)
def test_aggregators_take_channels_one_by_one(aggregator: Aggregator, samples: int) -> None:
    values = np.random.default_rng(samples).normal(100, 30, (samples, 3)).astype(np.float32)
    expected = [ORACLES[aggregator](channel) for channel in values.T.astype(np.float64)]
    found = aggregate(values, aggregator)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("aggregator", Aggregator)
def test_samples_without_values_do_not_count(aggregator: Aggregator) -> None:
    seen = rows((1, 2), (3, 5), (8, 4))
    with_empty = np.insert(seen, [0, 2], np.nan, axis=0)
    np.testing.assert_array_equal(aggregate(with_empty, aggregator), aggregate(seen, aggregator))
    np.testing.assert_array_equal(aggregate(np.full((2, 3), np.nan, np.float32), aggregator), [0, 0, 0])


@pytest.mark.parametrize("config", CONFIGS, ids=config_id)
def test_ranges_without_the_samples_that_have_no_values(config: QuantizerConfig) -> None:
    low, high = (np.insert(each, 1, np.nan, axis=0) for each in (STATISTIC.minimum, STATISTIC.maximum))
    found = estimate_range(TensorStatistic(low, high), config, complete(RangeEstimator(), config))
    assert (found.low.tolist(), found.high.tolist()) == estimate(config)


def test_outliers_are_left_out() -> None:
    values = np.append(np.linspace(0, 1, 200), 1e6).astype(np.float32)[:, None]
    assert aggregate(values, Aggregator.MEAN)[0] > 1000
    assert aggregate(values, Aggregator.MEAN_NO_OUTLIERS)[0] == pytest.approx(0.5, abs=0.02)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=12))
def test_hodges_lehmann_is_the_median_of_the_means_of_pairs(values: list[float]) -> None:
    found = hodges_lehmann(np.array(values, np.float64))
    assert found == pytest.approx(naive_hodges_lehmann(np.array(values, np.float64)), rel=1e-9, abs=1e-9)


def test_hodges_lehmann_needs_no_matrix_of_pairs() -> None:
    values = np.random.default_rng(0).normal(size=20_000)
    tracemalloc.start()
    found = hodges_lehmann(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * values.nbytes  # a matrix of all pairs takes 3 GB
    assert found == pytest.approx(0, abs=0.05)
