"""Ranges chosen by what the model's output loses: an outlier that decides is kept, one that does not is cut off."""

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.algorithms.inference import Sample, compile_for_samples
from tasks.algorithms.range_choice import (
    _inputs,
    _limit_shapes,
    _with_free_limits,
    alternatives,
    choose_ranges,
)
from tasks.algorithms.ranges import Parameters, estimate_parameters
from tasks.graph.edits import insert_quantizers
from tasks.graph.placement import QuantizerSetup, Role, place_quantizers
from tasks.graph.presets import Scheme
from tasks.numerics.affine import FakeQuantizeParameters
from tests.support import models as m
from tests.support.observe import observe


def samples(count: int = 4) -> list[Sample]:
    generator = np.random.default_rng(0)
    return [{"image": generator.uniform(0, 1, (1, 4, 8, 8)).astype(np.float32)} for _ in range(count)]


def quantized(model: ov.Model) -> tuple[ov.Model, QuantizerSetup, Parameters]:
    setup = place_quantizers(model)
    tensors = sorted({point.tensor for point in setup.points if point.role == Role.ACTIVATIONS})
    parameters = estimate_parameters(model, setup, observe(model, tensors, samples()), Scheme(), frozenset())
    result = model.clone()
    insert_quantizers(result, setup.points, parameters)
    return result, setup, parameters


def scaled(limits: FakeQuantizeParameters, factor: float) -> FakeQuantizeParameters:
    low, high = limits.input_low * np.float32(factor), limits.input_high * np.float32(factor)
    return replace(limits, input_low=low, input_high=high, output_low=low, output_high=high)


def with_scaled(setup: QuantizerSetup, parameters: Parameters, factor: float) -> Parameters:
    points = [point.name for point in setup.points if point.role == Role.ACTIVATIONS]
    return parameters | {name: scaled(parameters[name], factor) for name in points}


@pytest.mark.parametrize("cut_off", ["stem/fq_input_0", "sum/fq_input_0"])
def test_the_range_that_leaves_less_error_is_taken(cut_off: str) -> None:
    model = m.convnet()
    result, setup, parameters = quantized(model)
    worse = parameters | {cut_off: scaled(parameters[cut_off], 0.1)}
    chosen, changed = choose_ranges(model, result, setup, worse, parameters, samples())
    assert changed == (cut_off,)
    assert chosen == parameters
    assert choose_ranges(model, result, setup, parameters, worse, samples())[1] == ()


def test_equal_ranges_are_no_alternatives() -> None:
    _, setup, parameters = quantized(m.convnet())
    assert alternatives(setup, parameters, with_scaled(setup, parameters, 1.001)) == ()


def test_arithmetic_stands_for_the_quantizers() -> None:
    model = m.convnet()
    result, setup, parameters = quantized(model)
    points = [point for point in setup.points if point.role == Role.ACTIVATIONS]
    free = _with_free_limits(result.clone(), points)
    assert not any(node.get_type_name() == "FakeQuantize" for node in free.get_ordered_ops())
    limits = _inputs(_limit_shapes(result, points), parameters)
    first, second = compile_for_samples(free, 1), compile_for_samples(result, 1)
    for sample in samples():
        ours, theirs = first({**sample, **limits})[0], second(dict(sample))[0]
        # A value halfway between two levels may round to either.
        assert np.square(ours - theirs).mean() < 1e-3 * np.square(theirs).mean()


@pytest.mark.parametrize("rows", [6, -1])
def test_models_without_a_batch_axis_and_outputs_of_different_lengths(rows: int) -> None:
    tokens = m.named(ops.parameter([rows, 8], ov.Type.f32), "tokens")
    model = m.build(m.matmul(m.relu(m.matmul(tokens, "first", 8), "relu"), "second", 4))
    generator = np.random.default_rng(0)
    data = [
        {"tokens": generator.normal(size=(rows if rows > 0 else count, 8)).astype(np.float32)} for count in (4, 6, 9, 5)
    ]
    setup = place_quantizers(model)
    tensors = sorted({point.tensor for point in setup.points if point.role == Role.ACTIVATIONS})
    statistics = observe(model, tensors, data, whole=("tokens",))
    parameters = estimate_parameters(model, setup, statistics, Scheme(), frozenset())
    result = model.clone()
    insert_quantizers(result, setup.points, parameters)
    worse = with_scaled(setup, parameters, 0.1)
    changed = choose_ranges(model, result, setup, worse, parameters, data)[1]
    assert changed == tuple(point.name for point in setup.points if point.role == Role.ACTIVATIONS)


def test_only_outputs_of_numbers_count() -> None:
    data = m.image()
    model = m.build(m.convolution(data, "conv", 4), m.named(ops.convert(data, "i32"), "whole"))
    result, setup, parameters = quantized(model)
    chosen, changed = choose_ranges(model, result, setup, parameters, with_scaled(setup, parameters, 0.2), samples())
    assert changed == ()
    assert chosen == parameters


def test_progress_is_told_of_every_inference() -> None:
    model = m.convnet()
    result, setup, parameters = quantized(model)
    other = with_scaled(setup, parameters, 0.5)
    told: list[None] = []
    choose_ranges(model, result, setup, parameters, other, samples(), advance=lambda: told.append(None))
    assert len(told) == len(samples()) * (2 + len(alternatives(setup, parameters, other)))
