"""Numbers that float32, or the squares of which float32, cannot hold: right results and no warning (which is an error).

Masks of attention hold the least number there is or infinity, broken models anything.
"""

from itertools import product
from math import inf, isnan, nan

import numpy as np
import openvino as ov
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tasks.algorithms.channel_alignment import HIGH, LOW, centre_and_width, scale_factors, shifted_and_scaled
from tasks.graph.constants import constant_value, make_constant
from tasks.numerics.activations import exponential, sigmoid, softmax
from tasks.numerics.affine import (
    Granularity,
    Mode,
    QuantizerConfig,
    Range,
    activation_parameters,
    fake_quantize,
    smallest_range,
)
from tasks.numerics.aggregators import Aggregator, aggregate
from tasks.numerics.estimators import EstimatorPreset, RangeEstimator, complete, estimate_range, needed_quantiles
from tasks.numerics.estimators import weight_range as estimate_weights
from tasks.numerics.float32 import LARGEST_FLOAT32
from tasks.numerics.metrics import cosine_similarity, decibels, expected_agreement, noise_energy, signal_energy, sqnr
from tasks.numerics.moments import measure
from tasks.numerics.quantiles import sample_quantiles
from tasks.numerics.smoothing import smoothing_factors
from tasks.numerics.statistics import TensorStatistic

LEAST = np.float32(-LARGEST_FLOAT32)
EXTREMES = [0.0, -0.0, 1e-45, 1e-38, 1.0, -1.0, 1e19, -1e19, float(LEAST), LARGEST_FLOAT32]
numbers = st.sampled_from(EXTREMES)
any_numbers = st.sampled_from([*EXTREMES, inf, -inf, nan])
CONFIGS = [QuantizerConfig(8, mode, granularity) for mode in Mode for granularity in Granularity]


def arrays(elements: st.SearchStrategy[float], *shape: int) -> st.SearchStrategy[NDArray[np.float32]]:
    size = int(np.prod(shape))
    return st.lists(elements, min_size=size, max_size=size).map(lambda each: np.array(each, np.float32).reshape(shape))


def _statistic(low: NDArray[np.float32], high: NDArray[np.float32], config: QuantizerConfig) -> TensorStatistic:
    both = np.stack([low, high])
    values = np.concatenate([low, high], axis=1)
    asked = needed_quantiles(complete(RangeEstimator(EstimatorPreset.QUANTILE), config), config.granularity)
    found = [sample_quantiles(each.reshape(-1, 1).repeat(3, axis=1), asked) for each in high]
    quantiles = {quantile: np.stack([each[quantile] for each in found]) for quantile in asked}
    return TensorStatistic(both.min(axis=0), both.max(axis=0), quantiles, values=values)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("preset", EstimatorPreset)
@given(low=arrays(any_numbers, 3, 2), high=arrays(any_numbers, 3, 2))
def test_ranges_of_anything(
    config: QuantizerConfig, preset: EstimatorPreset, low: NDArray[np.float32], high: NDArray[np.float32]
) -> None:
    statistic = _statistic(low, high, config)
    estimator = complete(RangeEstimator(preset), config)
    for clipping_weight in (1.0, 64.0):
        found = estimate_range(statistic, config, estimator, 8, clipping_weight)
        assert found.low.dtype == found.high.dtype == np.float32
    weights = estimate_weights(high, (0,), config, complete(RangeEstimator(preset), config))
    assert weights.high.dtype == np.float32


@pytest.mark.parametrize("preset", [EstimatorPreset.DEFAULT, EstimatorPreset.MSE])
@pytest.mark.parametrize("config", CONFIGS)
def test_an_infinite_tensor_has_an_infinite_range(config: QuantizerConfig, preset: EstimatorPreset) -> None:
    statistic = TensorStatistic(np.full((4, 2), -np.inf, np.float32), np.ones((4, 2), np.float32))
    found = estimate_range(statistic, config, complete(RangeEstimator(preset), config), 8)
    assert np.isinf(found.low).all()


@pytest.mark.parametrize("preset", [EstimatorPreset.DEFAULT, EstimatorPreset.MSE])
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("samples", [1, 3, 60])
def test_the_least_number_stays_a_number(config: QuantizerConfig, preset: EstimatorPreset, samples: int) -> None:
    statistic = TensorStatistic(np.full((samples, 2), LEAST), np.zeros((samples, 2), np.float32))
    found = estimate_range(statistic, config, complete(RangeEstimator(preset), config), 8)
    assert found.low.min() == LEAST


@pytest.mark.parametrize("aggregator", Aggregator)
@given(rows=arrays(any_numbers, 4, 3))
def test_aggregates_of_anything(aggregator: Aggregator, rows: NDArray[np.float32]) -> None:
    seen = rows[~np.isnan(rows).any(axis=1)]
    found = aggregate(rows, aggregator)
    finite = np.isfinite(seen).all(axis=0)
    assert np.isfinite(found[finite]).all()
    if len(seen):
        assert (found >= seen.min(axis=0)).all()
        assert (found <= seen.max(axis=0)).all()


