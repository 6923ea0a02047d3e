"""One layer of every kind, on data whose channels are constant or random: what biases are corrected for."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tests.support import models as m

NO_PADS = [0, 0]


@dataclass(frozen=True)
class Kind:
    """``build(data, weights)`` makes a layer called ``layer`` of data of shape ``shape``; channels are on ``axis``."""

    shape: tuple[int, ...]
    weights: tuple[int, ...]
    build: Callable[[ov.Node, ov.Node], ov.Node]
    axis: int = 1

    def model(self, bias: tuple[int, ...] | None = None, *, zero: bool = False) -> ov.Model:
        """``relu(layer(data) + bias)``; the bias is of that shape, none when None, of zeros with ``zero``."""
        layer = m.named(self.build(m.image("data", self.shape), m.constant("weights", *self.weights)), "layer")
        if bias is not None:
            values = np.zeros(bias, np.float32) if zero else m.constant("bias_value", *bias).get_data()
            layer = m.named(ops.add(layer, m.named(ops.constant(values), "bias_value")), "bias")
        return m.build(layer)

    def constant_channels(self, seed: int = 0) -> NDArray[np.float32]:
        """Data with one value a channel."""
        sizes = [size if place == self.axis else 1 for place, size in enumerate(self.shape)]
        values = np.random.default_rng(seed).uniform(1, 2, sizes)
        return np.ascontiguousarray(np.broadcast_to(values, self.shape), np.float32)


def _convolution(stride: int = 1, begin: int = 0, end: int = 0, dilation: int = 1, auto: str = "explicit") -> Kind:
    def build(data: ov.Node, weights: ov.Node) -> ov.Node:
        return ops.convolution(data, weights, [stride, 1], [begin, 1], [end, 0], [dilation, 1], auto)

    return Kind((1, 4, 9, 8), (6, 4, 3, 2), build)


def _grouped(groups: int, outputs: int, inputs: int) -> Kind:
    def build(data: ov.Node, weights: ov.Node) -> ov.Node:
        return ops.group_convolution(data, weights, [2, 1], [1, 1], [1, 1], [1, 1])

    return Kind((1, groups * inputs, 9, 8), (groups, outputs, inputs, 3, 3), build)


def _transposed(stride: int, begin: int, end: int, dilation: int = 1, extra: int = 0) -> Kind:
    def build(data: ov.Node, weights: ov.Node) -> ov.Node:
        return ops.convolution_backprop_data(
            data, weights, [stride, 1], None, [begin, 0], [end, 1], [dilation, 1], output_padding=[extra, 0]
        )

    return Kind((1, 4, 5, 6), (4, 6, 3, 2), build)


def _transposed_groups() -> Kind:
    def build(data: ov.Node, weights: ov.Node) -> ov.Node:
        return ops.group_convolution_backprop_data(data, weights, [2, 2], None, [1, 1], [1, 1], [1, 1])

    return Kind((1, 4, 5, 6), (2, 2, 3, 3, 3), build)


def _transposed_to(shape: list[int], auto: str, extra: int = 0) -> Kind:
    """To a shape that the layer reads, as TensorFlow and Keras have it."""

    def build(data: ov.Node, weights: ov.Node) -> ov.Node:
        wanted = ops.constant(np.array(shape, np.int64))
        return ops.convolution_backprop_data(
            data, weights, [2, 2], wanted, NO_PADS, NO_PADS, [1, 1], auto, output_padding=[extra, 0]
        )

    return Kind((1, 4, 5, 6), (4, 6, 3, 2), build)


def _product(
    shape: tuple[int, ...],
    weights: tuple[int, ...],
    axis: int,
    *,
    first: bool = False,
    a: bool = False,
    b: bool = False,
) -> Kind:
    def build(data: ov.Node, matrix: ov.Node) -> ov.Node:
        return ops.matmul(*((matrix, data) if first else (data, matrix)), a, b)

    return Kind(shape, weights, build, axis)


KINDS = {
    "convolution": _convolution(),
    "padded at one side": _convolution(begin=2, end=1),
    "strided": _convolution(stride=3, begin=1, end=1),
    "dilated": _convolution(dilation=2, begin=2, end=2),
    "same upper": _convolution(stride=2, auto="same_upper"),
    "same lower": _convolution(stride=2, auto="same_lower"),
    "valid": _convolution(auto="valid", begin=1),
    "pointwise": Kind((1, 4, 9, 8), (6, 4, 1, 1), lambda x, w: ops.convolution(x, w, [1, 1], NO_PADS, NO_PADS, [1, 1])),
    "pointwise padded": Kind(
        (1, 4, 9, 8), (6, 4, 1, 1), lambda x, w: ops.convolution(x, w, [1, 1], [0, 0], [2, 1], [1, 1])
    ),
    "convolution 1d": Kind((1, 4, 9), (6, 4, 3), lambda x, w: ops.convolution(x, w, [2], [1], [1], [1])),
    "convolution 3d": Kind((1, 2, 4, 5, 6), (3, 2, 3, 3, 3), lambda x, w: ops.convolution(x, w, *[[1] * 3] * 4)),
    "depthwise": _grouped(4, 1, 1),
    "depthwise multiplier": _grouped(4, 2, 1),
    "grouped": _grouped(2, 3, 2),
    "transposed": _transposed(1, 0, 0),
    "transposed strided": _transposed(2, 1, 0),
    "transposed padded": _transposed(2, 1, 1, extra=1),
    "transposed dilated": _transposed(2, 2, 1, dilation=2),
    "transposed grouped": _transposed_groups(),
    "transposed, same upper": _transposed_to([10, 12], "same_upper"),
    "transposed, same lower": _transposed_to([10, 11], "same_lower"),
    "transposed to a shape, padded": _transposed_to([9, 11], "same_upper", extra=1),
    "product": _product((1, 5, 4), (4, 6), 2),
    "product transposed weights": _product((1, 5, 4), (6, 4), 2, b=True),
    "product transposed data": _product((1, 4, 5), (4, 6), 1, a=True),
    "product of a row": _product((1, 4), (4, 6), 1),
    "product of a vector": _product((4,), (4, 6), 0),
    "product with stacked weights": _product((1, 5, 4), (1, 4, 6), 2),
    "weights first": _product((1, 4, 5), (6, 4), 1, first=True),
    "weights first, transposed": _product((1, 4, 5), (4, 6), 1, first=True, a=True),
    "weights first, data transposed": _product((1, 5, 4), (6, 4), 2, first=True, b=True),
    "weights first, vector": _product((4,), (6, 4), 0, first=True),
}
