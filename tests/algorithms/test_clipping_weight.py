"""Room for unseen samples, by what the output loses: a clipping weight pays only where rare values decide."""

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.algorithms.clipping_weight import CLIPPING_WEIGHTS, ClippingWeight, choose_clipping_weight
from tasks.algorithms.inference import Sample, compile_for_samples
from tasks.algorithms.ranges import estimate_parameters
from tasks.graph.edits import insert_quantizers
from tasks.graph.placement import Role, place_quantizers
from tasks.graph.presets import Preset, Scheme, TensorOptions
from tasks.graph.text import model_text
from tasks.numerics.estimators import EstimatorPreset, RangeEstimator
from tasks.numerics.statistics import Statistics
from tests.support import models as m
from tests.support.observe import observe

COUNT = 60
SCHEME = Scheme(Preset.MIXED, activations=TensorOptions(range_estimator=RangeEstimator(preset=EstimatorPreset.AUTO)))


def pooled() -> ov.Model:
    """A convolution whose output is averaged: rounding averages out, a cut does not."""
    first = m.relu(m.convolution(m.image(shape=(1, 3, 16, 16)), "first", 8, kernel=3), "relu")
    return m.build(m.mean(m.convolution(first, "second", 8), "pool"))


def images(seed: int, *, bursts: bool) -> list[Sample]:
    """Noise; with bursts, every sample has a region of a strength of its own, which few samples have large."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(COUNT, 1, 3, 16, 16)).astype(np.float32)
    if bursts:
        noise[..., 4:8, 4:8] += generator.exponential(2.0, (COUNT, 1, 1, 1, 1)).astype(np.float32)
    return [{"image": each} for each in noise]


def observed(model: ov.Model, data: list[Sample]) -> Statistics:
    setup = place_quantizers(model)
    tensors = sorted({point.tensor for point in setup.points if point.role == Role.ACTIVATIONS})
    return observe(model, tensors, data, values=True)


def chosen(model: ov.Model, data: list[Sample]) -> ClippingWeight:
    samples = dict(enumerate(data))
    return choose_clipping_weight(model, place_quantizers(model), observed(model, data), SCHEME, range(COUNT), samples)


def unseen_noise(model: ov.Model, data: list[Sample], unseen: list[Sample], clipping_weight: float) -> float:
    """The squared error of the output on other samples, activations quantized with a clipping weight."""
    setup, quantized = place_quantizers(model), model.clone()
    setup = replace(setup, points=tuple(each for each in setup.points if each.role == Role.ACTIVATIONS))
    parameters = estimate_parameters(
        model, setup, observed(model, data), SCHEME, frozenset(), clipping_weight=clipping_weight
    )
    insert_quantizers(quantized, setup.points, parameters)
    first, second = compile_for_samples(model), compile_for_samples(quantized)
    return float(sum(np.square(first(dict(each))[0] - second(dict(each))[0]).sum() for each in unseen))


def test_rare_bursts_ask_for_caution_and_it_pays_on_unseen_samples() -> None:
    model, data = pooled(), images(0, bursts=True)
    before, found = model_text(model), chosen(model, data)
    assert model_text(model) == before
    assert found.factor > 1
    assert found.sqnr_db[CLIPPING_WEIGHTS.index(found.factor)] == max(found.sqnr_db)
    unseen = [each for seed in range(1, 4) for each in images(seed, bursts=True)]
    assert unseen_noise(model, data, unseen, found.factor) < unseen_noise(model, data, unseen, 1.0)


def test_the_scores_are_those_of_samples_that_set_no_range() -> None:
    model, data = pooled(), images(0, bursts=True)
    setup = place_quantizers(model)
    setup = replace(setup, points=tuple(each for each in setup.points if each.role == Role.ACTIVATIONS))
    found, float_model = chosen(model, data), compile_for_samples(model)
    signal = noise = 0.0
    for fold in range(2):
        statistics = {name: each.take(range(1 - fold, COUNT, 2)) for name, each in observed(model, data).items()}
        quantized = model.clone()
        parameters = estimate_parameters(
            model, setup, statistics, SCHEME, frozenset(), clipping_weight=CLIPPING_WEIGHTS[1]
        )
        insert_quantizers(quantized, setup.points, parameters)
        compiled = compile_for_samples(quantized)
        for sample in data[fold::2]:
            wanted = float_model(dict(sample))[0]
            signal += float(np.square(wanted).sum())
            noise += float(np.square(compiled(dict(sample))[0] - wanted).sum())
    assert found.sqnr_db[1] == pytest.approx(10 * np.log10(signal / noise), abs=0.05)


def test_a_perceptron() -> None:
    """Code that OpenVINO generates for differences of such models ends the process."""
    hidden = m.relu(m.bias(m.matmul(m.image("vector", (1, 12)), "first", 8), "first_bias"), "relu")
    model = m.build(m.bias(m.matmul(hidden, "second", 6), "second_bias"))
    vectors = np.random.default_rng(0).normal(size=(COUNT, 1, 12)).astype(np.float32)
    assert all(map(np.isfinite, chosen(model, [{"vector": each} for each in vectors]).sqnr_db))


def test_the_same_twice() -> None:
    data = images(0, bursts=False)
    assert chosen(pooled(), data) == chosen(pooled(), data)


def test_without_samples_to_try_there_is_nothing_to_tell() -> None:
    model, data = pooled(), images(0, bursts=False)
    setup, statistics = place_quantizers(model), observed(model, data)
    assert choose_clipping_weight(model, setup, statistics, SCHEME, range(COUNT), {}) == ClippingWeight(1.0)
    assert choose_clipping_weight(model, setup, statistics, SCHEME, [3], {3: data[3]}) == ClippingWeight(1.0)


def test_a_model_with_a_state_is_left_alone() -> None:
    image = m.image(shape=(1, 3, 16, 16))
    read = ops.read_value(image, "state")
    results, state = [ops.result(m.convolution(m.add(image, read, "sum"), "layer"))], [ops.assign(read, "state")]
    model = ov.Model(results, state, [image], "stateful")
    samples = dict(enumerate(images(0, bursts=False)))
    assert choose_clipping_weight(
        model, place_quantizers(pooled()), {}, SCHEME, range(COUNT), samples
    ) == ClippingWeight(1.0)
