"""Scales pass between layers through what lets them, and the model does not notice."""

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.algorithms.inference import compile_for_samples
from tasks.graph.equalization import equalize_pair, find_pairs, read_columns, read_rows
from tests.support import models as m

GENERATOR = np.random.default_rng(0)


def weights(*shape: int) -> ov.Node:
    return ops.constant(GENERATOR.normal(size=shape).astype(np.float32))


def conv(data: ov.Node | ov.Output, name: str, channels: int = 6, kernel: int = 3, pad: int = 1) -> ov.Node:
    source = data.output(0) if isinstance(data, ov.Node) else data
    kernels = weights(channels, source.get_shape()[1], kernel, kernel)
    return m.named(ops.convolution(data, kernels, [1, 1], [pad, pad], [pad, pad], [1, 1]), name)


def transposed(data: ov.Node, name: str, channels: int = 6) -> ov.Node:
    kernels = weights(data.get_output_shape(0)[1], channels, 2, 2)
    return m.named(ops.convolution_backprop_data(data, kernels, [2, 2]), name)


def grouped(data: ov.Node, name: str, groups: int, channels: int) -> ov.Node:
    kernels = weights(groups, channels // groups, data.get_output_shape(0)[1] // groups, 3, 3)
    return m.named(ops.group_convolution(data, kernels, [1, 1], [1, 1], [1, 1], [1, 1]), name)


def transposed_groups(data: ov.Node, name: str, groups: int, channels: int) -> ov.Node:
    kernels = weights(groups, data.get_output_shape(0)[1] // groups, channels // groups, 2, 2)
    return m.named(ops.group_convolution_backprop_data(data, kernels, [2, 2]), name)


def biased(layer: ov.Node, shape: tuple[int, ...] | None = None) -> ov.Node:
    return m.named(ops.add(layer, weights(*(shape or (1, layer.get_output_shape(0)[1], 1, 1)))), "bias")


def prelu(data: ov.Node) -> ov.Node:
    return m.named(ops.prelu(data, weights(data.get_output_shape(0)[1])), "prelu")


def max_pool(data: ov.Node) -> ov.Output:
    return m.named(ops.max_pool(data, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]), "pool").output(0)


def image(channels: int = 4) -> ov.Node:
    return m.image(shape=(1, channels, 8, 8))


def tokens(*, transpose: bool) -> ov.Model:
    data = m.image("tokens", (1, 5, 8))
    first = ops.matmul(data, weights(*((6, 8) if transpose else (8, 6))), False, transpose)
    hidden = ops.relu(biased(m.named(first, "first"), (6,)))
    second = ops.matmul(hidden, weights(*((4, 6) if transpose else (6, 4))), False, transpose)
    return m.build(m.named(second, "second"))


def triple() -> ov.Model:
    expanded = ops.relu(biased(conv(image(), "first", 6, 1, 0)))
    depthwise = m.named(ops.add(grouped(expanded, "depthwise", 6, 6), weights(1, 6, 1, 1)), "second_bias")
    return m.build(conv(prelu(depthwise), "second", 4, 1, 0))


PAIRS: dict[str, tuple[Callable[[], ov.Model], int]] = {
    "relu": (lambda: m.build(conv(ops.relu(biased(conv(image(), "first"))), "second")), 1),
    "no bias": (lambda: m.build(conv(ops.relu(conv(image(), "first")), "second")), 1),
    "nothing between": (lambda: m.build(conv(biased(conv(image(), "first")), "second")), 1),
    "one number as bias": (lambda: m.build(conv(biased(conv(image(), "first"), (1,)), "second")), 1),
    "prelu": (lambda: m.build(conv(prelu(biased(conv(image(), "first"))), "second")), 1),
    "relu and max pooling": (lambda: m.build(conv(max_pool(ops.relu(conv(image(), "first"))), "second")), 1),
    "depthwise triple": (triple, 2),
    "grouped": (lambda: m.build(grouped(ops.relu(biased(grouped(image(), "first", 2, 6))), "second", 3, 6)), 1),
    "transposed": (lambda: m.build(transposed(ops.relu(biased(transposed(image(), "first"))), "second")), 1),
    "transposed groups": (
        lambda: m.build(transposed_groups(ops.relu(transposed_groups(image(), "first", 2, 6)), "second", 3, 6)),
        1,
    ),
    "products": (lambda: tokens(transpose=False), 1),
    "transposed products": (lambda: tokens(transpose=True), 1),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_function_stays_the_same(name: str) -> None:
    build, count = PAIRS[name]
    model = build()
    changed = model.clone()
    pairs = find_pairs(changed)
    assert len(pairs) == count
    for pair in pairs:
        rows, columns = read_rows(changed, pair), read_columns(changed, pair)
        assert len(rows) == columns.shape[1]
        factors = np.exp(GENERATOR.normal(size=len(rows)))
        equalize_pair(changed, pair, factors)
        np.testing.assert_allclose(read_rows(changed, pair), rows / factors[:, None], rtol=1e-6)
        np.testing.assert_allclose(read_columns(changed, pair), columns * factors, rtol=1e-6)
    shape = model.input(0).shape
    for seed in range(3):
        data = 3 * np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        wanted, found = (compile_for_samples(each)({0: data})[0] for each in (model, changed))
        np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)


def branch() -> ov.Model:
    hidden = m.named(ops.relu(conv(image(), "first")), "hidden")
    return m.build(conv(hidden, "second"), m.named(ops.sigmoid(hidden), "other"))


def shown() -> ov.Model:
    hidden = m.named(ops.relu(conv(image(), "first")), "hidden")
    return m.build(conv(hidden, "second"), hidden)


def raw() -> ov.Model:
    first = conv(image(), "first")
    return m.build(conv(ops.relu(biased(first)), "second"), m.named(ops.sigmoid(first), "other"))


def computed_slope() -> ov.Model:
    slope = m.named(ops.parameter([6], ov.Type.f32), "slope")
    return m.build(conv(ops.prelu(conv(image(), "first"), slope), "second"))


def mixed_axes() -> ov.Model:
    """The product sums over the width, not over the channels of the convolution."""
    return m.build(m.named(ops.matmul(ops.relu(conv(image(), "first", 8)), weights(8, 5), False, False), "second"))


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: m.build(conv(m.clamp(conv(image(), "first"), "clamp"), "second")), id="clamp"),
        pytest.param(lambda: m.build(conv(ops.sigmoid(conv(image(), "first")), "second")), id="sigmoid"),
        pytest.param(lambda: m.build(conv(ops.relu(image()), "second")), id="no-producer"),
        pytest.param(lambda: m.build(ops.relu(conv(image(), "first"))), id="no-consumer"),
        pytest.param(branch, id="branch"),
        pytest.param(shown, id="output-of-the-model"),
        pytest.param(raw, id="branch-in-front-of-the-bias"),
        pytest.param(computed_slope, id="computed-slope"),
        pytest.param(mixed_axes, id="other-axis"),
    ],
)
def test_what_would_notice_is_no_pair(model: Callable[[], ov.Model]) -> None:
    assert find_pairs(model()) == ()


def test_weights_that_others_read_stay() -> None:
    shared = weights(6, 6, 1, 1)
    first = ops.convolution(image(6), shared, [1, 1], [0, 0], [0, 0], [1, 1])
    model = m.build(m.named(ops.convolution(ops.relu(first), shared, [1, 1], [0, 0], [0, 0], [1, 1]), "second"))
    changed = model.clone()
    [pair] = find_pairs(changed)
    equalize_pair(changed, pair, np.arange(1, 7, dtype=np.float64))
    data = GENERATOR.normal(size=(1, 6, 8, 8)).astype(np.float32)
    wanted, found = (compile_for_samples(each)({0: data})[0] for each in (model, changed))
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)
