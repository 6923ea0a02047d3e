"""Quantiles at the ends of samples against numpy's, which sorts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tasks.numerics.affine import Granularity
from tasks.numerics.quantiles import largest, sample_quantiles
from tasks.numerics.statistics import Quantile, StatisticType

DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, tuple[int, int]], NDArray[Any]]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "relu": lambda rng, shape: np.maximum(rng.normal(size=shape), 0),
    "relu6": lambda rng, shape: np.clip(rng.normal(size=shape) * 5, 0, 6),
    "constant": lambda _, shape: np.full(shape, 3.0),
    "few-values": lambda rng, shape: rng.integers(-2, 3, shape),
    "heavy-tail": lambda rng, shape: rng.standard_cauchy(shape),
    "sorted": lambda rng, shape: np.sort(rng.normal(size=shape), axis=1),
    "falling": lambda rng, shape: -np.sort(rng.normal(size=shape), axis=1),
}


def sample(name: str, shape: tuple[int, int], seed: int = 0) -> NDArray[np.float32]:
    values: NDArray[np.float32] = DISTRIBUTIONS[name](np.random.default_rng(seed), shape).astype(np.float32)
    return values


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(("shape", "k"), [((1, 5000), 1), ((3, 1000), 7), ((2, 4099), 121), ((5, 64), 8)])
def test_largest_values_are_those_of_a_sort(name: str, shape: tuple[int, int], k: int) -> None:
    values = sample(name, shape)
    np.testing.assert_array_equal(largest(values, k), np.sort(values, axis=1)[:, ::-1][:, :k])


@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(sorted(DISTRIBUTIONS)),
    rows=st.integers(1, 4),
    count=st.integers(1, 3000),
    outlier_prob=st.floats(1e-6, 0.49),
)
@settings(max_examples=150, deadline=None)
def test_quantiles_equal_those_of_numpy(seed: int, name: str, rows: int, count: int, outlier_prob: float) -> None:
    values = sample(name, (rows, count), seed)
    asked = tuple(
        Quantile(kind, probability, granularity)
        for kind in (StatisticType.QUANTILE, StatisticType.ABS_QUANTILE)
        for probability in (outlier_prob, 1 - outlier_prob)
        for granularity in Granularity
    )
    found = sample_quantiles(values, asked)
    for quantile in asked:
        data = np.abs(values) if quantile.type == StatisticType.ABS_QUANTILE else values
        data = data if quantile.granularity == Granularity.PERCHANNEL else data.reshape(1, -1)
        expected = np.quantile(data.astype(np.float64), quantile.probability, axis=1)
        np.testing.assert_allclose(found[quantile], expected, rtol=1e-5, atol=1e-6, err_msg=str(quantile))


def test_each_quantile_is_the_same_alone_and_among_others() -> None:
    values = sample("normal", (4, 9000))
    asked = [
        Quantile(StatisticType.QUANTILE, 1e-3, Granularity.PERCHANNEL),
        Quantile(StatisticType.QUANTILE, 1 - 1e-4, Granularity.PERCHANNEL),
        Quantile(StatisticType.ABS_QUANTILE, 1 - 1e-3, Granularity.PERCHANNEL),
    ]
    together = sample_quantiles(values, asked)
    for quantile in asked:
        np.testing.assert_array_equal(sample_quantiles(values, [quantile])[quantile], together[quantile])


def test_values_are_not_changed() -> None:
    values = sample("normal", (2, 500))
    before = values.copy()
    sample_quantiles(values, [Quantile(StatisticType.ABS_QUANTILE, 0.999, Granularity.PERTENSOR)])
    np.testing.assert_array_equal(values, before)


def test_without_negative_values_lower_quantiles_are_zero_and_upper_ones_unchanged() -> None:
    values = np.abs(sample("normal", (3, 4000))) + 1
    lower = Quantile(StatisticType.QUANTILE, 1e-3, Granularity.PERTENSOR)
    upper = [
        Quantile(kind, 1 - 1e-3, Granularity.PERTENSOR) for kind in (StatisticType.QUANTILE, StatisticType.ABS_QUANTILE)
    ]
    found = sample_quantiles(values, [lower, *upper], non_negative=True)
    plain = sample_quantiles(values, upper)
    assert found[lower] == 0
    for quantile in upper:
        np.testing.assert_array_equal(found[quantile], plain[quantile])
