"""FakeQuantize against OpenVINO's, and where zero lies in a range."""

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.numerics.affine import (
    CHANNEL_FLOOR,
    SMALLEST_RANGE,
    FakeQuantizeParameters,
    Mode,
    QuantizerConfig,
    Range,
    activation_parameters,
    align_zero,
    broadcast_channels,
    count_levels,
    fake_quantize,
    floor_channels,
    largest_magnitude,
    level_bounds,
    signed_range,
    smallest_range,
    unify_parameters,
    weight_parameters,
    widen_for_saturation,
)

Array = NDArray[np.float32]
SYMMETRIC, ASYMMETRIC = Mode.SYMMETRIC, Mode.ASYMMETRIC
EIGHT = QuantizerConfig(8, SYMMETRIC)
EIGHT_ASYMMETRIC = QuantizerConfig(8, ASYMMETRIC)

bits = st.integers(2, 8)
modes = st.sampled_from(Mode)


@st.composite
def leveled(draw: st.DrawFn) -> QuantizerConfig:
    """Levels of the user's own: at least three, zero among them, no more than the bits have."""
    count = draw(bits)
    high = draw(st.integers(1, 2**count - 1))
    low = draw(st.integers(high - 2**count + 1, min(0, high - 2)) if high > 1 else st.integers(2 - 2**count, -1))
    return QuantizerConfig(count, draw(modes), level_low=low, level_high=high)


configs = st.builds(QuantizerConfig, bits=bits, mode=modes) | leveled()
# Magnitudes over many decades; what is smaller than the smallest range counts as zero anyway.
numbers = st.builds(lambda sign, power: float(sign * 10.0**power), st.sampled_from([-1, 0, 1]), st.floats(-5, 6))


def array(*values: float) -> Array:
    return np.array(values, np.float32)


def span(*values: float) -> Range:
    return Range(array(min(values)), array(max(values)))


@st.composite
def channel_ranges(draw: st.DrawFn) -> Range:
    pairs = draw(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=4))
    return Range(array(*map(min, pairs)), array(*map(max, pairs)))


def magnitudes(values: Range) -> Range:
    high = largest_magnitude(values)
    return Range(-high, high)


def weights_of(values: Range, config: QuantizerConfig) -> FakeQuantizeParameters:
    return weight_parameters(magnitudes(values) if config.mode == SYMMETRIC else values, config)


def zero_level(parameters: FakeQuantizeParameters) -> NDArray[np.float64]:
    low, high = parameters.input_low.astype(np.float64), parameters.input_high.astype(np.float64)
    return -low / (high - low) * (parameters.levels - 1)


def assert_zero_is_a_level(parameters: FakeQuantizeParameters) -> None:
    level = zero_level(parameters)
    np.testing.assert_allclose(level, np.rint(level), rtol=0, atol=1e-4)
    zeros = np.zeros(parameters.input_low.shape, np.float32)
    assert np.all(np.abs(fake_quantize(zeros, parameters, (0,))) <= 1e-4 * step(parameters, zeros.shape, (0,)))


