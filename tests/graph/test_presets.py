"""Which configuration a point gets: the device's, the preset's choice, the user's wishes first."""

import pytest

from tasks.graph.placement import QuantizationPoint, Role
from tasks.graph.presets import Preset, Scheme, TensorOptions, choose
from tasks.numerics.affine import Granularity, Mode, QuantizerConfig

TENSOR, CHANNEL = Granularity.PERTENSOR, Granularity.PERCHANNEL
SYMMETRIC, ASYMMETRIC = Mode.SYMMETRIC, Mode.ASYMMETRIC
FIRST = QuantizerConfig(8, SYMMETRIC, CHANNEL, -127, 127)
FOUR = QuantizerConfig(4, SYMMETRIC, CHANNEL)
LAST = QuantizerConfig(8, ASYMMETRIC, CHANNEL)


def point(role: Role, *candidates: QuantizerConfig) -> QuantizationPoint:
    return QuantizationPoint("op/fq", "tensor:0", ("op:0",), role, candidates or (FIRST, FOUR, LAST), (1,))


@pytest.mark.parametrize(
    ("preset", "weights", "activations"),
    [
        pytest.param(Preset.PERFORMANCE, FIRST, FIRST, id="performance"),
        pytest.param(Preset.MIXED, FIRST, LAST, id="mixed"),
        pytest.param(Preset.ACCURACY, LAST, LAST, id="accuracy"),
    ],
)
def test_presets(preset: Preset, weights: QuantizerConfig, activations: QuantizerConfig) -> None:
    assert choose(point(Role.WEIGHTS), Scheme(preset)) == weights
    assert choose(point(Role.ACTIVATIONS), Scheme(preset)) == activations


@pytest.mark.parametrize("preset", Preset)
@pytest.mark.parametrize("role", Role)
def test_a_device_with_one_configuration_leaves_no_choice(role: Role, preset: Preset) -> None:
    assert choose(point(role, FIRST), Scheme(preset)) == FIRST


@pytest.mark.parametrize(
    ("wish", "preset", "expected"),
    [
        pytest.param(TensorOptions(bits=4), Preset.PERFORMANCE, FOUR, id="bits"),
        pytest.param(TensorOptions(bits=4), Preset.ACCURACY, FOUR, id="bits-before-preset"),
        pytest.param(TensorOptions(bits=8), Preset.ACCURACY, LAST, id="preset-among-the-rest"),
        pytest.param(TensorOptions(mode=ASYMMETRIC), Preset.PERFORMANCE, LAST, id="mode"),
        pytest.param(TensorOptions(mode=SYMMETRIC), Preset.ACCURACY, FOUR, id="last-of-the-mode"),
        pytest.param(TensorOptions(level_low=-127), Preset.ACCURACY, FIRST, id="level"),
    ],
)
def test_wishes_that_the_device_fulfils(wish: TensorOptions, preset: Preset, expected: QuantizerConfig) -> None:
    assert choose(point(Role.WEIGHTS), Scheme(preset, weights=wish)) == expected


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        pytest.param(TensorOptions(bits=6), QuantizerConfig(6, SYMMETRIC, CHANNEL), id="bits"),
        pytest.param(
            TensorOptions(bits=4, mode=ASYMMETRIC), QuantizerConfig(4, ASYMMETRIC, CHANNEL), id="bits-and-mode"
        ),
        pytest.param(
            TensorOptions(granularity=TENSOR), QuantizerConfig(8, SYMMETRIC, TENSOR, -127, 127), id="granularity"
        ),
        pytest.param(
            TensorOptions(level_low=-64, level_high=63), QuantizerConfig(8, SYMMETRIC, CHANNEL, -64, 63), id="levels"
        ),
        pytest.param(
            TensorOptions(bits=6, level_high=20), QuantizerConfig(6, SYMMETRIC, CHANNEL, None, 20), id="bits-and-level"
        ),
    ],
)
def test_wishes_that_the_device_does_not_fulfil_complete_its_choice(
    wish: TensorOptions, expected: QuantizerConfig
) -> None:
    assert choose(point(Role.WEIGHTS), Scheme(weights=wish)) == expected


def test_wishes_count_for_their_role_only() -> None:
    scheme = Scheme(Preset.PERFORMANCE, weights=TensorOptions(bits=4), activations=TensorOptions(mode=ASYMMETRIC))
    assert choose(point(Role.WEIGHTS), scheme) == FOUR
    assert choose(point(Role.ACTIVATIONS), scheme) == LAST
