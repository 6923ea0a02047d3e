"""Layers of every kind against what OpenVINO computes."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.graph.layers import ChannelMean, Layer, find_layers, mean_shift, tap_shares
from tasks.graph.operations import read_operations
from tests.support import models as m
from tests.support.float64 import layer_output
from tests.support.layer_kinds import KINDS, Kind


def only_layer(model: ov.Model) -> Layer:
    [layer] = find_layers(read_operations(model))
    return layer


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_mean_of_the_output_is_that_of_openvino(kind: Kind) -> None:
    model, data = kind.model(), kind.constant_channels()
    layer = only_layer(model)
    assert layer.name == "layer"
    assert layer.mean == ChannelMean("data:0", kind.axis)
    computed = np.moveaxis(
        ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(data)[0], layer.output_axis, 0
    )
    expected = computed.reshape(computed.shape[0], -1).mean(axis=1)
    mean = np.moveaxis(data, kind.axis, 0).reshape(data.shape[kind.axis], -1).mean(axis=1).astype(np.float64)
    weights = m.constant("weights", *kind.weights).get_data().astype(np.float64)
    assert mean_shift(layer, weights, mean) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_shifts_are_those_of_a_reference_in_float64(kind: Kind) -> None:
    model, draw = kind.model(), np.random.default_rng(3)
    layer = only_layer(model)
    data = kind.constant_channels().astype(np.float64)
    weights, changed = (draw.standard_normal(kind.weights) for _ in range(2))
    before, after = (
        layer_output(layer.operation.node, data, each, data_port=layer.data.port) for each in (weights, changed)
    )
    assert before.shape == tuple(layer.operation.node.get_output_shape(0))
    difference = np.moveaxis(before - after, layer.output_axis, 0)
    expected = difference.reshape(difference.shape[0], -1).mean(axis=1)
    mean = np.moveaxis(data, kind.axis, 0).reshape(data.shape[kind.axis], -1)[:, 0]
    assert mean_shift(layer, weights - changed, mean) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_taps_in_the_padding_count_less() -> None:
    layer = only_layer(KINDS["padded at one side"].model())
    # 9 rows, two above and one below: the first tap misses the two first of 10 output rows, the last one the last row.
    assert tap_shares(layer, (3, 2))[:, 1].tolist() == [0.8, 0.9, 0.9]
    # 8 columns and one in front: 8 output columns, in the first of which the first tap meets padding.
    assert tap_shares(layer, (3, 2))[0].tolist() == [0.8 * 7 / 8, 0.8]


@pytest.mark.parametrize(("name", "expected"), [("convolution", 1.0), ("transposed strided", 0.5)])
def test_sizes_not_known_count_as_very_large(name: str, expected: float) -> None:
    model = KINDS[name].model()
    model.reshape({0: ov.PartialShape([1, 4, -1, -1])})
    assert tap_shares(only_layer(model), (3, 2)).tolist() == [[expected] * 2] * 3


@pytest.mark.parametrize(
    "make",
    [
        lambda data: m.named(ops.matmul(data, m.relu(data, "other"), False, True), "product"),
        lambda data: m.named(ops.matmul(data, m.constant("stack", 4, 8, 4), False, False), "product"),
        lambda data: m.named(ops.matmul(data, m.constant("vector", 8), False, False), "product"),
        lambda data: m.named(ops.convolution(data, m.relu(m.image("w", (4, 4, 1, 1)), "w2"), *[[1, 1]] * 4), "conv"),
        lambda data: m.scale(data, "scale"),
    ],
    ids=["two computed tensors", "several matrices", "vector", "computed weights", "multiply"],
)
def test_what_is_no_layer(make: object) -> None:
    assert callable(make)
    assert find_layers(read_operations(m.build(make(m.relu_image((1, 4, 8, 8)))))) == ()


def test_layers_come_in_topological_order() -> None:
    names = [layer.name for layer in find_layers(read_operations(m.convnet()))]
    assert names == ["stem", "branch", "last", "classifier"]