def step(parameters: FakeQuantizeParameters, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """The distance of two levels."""
    return broadcast_channels(
        (parameters.input_high - parameters.input_low) / np.float32(parameters.levels - 1), shape, axes
    )


def openvino_fake_quantize(values: Array, parameters: FakeQuantizeParameters, axes: tuple[int, ...]) -> Array:
    limits = [
        ops.constant(broadcast_channels(limit, values.shape, axes))
        for limit in (parameters.input_low, parameters.input_high, parameters.output_low, parameters.output_high)
    ]
    node = ops.fake_quantize(ops.constant(values), *limits, parameters.levels)
    result = ov.Tensor(ov.Type.f32, ov.Shape(values.shape))
    assert node.evaluate([result], [ov.Tensor(values), *(ov.Tensor(limit.data) for limit in limits)])
    return np.array(result.data)


@st.composite
def quantized_tensors(draw: st.DrawFn) -> tuple[Array, FakeQuantizeParameters, tuple[int, ...]]:
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    config = draw(configs)
    axes: tuple[int, ...] = ()
    if draw(st.booleans()):
        first = draw(st.integers(0, len(shape) - 1))
        axes = tuple(range(first, draw(st.integers(first, min(first + 1, len(shape) - 1))) + 1))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = generator.normal(draw(st.floats(-2, 2)), draw(st.floats(0.01, 100)), shape).astype(np.float32)
    reduced = tuple(axis for axis in range(len(shape)) if axis not in axes)
    # Part of the values lies outside.
    extremes = Range(values.min(axis=reduced).reshape(-1) * 0.8, values.max(axis=reduced).reshape(-1) * 0.8)
    make = draw(st.sampled_from([weights_of, activation_parameters]))
    return values, make(extremes, config), axes


@given(quantized_tensors())
def test_fake_quantize_is_openvinos(case: tuple[Array, FakeQuantizeParameters, tuple[int, ...]]) -> None:
    values, parameters, axes = case
    expected = openvino_fake_quantize(values, parameters, axes)
    found = fake_quantize(values, parameters, axes)
    assert found.dtype == np.float32
    assert np.all(np.abs(found - expected) <= 1e-3 * step(parameters, values.shape, axes))


def test_fake_quantize_of_other_output_limits() -> None:
    parameters = FakeQuantizeParameters(array(0), array(3), array(-10), array(20), 4)
    values = array(-1, 0, 0.4, 0.6, 2.4, 3, 99)
    np.testing.assert_allclose(fake_quantize(values, parameters), [-10, -10, -10, 0, 10, 20, 20])
    np.testing.assert_allclose(openvino_fake_quantize(values, parameters, ()), [-10, -10, -10, 0, 10, 20, 20])


@given(quantized_tensors())
def test_there_are_no_more_values_than_levels(case: tuple[Array, FakeQuantizeParameters, tuple[int, ...]]) -> None:
    values, parameters, axes = case
    dense = np.linspace(values.min(), values.max(), 2000, dtype=np.float32)
    low, high = parameters.input_low[:1], parameters.input_high[:1]
    single = FakeQuantizeParameters(low, high, low, high, parameters.levels)
    assert len(np.unique(fake_quantize(dense, single))) <= parameters.levels
    again = fake_quantize(fake_quantize(values, parameters, axes), parameters, axes)
    change = np.abs(again - fake_quantize(values, parameters, axes))
    assert np.all(change <= 1e-3 * step(parameters, values.shape, axes))


def test_channels_have_limits_of_their_own() -> None:
    values = np.ones((2, 3, 2, 5), np.float32)
    limits = np.arange(1, 7, dtype=np.float32) / np.float32(2)
    parameters = FakeQuantizeParameters(-limits, limits, -limits, limits, 255)
    found = fake_quantize(values, parameters, (0, 1))
    expected = np.minimum(limits, 1).reshape(2, 3, 1, 1) * np.ones_like(values)
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize(
    ("config", "weights", "expected"),
    [
        pytest.param(EIGHT, True, (-127, 127, 255), id="weights"),
        pytest.param(EIGHT_ASYMMETRIC, True, (-128, 127, 256), id="asymmetric-weights"),
        pytest.param(EIGHT, False, (-128, 127, 256), id="activations"),
        pytest.param(EIGHT_ASYMMETRIC, False, (-128, 127, 256), id="asymmetric-activations"),
        pytest.param(QuantizerConfig(4, SYMMETRIC), True, (-7, 7, 15), id="4-bits"),
        pytest.param(QuantizerConfig(2, SYMMETRIC), True, (-1, 1, 3), id="2-bits"),
        pytest.param(QuantizerConfig(8, SYMMETRIC, level_low=-64, level_high=63), True, (-64, 63, 128), id="given"),
        pytest.param(QuantizerConfig(8, SYMMETRIC, level_low=-128), True, (-128, 127, 256), id="low-given"),
        pytest.param(QuantizerConfig(8, SYMMETRIC, level_low=0, level_high=255), False, (0, 255, 256), id="unsigned"),
    ],
)
def test_levels(config: QuantizerConfig, *, weights: bool, expected: tuple[int, int, int]) -> None:
    assert (*level_bounds(config, weights=weights), count_levels(config, weights=weights)) == expected


@given(channel_ranges(), configs)
def test_zero_is_a_level_of_asymmetric_activations(values: Range, config: QuantizerConfig) -> None:
    assert_zero_is_a_level(activation_parameters(values, replace(config, mode=ASYMMETRIC)))


@given(channel_ranges(), configs)
def test_zero_is_a_level_of_symmetric_activations(values: Range, config: QuantizerConfig) -> None:
    parameters = activation_parameters(magnitudes(values), replace(config, mode=SYMMETRIC))
    assert_zero_is_a_level(parameters)
    assert np.all(zero_level(parameters) - parameters.levels // 2 < 1e-4)


@given(channel_ranges(), configs)
def test_zero_is_a_level_of_weights_also_of_halved_ones(values: Range, config: QuantizerConfig) -> None:
    parameters = weights_of(values, config)
    assert_zero_is_a_level(parameters)
    assert_zero_is_a_level(widen_for_saturation(parameters))


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=4), configs)
def test_zero_is_a_level_of_united_activations(pairs: list[tuple[float, float]], config: QuantizerConfig) -> None:
    members = [activation_parameters(span(*pair), config) for pair in pairs]
    united = unify_parameters(members)
    assert_zero_is_a_level(united)
    # What is cut off rounds to zero anyway, by the levels of the range that holds all members.
    lows, highs = ([getattr(member, name) for member in members] for name in ("input_low", "input_high"))
    half = 0.5001 * (np.max(highs) - np.min(lows)) / (united.levels - 1)
    assert all(np.all(united.input_low <= member.input_low + half) for member in members)
    assert all(np.all(united.input_high >= member.input_high - half) for member in members)
    assert united.levels == members[0].levels


