"""Ranges of least error against a search with the real FakeQuantize, and what they are good for on unseen samples."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.numerics.affine import (
    Granularity,
    Mode,
    QuantizerConfig,
    Range,
    activation_parameters,
    fake_quantize,
    weight_parameters,
)
from tasks.numerics.minimal_error import CHANNEL_SHARES, SHARES, activation_range, weight_range
from tasks.numerics.statistics import TensorStatistic

Array = NDArray[Any]
P, C = Granularity.PERTENSOR, Granularity.PERCHANNEL
SAMPLES, CHANNELS, PLACES = 40, 8, 64

DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "relu": lambda rng, shape: np.maximum(rng.normal(size=shape), 0),
    "laplace": lambda rng, shape: rng.laplace(size=shape),
    "swish": lambda rng, shape: (x := rng.normal(size=shape) * 3) / (1 + np.exp(-x)),
    "negative": lambda rng, shape: -np.abs(rng.normal(size=shape)),
    "rare-and-large": lambda rng, shape: rng.normal(size=shape) * np.where(rng.random(shape) < 1e-3, 50, 1),
}


def draw(name: str, seed: int = 0) -> Array:
    shape = (SAMPLES, CHANNELS, PLACES)
    return DISTRIBUTIONS[name](np.random.default_rng(seed), shape).astype(np.float32)


def observed(tensor: Array, places: int = PLACES) -> TensorStatistic:
    values = tensor[:, :, : places or 1].reshape(len(tensor), -1)
    return TensorStatistic(tensor.min(axis=2), tensor.max(axis=2), values=values if places else None)


def error(tensor: Array, values: Range, config: QuantizerConfig) -> float:
    limits = activation_parameters(values, config)
    return float(np.square(fake_quantize(tensor, limits, (1,)) - tensor).mean())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_no_share_of_the_extremes_is_much_better(name: str, mode: Mode, bits: int) -> None:
    tensor, unseen = draw(name), draw(name, seed=1)
    config = QuantizerConfig(bits, mode)
    found = activation_range(observed(tensor), config, CHANNELS * PLACES)
    low, high = min(float(tensor.min()), 0.0), max(float(tensor.max()), 0.0)
    if mode == Mode.SYMMETRIC and low < 0:
        high = max(high, -low)
    borders = [(share * low, share * high) for share in np.linspace(0.2, 1.2, 21)]
    tried = [Range(*(np.array([border], np.float32) for border in pair)) for pair in borders]
    # The best of each set in hindsight: room for unseen samples costs a little on those seen.
    assert error(tensor, found, config) <= 1.5 * min(error(tensor, each, config) for each in tried)
    assert error(unseen, found, config) <= 1.7 * min(error(unseen, each, config) for each in tried)
    assert error(unseen, found, config) <= 1.3 * error(unseen, tried[16], config)  # the extremes


@pytest.mark.parametrize("mode", Mode)
def test_more_levels_want_wider_ranges(mode: Mode) -> None:
    statistic = observed(draw("laplace"))
    widths = []
    for bits in (3, 4, 6, 8):
        found = activation_range(statistic, QuantizerConfig(bits, mode), CHANNELS * PLACES)
        widths.append(float((found.high - found.low).item()))
    assert widths == sorted(widths)
    assert widths[0] < 0.7 * widths[-1]


def test_rare_values_that_a_sketch_misses_are_not_cut_off() -> None:
    tensor = np.abs(draw("normal"))
    tensor[::3, 2, 60] = 40  # a sketch of the first places sees none of them
    found = activation_range(observed(tensor, places=8), QuantizerConfig(8), CHANNELS * PLACES)
    assert found.high[0] > 35


def test_channels_that_are_seldom_active_get_room_for_unseen_samples() -> None:
    generator = np.random.default_rng(5)

    def sparse() -> Array:
        active = generator.random((SAMPLES, CHANNELS * 16, 49)) < 5e-4
        return np.where(active, generator.exponential(1.0, active.shape), 0).astype(np.float32)

    seen, unseen = sparse(), sparse()
    config = QuantizerConfig(8, granularity=C)
    found = activation_range(observed(seen), config, seen[0].size)
    extremes = Range(seen.min(axis=(0, 2)), seen.max(axis=(0, 2)))
    assert error(unseen, found, config) < 0.5 * error(unseen, extremes, config)
    assert (found.high <= seen.max() + 1e-6).all()


def test_channels_that_are_well_known_keep_scales_of_their_own() -> None:
    widths = np.array([1, 2, 4, 8, 16, 32, 64, 128], np.float32).reshape(1, -1, 1)
    tensor = np.abs(draw("normal")) * widths
    config = QuantizerConfig(8, granularity=C)
    found = activation_range(observed(tensor), config, CHANNELS * PLACES)
    np.testing.assert_array_less(tensor.max(axis=(0, 2)) * 0.5, found.high)
    assert found.high[0] < 0.1 * found.high[-1]


@pytest.mark.parametrize("granularity", Granularity)
@pytest.mark.parametrize("mode", Mode)
def test_sides_of_zero(mode: Mode, granularity: Granularity) -> None:
    config = QuantizerConfig(8, mode, granularity)
    one_sided = activation_range(observed(draw("relu")), config, CHANNELS * PLACES)
    assert (one_sided.low == 0).all() and (one_sided.high > 0).all()
    both = activation_range(observed(draw("normal")), config, CHANNELS * PLACES)
    assert (both.low < 0).all() and (both.high > 0).all()
    if mode == Mode.SYMMETRIC:
        np.testing.assert_array_equal(both.low, -both.high)
    assert both.low.shape == ((CHANNELS,) if granularity == C else (1,))


@pytest.mark.parametrize("samples", [1, 2, 3, 7])
@pytest.mark.parametrize("granularity", Granularity)
def test_few_samples_are_enough(samples: int, granularity: Granularity) -> None:
    tensor = draw("normal")[:samples]
    found = activation_range(observed(tensor), QuantizerConfig(8, granularity=granularity), CHANNELS * PLACES)
    assert np.isfinite(found.high).all() and (found.high > 0.5).all()


def test_samples_without_values_do_not_count() -> None:
    tensor = draw("relu")
    whole = observed(tensor)
    holes = np.array([each for sample in whole.maximum for each in (sample, np.full_like(sample, np.nan))])
    values = np.repeat(whole.values, 2, axis=0) if whole.values is not None else None
    statistic = TensorStatistic(np.where(np.isnan(holes), holes, 0), holes, values=values)
    config = QuantizerConfig(8)
    expected = activation_range(whole, config, CHANNELS * PLACES)
    np.testing.assert_array_equal(activation_range(statistic, config, CHANNELS * PLACES).high, expected.high)
    nothing = TensorStatistic(holes[1:2], holes[1:2])
    assert activation_range(nothing, config, 1).high == 0


def test_zeros_and_constants() -> None:
    for value in (0.0, 2.0):
        tensor = np.full((4, CHANNELS, 5), value, np.float32)
        for granularity in Granularity:
            found = activation_range(observed(tensor), QuantizerConfig(8, granularity=granularity), CHANNELS * 5)
            assert (found.high >= 0.9 * value).all() and np.isfinite(found.high).all()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("mode", Mode)
def test_weights_of_least_error_beat_extremes_channel_by_channel(mode: Mode, bits: int) -> None:
    weights = np.random.default_rng(2).laplace(size=(16, 200)).astype(np.float32)
    config = QuantizerConfig(bits, mode, C)
    low, high = weights.min(axis=1), weights.max(axis=1)
    if mode == Mode.SYMMETRIC:
        high = np.maximum(high, -low)

    def errors(values: Range) -> Array:
        quantized = fake_quantize(weights, weight_parameters(values, config, 1e-20), (0,))
        return np.asarray(np.square(quantized - weights).sum(axis=1))

    found, plain = errors(weight_range(weights, config)), errors(Range(low, high))
    # Zero moves to a level afterwards, which may cost an asymmetric channel a little.
    assert (found <= plain * (1 + 1e-5 if mode == Mode.SYMMETRIC else 1.1)).all()
    if bits <= 4:
        assert found.sum() < 0.9 * plain.sum()


def test_channels_of_zeros_are_quantizable() -> None:
    found = weight_range(np.zeros((2, 5), np.float32), QuantizerConfig(8, granularity=C))
    assert (found.high == 0).all() and (found.low == 0).all()


def test_the_extremes_themselves_are_tried() -> None:
    assert 1.0 in SHARES and 1.0 in CHANNEL_SHARES
