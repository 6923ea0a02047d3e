"""Smoothing factors against the error that 8-bit products really make."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.numerics.smoothing import LevelsPerSide, smoothing_factors

Array = NDArray[np.float64]
SAMPLES, TOKENS, FEATURES, OUTPUTS = 20, 30, 24, 16


def draw(outliers: float, seed: int = 0) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(SAMPLES, TOKENS, FEATURES))
    values[..., 3] *= outliers
    return values, generator.normal(size=(OUTPUTS, FEATURES))


def peaks_of(values: Array) -> NDArray[np.float32]:
    return np.asarray(np.abs(values).max(axis=1), np.float32)


def nearest(values: Array, step: Array | float) -> Array:
    return np.asarray(np.clip(np.rint(values / step), -127, 127) * step)


def product_error(values: Array, weights: Array, factors: Array, steps: int = 127) -> float:
    divided, scaled = values / factors, weights * factors
    quantized = nearest(divided, np.abs(divided).max() / 127)
    rounded = nearest(scaled, np.abs(scaled).max(axis=1, keepdims=True) / steps)
    return float(np.square(quantized @ rounded.T - values @ weights.T).mean())


@pytest.mark.parametrize("outliers", [1.0, 10.0, 100.0])
def test_products_are_never_worse(outliers: float) -> None:
    values, weights = draw(outliers)
    factors = smoothing_factors(peaks_of(values), [weights])
    plain = product_error(values, weights, np.ones(FEATURES))
    assert product_error(values, weights, factors) <= 1.05 * plain
    if outliers > 1:
        assert product_error(values, weights, factors) < 0.5 * plain


def test_weights_of_few_levels_take_less_of_an_outlier() -> None:
    values, weights = draw(20)
    wide, narrow = (smoothing_factors(peaks_of(values), [weights], LevelsPerSide(weights=steps)) for steps in (127, 7))
    assert narrow[3] < 0.5 * wide[3]
    assert product_error(values, weights, narrow, 7) < product_error(values, weights, wide, 7)
    assert product_error(values, weights, narrow, 7) <= product_error(values, weights, np.ones(FEATURES), 7)


def test_factors_have_reciprocals_in_half_precision() -> None:
    values, weights = draw(20)
    values[..., 0] *= 1e-30
    factors = smoothing_factors(peaks_of(values), [weights])
    assert np.isfinite((1 / factors).astype(np.float16)).all()
    assert (factors.astype(np.float16) > 0).all()


def test_the_outlier_is_divided_most() -> None:
    values, weights = draw(50)
    factors = smoothing_factors(peaks_of(values), [weights])
    assert factors.argmax() == 3
    assert factors[3] > 5 * np.median(factors)


def test_factors_do_not_depend_on_how_products_are_split() -> None:
    values, weights = draw(20)
    whole = smoothing_factors(peaks_of(values), [weights])
    np.testing.assert_allclose(smoothing_factors(peaks_of(values), [weights[:5], weights[5:]]), whole)


def test_dead_features_stay_as_they_are() -> None:
    values, weights = draw(20)
    values[..., 0], weights[:, 1] = 0, 0
    factors = smoothing_factors(peaks_of(values), [weights])
    assert factors[0] == factors[1] == 1
    assert np.isfinite(factors).all() and (factors > 0).all()
    np.testing.assert_array_equal(smoothing_factors(np.zeros((3, 4), np.float32), [np.zeros((2, 4))]), 1)


def test_samples_without_values_do_not_count() -> None:
    values, weights = draw(20)
    peaks = peaks_of(values)
    holes = np.concatenate([peaks, np.full((2, FEATURES), np.nan, np.float32)])
    np.testing.assert_array_equal(smoothing_factors(holes, [weights]), smoothing_factors(peaks, [weights]))