def test_unsigned_activations_use_all_levels_above_zero() -> None:
    unsigned, signed = activation_parameters(span(0, 6), EIGHT), activation_parameters(span(-1, 6), EIGHT)
    assert (unsigned.input_low[0], unsigned.input_high[0]) == (0, 6)
    np.testing.assert_allclose(signed.input_low, -6 * 256 / 254, rtol=1e-6)


def test_one_channel_below_zero_makes_all_signed() -> None:
    parameters = activation_parameters(Range(array(0, -1), array(6, 6)), EIGHT)
    assert np.all(parameters.input_low < -6)


def test_negative_levels_force_a_signed_range() -> None:
    forced = QuantizerConfig(8, SYMMETRIC, level_low=-128, level_high=127)
    assert activation_parameters(span(0, 6), forced).input_low[0] < -6


@pytest.mark.parametrize("levels", [3, 4, 15, 16, 128, 255, 256])
def test_signed_ranges_have_levels_on_both_sides(levels: int) -> None:
    found = signed_range(array(2.54), levels)
    below = -found.low[0] / (found.high[0] - found.low[0]) * (levels - 1)
    assert below == pytest.approx(levels // 2)
    assert found.high[0] == np.float32(2.54)


@given(channel_ranges(), st.integers(3, 256))
def test_align_zero_cuts_off_only_what_rounds_to_zero(values: Range, levels: int) -> None:
    found = align_zero(values, levels)
    # By the levels of the range as it was, zero included; very narrow ones are widened first.
    whole = np.maximum(values.high, 0).astype(np.float64) - np.minimum(values.low, 0) + 2 * SMALLEST_RANGE
    half = 0.5001 * whole / (levels - 1)
    assert np.all((found.low <= values.low) | ((found.low == 0) & (values.low >= -half)))
    assert np.all((found.high >= values.high) | ((found.high == 0) & (values.high <= half)))
    assert np.all(found.low <= 0)
    assert np.all(found.high >= 0)
    assert np.all(found.high - found.low >= np.float32(SMALLEST_RANGE))


@given(channel_ranges())
def test_align_zero_widens_by_half_a_level_of_the_smaller_side(values: Range) -> None:
    found = align_zero(values, 256)
    plain = np.maximum(values.high, 0).astype(np.float64) - np.minimum(values.low, 0)
    # At worst a side of 1.5 levels becomes one of a single level.
    assert np.all(found.high.astype(np.float64) - found.low <= 1.5001 * plain + 4 * SMALLEST_RANGE)


@given(channel_ranges(), st.sampled_from([4, 255, 256]))
def test_a_unified_zero_is_the_same_level_in_all_channels_and_cuts_nothing_off(values: Range, levels: int) -> None:
    found = align_zero(values, levels, unified=True)
    assert np.all(found.low <= np.minimum(values.low, 0))
    assert np.all(found.high >= np.maximum(values.high, 0))
    zero = -found.low.astype(np.float64) / (found.high.astype(np.float64) - found.low) * (levels - 1)
    np.testing.assert_allclose(zero, np.rint(zero[0]), atol=1e-3)


def test_a_unified_zero_is_the_mean_of_all() -> None:
    config = QuantizerConfig(8, ASYMMETRIC, unified_zero_point=True)
    found = weight_parameters(Range(array(-55, -105, 0), array(200, 150, 255)), config)
    # 55, 105 and 0: 53.33 on average.
    np.testing.assert_allclose(found.input_low, array(-55, -105, -255 * 53 / 202), rtol=1e-6)
    np.testing.assert_allclose(found.input_high, array(55 * 202 / 53, 105 * 202 / 53, 255), rtol=1e-6)


def test_align_zero_leaves_what_is_aligned() -> None:
    found = align_zero(Range(array(-1, 0, -255), array(254, 255, 0)), 256)
    np.testing.assert_allclose(found.low, [-1, 0, -255], rtol=1e-6)
    np.testing.assert_allclose(found.high, [254, 255, 0], rtol=1e-6)


@pytest.mark.parametrize("side", [1e-3, 0.19])
def test_a_side_of_less_than_half_a_level_ends_at_zero(side: float) -> None:
    for values, expected in ((span(-side, 100), (0, 100)), (span(-100, side), (-100, 0))):
        parameters = activation_parameters(values, EIGHT_ASYMMETRIC)
        assert_zero_is_a_level(parameters)
        assert (parameters.input_low[0], parameters.input_high[0]) == expected


def test_floors_of_channels() -> None:
    np.testing.assert_allclose(floor_channels(array(0, 0.05, 0.2, 10)), [CHANNEL_FLOOR * 10, 0.1, 0.2, 10])
    np.testing.assert_allclose(floor_channels(array(0, 0)), SMALLEST_RANGE / 10)


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-7, 1e6])
@pytest.mark.parametrize("config", [EIGHT, EIGHT_ASYMMETRIC], ids=lambda config: config.mode)
def test_constant_tensors_keep_their_value(value: float, config: QuantizerConfig) -> None:
    values = np.full((2, 3), value, np.float32)
    for parameters in (weights_of(span(value), config), activation_parameters(span(value), config)):
        assert np.all(np.isfinite([parameters.input_low, parameters.input_high]))
        assert np.all(parameters.input_low < parameters.input_high)
        if value >= 0 or config.mode == ASYMMETRIC or parameters.levels == 255:
            np.testing.assert_allclose(fake_quantize(values, parameters), value, rtol=0.005, atol=SMALLEST_RANGE)