@given(exact=arrays(any_numbers, 2, 3), found=arrays(any_numbers, 2, 3))
def test_figures_of_any_outputs(exact: NDArray[np.float32], found: NDArray[np.float32]) -> None:
    value = sqnr(exact, found)
    both = np.isnan(exact) | np.isnan(found)
    assert isnan(value) == both.any()
    if not both.any() and (exact == found).all():
        assert value == inf
    elif not both.any() and (np.isinf(exact) != np.isinf(found)).any():
        assert value == -inf
    cosine = cosine_similarity(exact, found)
    assert isnan(cosine) or -1 - 1e-9 <= cosine <= 1 + 1e-9
    agreement = expected_agreement(exact, found)
    assert isnan(agreement) or 0 <= agreement <= 1


def test_equal_infinities_are_no_error() -> None:
    exact = np.array([[-np.inf, 3.0, 4.0]], np.float32)
    found = np.array([[-np.inf, 3.0, 4.5]], np.float32)
    assert sqnr(exact, found) == pytest.approx(20.0)  # 25 : 0.25
    assert cosine_similarity(exact, found) == pytest.approx(27 / (5 * np.sqrt(29.25)))
    assert signal_energy(exact) == 25.0
    assert noise_energy(exact, -exact) == inf


def test_masked_outputs_of_the_least_number_have_a_figure() -> None:
    exact = np.array([[LEAST, 1.0]], np.float32)
    assert sqnr(exact, exact * np.float32(0.5)) == pytest.approx(20 * np.log10(2))


def test_numbers_of_float64_have_figures_too() -> None:
    largest = np.array([[np.finfo(np.float64).max, 1.0]])
    assert sqnr(largest, largest) == inf
    assert sqnr(largest, -largest) == pytest.approx(-20 * np.log10(2))


@pytest.mark.parametrize(
    ("signal", "noise", "expected"),
    [(1.0, 0.0, inf), (0.0, 1.0, -inf), (1.0, inf, -inf), (0.0, 0.0, inf), (1e-300, 1e300, -inf), (100.0, 1.0, 20.0)],
)
def test_decibels(signal: float, noise: float, expected: float) -> None:
    assert decibels(signal, noise) == expected
    assert isnan(decibels(nan, noise))


@given(scores=arrays(any_numbers, 2, 3))
def test_shares_and_sizes_of_anything(scores: NDArray[np.float32]) -> None:
    shares = softmax(scores)
    known = ~np.isnan(scores).any(axis=1)
    np.testing.assert_allclose(shares[known].sum(axis=1), 1, rtol=1e-6)
    assert np.isfinite(sigmoid(scores)[~np.isnan(scores)]).all()
    assert np.isfinite(exponential(scores)[~np.isnan(scores)]).all()


def test_usual_shares_are_those_of_the_textbook() -> None:
    values = np.linspace(-5, 5, 11)
    np.testing.assert_array_equal(sigmoid(values), 1 / (1 + np.exp(-values)))
    np.testing.assert_array_equal(exponential(values), np.exp(values))
    np.testing.assert_allclose(softmax(values), np.exp(values) / np.exp(values).sum(), rtol=1e-15)


@given(low=arrays(any_numbers, 3, 2), high=arrays(any_numbers, 3, 2))
def test_alignment_of_anything(low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
    centre, width = centre_and_width(low, high)
    assert np.isfinite(centre).all()
    assert np.isfinite(width).all()
    statistic = TensorStatistic(low, high, {LOW: low, HIGH: high})
    shifted_and_scaled(statistic, centre, scale_factors(np.abs(width)), on_grid=False)


@given(peaks=arrays(any_numbers, 3, 2), weights=arrays(numbers, 2, 2))
def test_smoothing_of_anything(peaks: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
    assert np.isfinite(smoothing_factors(np.abs(peaks), [weights.astype(np.float64)])).all()


@given(columns=arrays(any_numbers, 1, 4, 2), targets=arrays(any_numbers, 1, 4, 1))
def test_moments_of_anything(columns: NDArray[np.float32], targets: NDArray[np.float32]) -> None:
    found = measure(columns, targets, np.ones((1, 4), np.float32))
    if np.isfinite(columns).all() and np.isfinite(targets).all():
        wanted = columns[0].astype(np.float64)
        largest = max(np.abs(wanted).max() ** 2, 1e-30)  # float32 holds no products of less
        np.testing.assert_allclose(found.gram[0], np.cov(wanted.T, bias=True), rtol=1e-3, atol=1e-3 * largest)
    else:
        assert np.isnan(found.cross).all()


@pytest.mark.parametrize(("largest", "config"), list(product([1e-45, 1e-40, 1e-36, 1e-20, 1.0, 8e37], CONFIGS)))
def test_a_tensor_of_any_size_has_steps_that_float32_can_divide_by(largest: float, config: QuantizerConfig) -> None:
    values = Range(np.array([-largest], np.float32), np.array([largest], np.float32))
    limits = activation_parameters(values, config, smallest_range(values))
    step = (limits.input_high - limits.input_low) / np.float32(limits.levels - 1)
    assert np.isfinite(1 / step).all()
    quantized = fake_quantize(np.array([0.0, largest], np.float32), limits)
    assert quantized[0] == pytest.approx(0, abs=1e-3 * float(step[0]))


@pytest.mark.parametrize(("kind", "largest"), [(ov.Type.f16, 65504.0), (ov.Type.f32, LARGEST_FLOAT32)])
def test_a_constant_that_its_type_does_not_hold_is_the_largest_there_is(kind: ov.Type, largest: float) -> None:
    node = make_constant("far", np.array([1e300, -1e300, 1.0, inf]), kind)
    assert constant_value(node).tolist() == [pytest.approx(largest), pytest.approx(-largest), 1.0, inf]
