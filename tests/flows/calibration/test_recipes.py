"""Which recipes the options and a model come to."""

from dataclasses import replace

import pytest

from flows.calibration.recipes import Recipe, Traits, default_recipe, find_recipes
from tasks.config.options import QuantizationOptions
from tasks.graph.presets import Preset, Scheme, TensorOptions
from tasks.numerics.estimators import EstimatorPreset, RangeEstimator
from tasks.steps.estimate_ranges import SaturationFix

ALL, NOTHING = Traits(shares_scales=True, smoothable=True, alignable=True), Traits(False, False, False)
NO = SaturationFix.NO


def test_the_defaults_come_to_one_recipe_that_aligns_where_channels_can_be() -> None:
    assert find_recipes(QuantizationOptions(), ALL, None, NO) == (Recipe("", None, NO, align=True),)
    assert find_recipes(QuantizationOptions(), NOTHING, None, NO) == (Recipe("", None, NO),)


def test_auto_tries_each_way_with_each_way_of_the_others_the_plainest_first() -> None:
    options = QuantizationOptions(
        model_type="transformer", cross_layer_equalization="auto", smooth_quant="auto", channel_alignment="auto"
    )
    found = find_recipes(options, ALL, "transformer", NO)
    assert [(each.equalize, each.smooth, each.align) for each in found] == [
        (bool(number & 4), bool(number & 2), bool(number & 1)) for number in range(8)
    ]
    assert [each.name for each in found][:4] == [
        "",
        "align_channels",
        "smooth_activations",
        "smooth_activations and align_channels",
    ]
    assert find_recipes(options, NOTHING, "transformer", NO) == (Recipe("", "transformer", NO),)


def test_only_transformers_are_smoothed() -> None:
    options = QuantizationOptions(model_type="auto", smooth_quant="auto", channel_alignment=False)
    assert [each.smooth for each in find_recipes(options, ALL, None, NO)] == [False]
    assert [each.smooth for each in find_recipes(options, ALL, "transformer", NO)] == [False, True]


@pytest.mark.parametrize(("asked", "expected"), [(True, [True]), (False, [False]), ("auto", [False])])
def test_equalization_that_is_asked_for_needs_no_shared_scales(asked: bool, expected: list[bool]) -> None:
    options = QuantizationOptions(cross_layer_equalization=asked)
    assert [each.equalize for each in find_recipes(options, NOTHING, None, NO)] == expected


def test_a_step_that_all_recipes_take_sets_none_apart() -> None:
    options = QuantizationOptions(cross_layer_equalization=True, channel_alignment="auto")
    assert [each.name for each in find_recipes(options, ALL, None, NO)] == ["", "align_channels"]


def test_the_recipe_of_the_default_is_that_of_the_default_options_with_the_bits_asked_for() -> None:
    default = QuantizationOptions()
    best = replace(
        default,
        preset=Preset.MIXED,
        model_type="auto",
        smooth_quant="auto",
        channel_alignment="auto",
        cross_layer_equalization="auto",
        activations=TensorOptions(range_estimator=RangeEstimator(EstimatorPreset.AUTO)),
    )
    for traits in (ALL, NOTHING):
        (usual,) = find_recipes(default, traits, None, NO)
        assert replace(default_recipe(best, traits, NO), name="") == usual
    narrow = replace(best, weights=TensorOptions(bits=4, range_estimator=RangeEstimator(EstimatorPreset.MSE)))
    assert default_recipe(narrow, ALL, NO).scheme == Scheme(weights=TensorOptions(bits=4))