@given(channel_ranges(), configs)
def test_halved_weights_use_half_of_the_levels(values: Range, config: QuantizerConfig) -> None:
    parameters = weights_of(values, config)
    halved = widen_for_saturation(parameters)
    assert halved.levels == parameters.levels
    np.testing.assert_array_equal(halved.input_high, 2 * parameters.input_high)
    np.testing.assert_array_equal(halved.output_low, halved.input_low)
    widths = (parameters.input_high - parameters.input_low) / (halved.input_high - halved.input_low)
    np.testing.assert_allclose(widths, 0.5, rtol=1e-6)


@given(channel_ranges(), configs)
def test_limits_are_float32_one_a_channel_and_equal_on_both_sides(values: Range, config: QuantizerConfig) -> None:
    for parameters in (weights_of(values, config), activation_parameters(values, config)):
        limits = (parameters.input_low, parameters.input_high, parameters.output_low, parameters.output_high)
        assert {limit.dtype for limit in limits} == {np.dtype(np.float32)}
        assert {limit.shape for limit in limits} == {values.low.shape}
        np.testing.assert_array_equal(parameters.input_low, parameters.output_low)
        np.testing.assert_array_equal(parameters.input_high, parameters.output_high)


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        pytest.param((2, 3, 4), (1,), (1, 3, 1), id="one-axis"),
        pytest.param((2, 3, 4), (0, 1), (2, 3, 1), id="two-axes"),
        pytest.param((2, 3), (), (1, 1), id="pertensor"),
        pytest.param((), (), (), id="no-axis"),
    ],
)
def test_limits_are_spread_over_their_axes(shape: tuple[int, ...], axes: tuple[int, ...], expected: object) -> None:
    count = int(np.prod([shape[axis] for axis in axes]))
    assert broadcast_channels(np.ones(count, np.float32), shape, axes).shape == expected


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("low", [-1.0, 0.0, 0.25])
def test_limits_of_small_units_are_those_of_large_ones(mode: Mode, low: float) -> None:
    """Where nothing has to equal DefaultQuantization's smallest range: a unit is a power of two here."""
    unit = np.float32(2.0**-24)
    values = Range(np.array([low], np.float32), np.array([0.75], np.float32))
    small = Range(values.low * unit, values.high * unit)
    config = QuantizerConfig(8, mode)
    usual, found = (activation_parameters(each, config, smallest_range(each)) for each in (values, small))
    np.testing.assert_allclose(found.input_low, usual.input_low * unit, rtol=1e-6)
    np.testing.assert_allclose(found.input_high, usual.input_high * unit, rtol=1e-6)


def test_a_tensor_of_zeros_has_a_range() -> None:
    zeros = Range(np.zeros(1, np.float32), np.zeros(1, np.float32))
    assert smallest_range(zeros) > 0
    for mode in Mode:
        limits = activation_parameters(zeros, QuantizerConfig(8, mode), smallest_range(zeros))
        assert (limits.input_high > limits.input_low).all()
