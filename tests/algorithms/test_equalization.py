"""Equalized models compute the same and lose less where all weights of a layer share a scale."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.algorithms.equalization import equalize
from tasks.algorithms.inference import Sample, compile_for_samples
from tasks.algorithms.ranges import estimate_parameters
from tasks.graph.edits import insert_quantizers
from tasks.graph.equalization import find_pairs, read_columns, read_rows
from tasks.graph.placement import Role, place_quantizers
from tasks.graph.presets import Scheme, TensorOptions
from tasks.graph.text import model_text
from tasks.numerics.affine import Granularity
from tasks.numerics.equalization import FACTORS, equalizing_factors
from tasks.numerics.metrics import sqnr
from tests.support import models as m
from tests.support.observe import observe


def uneven() -> ov.Model:
    """Layers, a depthwise one among them, whose channels were made very different by factors that cancel."""
    generator = np.random.default_rng(0)
    sizes = np.exp(1.5 * generator.normal(size=(2, 16, 1, 1))).astype(np.float32)
    first = generator.normal(size=(16, 3, 1, 1)).astype(np.float32) * sizes[0][:, :, None, None].reshape(16, 1, 1, 1)
    depthwise = generator.normal(size=(16, 1, 1, 3, 3)).astype(np.float32)
    depthwise *= (sizes[1] / sizes[0]).reshape(16, 1, 1, 1, 1)
    last = generator.normal(size=(8, 16, 1, 1)).astype(np.float32) / sizes[1].reshape(1, 16, 1, 1)
    data = ops.convolution(m.image(shape=(1, 3, 8, 8)), first, [1, 1], [0, 0], [0, 0], [1, 1])
    data = ops.group_convolution(m.relu(m.named(data, "first"), "a"), depthwise, [1, 1], [1, 1], [1, 1], [1, 1])
    data = ops.convolution(m.relu(m.named(data, "depthwise"), "b"), last, [1, 1], [0, 0], [0, 0], [1, 1])
    return m.build(m.named(data, "last"))


def samples(seed: int) -> list[Sample]:
    generator = np.random.default_rng(seed)
    return [{"image": generator.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(16)]


def answers(model: ov.Model, data: list[Sample]) -> np.ndarray:
    compiled = compile_for_samples(model)
    return np.concatenate([compiled(dict(each))[0] for each in data])


def quantized(model: ov.Model) -> ov.Model:
    setup = place_quantizers(model)
    tensors = sorted({point.tensor for point in setup.points if point.role == Role.ACTIVATIONS})
    scheme = Scheme(weights=TensorOptions(granularity=Granularity.PERTENSOR))
    parameters = estimate_parameters(model, setup, observe(model, tensors, samples(0)), scheme, frozenset(), 1e-20)
    result = model.clone()
    insert_quantizers(result, setup.points, parameters)
    return result


def test_shared_scales_lose_far_less() -> None:
    model, data = uneven(), samples(1)
    before, changed = model_text(model), model.clone()
    assert len(equalize(changed)) == 2
    assert model_text(model) == before
    wanted, same = answers(model, data), answers(changed, data)
    np.testing.assert_allclose(same, wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)
    plain, equalized = (sqnr(wanted, answers(quantized(each), data)) for each in (model, changed))
    assert equalized > plain + 6


def test_chains_end_in_balance_and_stay_there() -> None:
    changed = uneven()
    equalize(changed)
    for pair in find_pairs(changed):
        made = np.abs(read_rows(changed, pair)).max(axis=1)
        read = np.abs(read_columns(changed, pair)).max(axis=0)
        np.testing.assert_allclose(made, read, rtol=0.1)
    assert equalize(changed) == ()


def test_a_model_without_pairs_stays() -> None:
    model = m.build(m.convolution(m.clamp(m.convolution(m.image(), "first"), "clamp"), "second"))
    text = model_text(model)
    assert equalize(model) == ()
    assert model_text(model) == text


@pytest.mark.parametrize("seed", range(3))
def test_factors_make_both_sides_alike(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows, columns = generator.normal(size=(5, 7)), generator.normal(size=(3, 5))
    factors = equalizing_factors(rows, columns)
    np.testing.assert_allclose(np.abs(rows / factors[:, None]).max(axis=1), np.abs(columns * factors).max(axis=0))


def test_channels_without_weights_and_strong_differences() -> None:
    rows, columns = np.array([[0.0], [1.0], [1e9], [np.nan], [1.0]]), np.array([[1.0, 0.0, 1e-9, 1.0, 4.0]])
    np.testing.assert_allclose(equalizing_factors(rows, columns), [1, 1, FACTORS[1], 1, 0.5])
