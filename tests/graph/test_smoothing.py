"""Divided features and multiplied weights: the model computes the same, whatever side the weights stand on."""

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.graph.smoothing import Product, SmoothPoint, find_smooth_points, read_weights, smooth
from tasks.graph.traversal import nodes_by_name
from tests.support import models as m

TOKENS, FEATURES, OUTPUTS = 5, 6, 4


def tokens(*shape: int) -> ov.Node:
    return m.relu(m.image(shape=shape), "tokens")


def on_the_right(*, transposed: bool) -> ov.Model:
    sizes = (OUTPUTS, FEATURES) if transposed else (FEATURES, OUTPUTS)
    product = ops.matmul(tokens(1, TOKENS, FEATURES), m.constant("weights", *sizes), False, transposed)
    return m.build(m.named(product, "product"))


def on_the_left(*, transposed: bool) -> ov.Model:
    sizes = (FEATURES, OUTPUTS) if transposed else (OUTPUTS, FEATURES)
    product = ops.matmul(m.constant("weights", *sizes), tokens(1, FEATURES, TOKENS), transposed, False)
    return m.build(m.named(product, "product"))


def three_readers() -> ov.Model:
    data = tokens(1, TOKENS, FEATURES)
    products = [m.matmul(data, name, OUTPUTS) for name in ("key", "query")]
    return m.build(*products, m.named(ops.sigmoid(data), "gate"))


MODELS: dict[str, tuple[Callable[[], ov.Model], SmoothPoint]] = {
    "right": (lambda: on_the_right(transposed=False), SmoothPoint("tokens:0", 2, (Product("product", 0, 1, 0),))),
    "right-transposed": (
        lambda: on_the_right(transposed=True),
        SmoothPoint("tokens:0", 2, (Product("product", 0, 1, 1),)),
    ),
    "left": (lambda: on_the_left(transposed=False), SmoothPoint("tokens:0", 1, (Product("product", 1, 0, 1),))),
    "left-transposed": (
        lambda: on_the_left(transposed=True),
        SmoothPoint("tokens:0", 1, (Product("product", 1, 0, 0),)),
    ),
    "three-readers": (three_readers, SmoothPoint("tokens:0", 2, (Product("key", 0, 1, 1), Product("query", 0, 1, 1)))),
}


def outputs(model: ov.Model) -> list[np.ndarray]:
    values = np.random.default_rng(0).normal(size=list(model.inputs[0].shape)).astype(np.float32)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.array(each) for each in compiled([values]).values()]


@pytest.mark.parametrize(("make", "point"), MODELS.values(), ids=MODELS)
def test_the_model_computes_the_same(make: Callable[[], ov.Model], point: SmoothPoint) -> None:
    model = make()
    assert find_smooth_points(model) == (point,)
    factors = np.geomspace(0.1, 10, FEATURES)
    changed = model.clone()
    smooth(nodes_by_name(changed), point, factors)
    for before, after in zip(outputs(model), outputs(changed), strict=True):
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())
    for before, after in zip(read_weights(nodes_by_name(model), point), _weights_after(changed, point), strict=True):
        assert before.shape == (OUTPUTS, FEATURES)
        np.testing.assert_allclose(after, before * factors, rtol=1e-6)


def _weights_after(model: ov.Model, point: SmoothPoint) -> list[np.ndarray]:
    (divided,) = (each for each in find_smooth_points(model) if each.tensor.endswith("/smoothed:0"))
    assert divided.products == point.products
    return read_weights(nodes_by_name(model), divided)


def test_other_readers_keep_the_tensor() -> None:
    model = three_readers()
    (point,) = find_smooth_points(model)
    smooth(nodes_by_name(model), point, np.full(FEATURES, 2.0))
    nodes = nodes_by_name(model)
    assert nodes["gate"].input_value(0).get_node().get_friendly_name() == "tokens"
    assert nodes["key"].input_value(0).get_node().get_friendly_name() == "tokens:0/smoothed"


def test_convolutions_and_products_of_two_tensors_are_left_alone() -> None:
    assert find_smooth_points(m.build(m.convolution(m.image(), "conv", 4))) == ()
    data = tokens(1, TOKENS, FEATURES)
    product = m.named(ops.matmul(data, data, False, True), "scores")
    assert find_smooth_points(m.build(product)) == ()
