"""Layers: operations that sum products of constant weights and data, and the shift of their mean output."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.graph.biases import Channels
from tasks.graph.operations import Edge, Operation, Source, is_float, shape_of

_SPATIAL = {
    "Convolution": 2,
    "GroupConvolution": 3,
    "ConvolutionBackpropData": 2,
    "GroupConvolutionBackpropData": 3,
}
# Types of operations that are layers if their weights are constant.
PRODUCTS = frozenset({*_SPATIAL, "MatMul"})
_CHANNEL_AXIS = 1


@dataclass(frozen=True, order=True)
class ChannelMean:
    """The mean of a tensor for every place along an axis.

    Attributes:
        tensor: Name of the tensor.
        axis: The axis.
    """

    tensor: str
    axis: int


@dataclass(frozen=True)
class Layer:
    """``output[.., o, ..] = sum of weights[o, c] * data[.., c, ..]``, over the taps of the kernel as well.

    Attributes:
        operation: The operation.
        data: Its input that reads the data.
        weights: Its input that reads the weights.
        data_axis: Axis of the data that is summed over.
        output_axis: Axis of the output channels in its output, negative.
    """

    operation: Operation
    data: Edge
    weights: Edge
    data_axis: int
    output_axis: int

    @property
    def name(self) -> str:
        """The friendly name of the operation."""
        return self.operation.name

    @property
    def mean(self) -> ChannelMean:
        """The mean of the data that tells how a change of the weights shifts the output."""
        return ChannelMean(str(self.data.source), self.data_axis)


def find_layers(operations: tuple[Operation, ...]) -> tuple[Layer, ...]:
    """The layers of a model in topological order: (transposed, grouped) convolutions, MatMul with one constant operand.

    A MatMul whose weights are a stack of several matrices, or a vector, is no layer.

    Args:
        operations: All operations of a model, in topological order.
    """
    return tuple(layer for operation in operations if (layer := _as_layer(operation)) is not None)


def mean_shift(layer: Layer, difference: NDArray[np.floating], mean: Channels) -> Channels:
    """The shift of the mean of each output channel by a change of the weights, (output channels,), float64.

    It is ``difference E[x]`` (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
    Correction", section 4.2). A tap of the kernel adds nothing where it lies in the padding: it counts by the share of
    output positions at which it meets data. Sums are formed in the precision of the weights.

    Args:
        layer: The layer.
        difference: Change of the weights, of their shape, float32 or float64.
        mean: Mean of the data, (input channels,), float64.
    """
    kind = layer.operation.type
    if kind == "MatMul":
        matrix = difference.reshape(difference.shape[-2:])
        return _summed("io,i->o" if contracts_first(layer) else "oi,i->o", matrix, mean)
    first = _SPATIAL[kind]
    taps = tap_shares(layer, difference.shape[first:]).reshape(-1)
    channels, grouped = difference.shape[:first], "Group" in kind
    if "Backprop" in kind:
        formula, met = ("gcok,gck->go", (channels[0], -1)) if grouped else ("cok,ck->o", (-1,))
        each = mean.reshape(met)[..., None] * taps
        return _summed(formula, difference.reshape(*channels, -1), each)
    # All taps of all channels in a row, as they lie in memory.
    each = (mean[:, None] * taps).reshape((channels[0], -1) if grouped else -1)
    formula = "goi,gi->go" if grouped else "oi,i->o"
    return _summed(formula, difference.reshape(*channels[:-1], -1), each)


def _summed(formula: str, weights: NDArray[np.floating], met: Channels) -> Channels:
    """The sums of products by an einsum formula, (output channels,), float64.

    BLAS is not used, as its sums depend on the number of threads. Nor are weights converted to float64, which takes
    longer than the sums.
    """
    shift: Channels = np.einsum(formula, weights, met.astype(weights.dtype, copy=False)).astype(np.float64)
    return shift.reshape(-1)


def tap_shares(layer: Layer, kernel: tuple[int, ...]) -> NDArray[np.float64]:
    """The share of output positions at which each tap of a kernel meets data, of the shape of the kernel, float64.

    An axis of unknown size counts as very long.

    Args:
        layer: The layer, a convolution.
        kernel: Spatial sizes of the kernel.
    """
    node, backwards = layer.operation.node, "Backprop" in layer.operation.type
    attributes = node.get_attributes()
    if set(kernel) == {1} and not backwards and not any((*attributes["pads_begin"], *attributes["pads_end"])):
        return np.ones(kernel)
    before, after = shape_of(layer.data.source), shape_of(Source(layer.operation, 0))
    shares = np.ones(())
    for axis, length in enumerate(kernel):
        sizes = [shape[2 + axis] if shape else None for shape in (before, after)]
        step, dilation = attributes["strides"][axis], attributes["dilations"][axis]
        pad = pad_begin(layer.operation, axis, length, sizes)
        along = _shares_along(length, sizes[0], sizes[1], step, dilation, pad, backwards)
        shares = shares[..., None] * along
    return shares


def _shares_along(
    length: int, before: int | None, after: int | None, step: int, dilation: int, pad: int, backwards: bool
) -> NDArray[np.float64]:
    """The shares of the taps along one axis, (length,)."""
    if before is None or after is None:
        return np.full(length, 1 / step if backwards else 1.0)
    taps = np.arange(length)[:, None] * dilation - pad
    # A tap meets data where it moves a position of one side to a position that exists on the other side.
    moving, still = (before, after) if backwards else (after, before)
    place = np.arange(moving)[None] * step + taps
    return np.asarray(((place >= 0) & (place < still)).sum(axis=1) / after)


def pad_begin(convolution: Operation, axis: int, length: int, sizes: list[int | None]) -> int:
    """The padding in front of the data along an axis, in elements.

    ``auto_pad`` follows OpenVINO's pages of Convolution-1 and ConvolutionBackpropData-1. An odd number with
    "same_upper" has its larger part behind the data, but that of a transposed convolution in front.

    Args:
        convolution: The convolution, transposed or not.
        axis: Number of the spatial axis, from 0.
        length: Taps of the kernel along the axis.
        sizes: Sizes of the data and of the output along the axis, None where unknown.
    """
    attributes, backwards = convolution.node.get_attributes(), "Backprop" in convolution.type
    kind = attributes["auto_pad"]
    before, after = sizes
    if kind == "valid":
        return 0
    if kind == "explicit" or before is None or after is None:
        return int(attributes["pads_begin"][axis])
    reach = (length - 1) * attributes["dilations"][axis] + 1
    short, long = (before, after) if backwards else (after, before)
    added = attributes["output_padding"][axis] if backwards else 0
    total = max((short - 1) * attributes["strides"][axis] + reach + added - long, 0)
    return int(total - total // 2 if (kind == "same_upper") == backwards else total // 2)


def _as_layer(operation: Operation) -> Layer | None:
    """The operation as a layer; None if it is none."""
    is_product = operation.type == "MatMul"
    if operation.type not in _SPATIAL and not is_product:
        return None
    rank = len(shape_of(Source(operation, 0)) or ())
    if operation.constant or not rank or not is_float(Source(operation, 0)):
        return None
    if is_product:
        return _as_product(operation)
    constant = operation.sources[1].operation.constant
    return Layer(operation, Edge(operation, 0), Edge(operation, 1), _CHANNEL_AXIS, 1 - rank) if constant else None


def _as_product(operation: Operation) -> Layer | None:
    constant = [source.operation.constant for source in operation.sources]
    if constant[0] == constant[1]:
        return None
    weights, data = (0, 1) if constant[0] else (1, 0)
    matrices, values = shape_of(operation.sources[weights]), shape_of(operation.sources[data])
    if values is None or matrices is None or len(matrices) < 2 or any(size != 1 for size in matrices[:-2]):
        return None
    transposed = operation.node.get_attributes()["transpose_b" if data else "transpose_a"]
    last = (data == 0) != transposed
    axis = len(values) - (1 if last or len(values) == 1 else 2)
    # Data that are a vector are a matrix of one row or column, which the output lacks.
    output_axis = -1 if data == 0 or len(values) == 1 else -2
    return Layer(operation, Edge(operation, data), Edge(operation, weights), axis, output_axis)


def contracts_first(layer: Layer) -> bool:
    """Whether the last but one axis of the weights of a MatMul is summed over.

    Args:
        layer: The layer, a MatMul.
    """
    return contracted_axis(layer) == len(shape_of(layer.weights.source) or ()) - 2


def contracted_axis(layer: Layer) -> int:
    """The axis of the weights of a MatMul that is summed over.

    Args:
        layer: The layer, a MatMul.
    """
    rank = len(shape_of(layer.weights.source) or ())
    transposed = layer.operation.node.get_attributes()["transpose_b" if layer.weights.port else "transpose_a"]
    return rank - 2 if (layer.weights.port == 1) != transposed else rank - 1
