"""Cross-layer equalization in the graph: channels between two layers are scaled; the model computes the same.

Functions with ``f(x / s) = f(x) / s`` for s > 0 let the scale of a channel pass: ReLU, PReLU (leaky ReLU is one) and
max pooling. A depthwise convolution with constant weights is a layer: it forms one pair with the layer in front of it
and another with the layer behind it. Clamp stops a scale, as its bound would have to move with each channel. Nagel et
al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.1.
"""

from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.graph.biases import Channels, along, change_bias, find_bias
from tasks.graph.constants import read_constant, write_constant
from tasks.graph.layers import Layer, contracted_axis, find_layers
from tasks.graph.operations import Operation, Source, read_operations, shape_of
from tasks.graph.traversal import nodes_by_name

_HOMOGENEOUS = {"Relu", "PRelu", "MaxPool"}
_FEATURES = {"Convolution": 0, "ConvolutionBackpropData": 1}
_GROUPED = {"GroupConvolution", "GroupConvolutionBackpropData"}
_KINDS = {*_FEATURES, *_GROUPED, "MatMul"}


@dataclass(frozen=True)
class EqualizationPair:
    """Two layers: ``producer [-> bias] -> functions that let scales pass -> tensor -> consumer``, by name.

    Attributes:
        producer: The first layer.
        producer_port: Port of its weights.
        made: Axes of its weights that hold its output channels, in C order.
        bias: Its bias, an Add of a constant; None without one.
        bias_axis: Axis of the channels in the bias, negative.
        tensor: Name of the tensor that the second layer reads.
        consumer: The second layer.
        consumer_port: Port of its weights.
        read: Axes of its weights that hold its input channels, in C order.
    """

    producer: str
    producer_port: int
    made: tuple[int, ...]
    bias: str | None
    bias_axis: int
    tensor: str
    consumer: str
    consumer_port: int
    read: tuple[int, ...]


def find_pairs(model: ov.Model) -> tuple[EqualizationPair, ...]:
    """The pairs of a model, by the consumer's name; nothing else reads what lies between the two layers.

    Args:
        model: The float model.
    """
    layers = {layer.operation: layer for layer in find_layers(read_operations(model))}
    found = (_pair(consumer, layers) for consumer in layers.values())
    return tuple(sorted((pair for pair in found if pair is not None), key=lambda pair: pair.consumer))


def read_columns(model: ov.Model, pair: EqualizationPair) -> NDArray[np.float64]:
    """The consumer's weights, (outputs, channels), float64; the taps of the kernel are among the outputs.

    Args:
        model: The model.
        pair: The pair.
    """
    weights = read_constant(nodes_by_name(model)[pair.consumer], pair.consumer_port)
    ahead = np.moveaxis(weights, pair.read, range(len(pair.read)))
    return ahead.reshape(int(np.prod(ahead.shape[: len(pair.read)])), -1).T


def read_rows(model: ov.Model, pair: EqualizationPair) -> NDArray[np.float64]:
    """The producer's weights, (channels, values), float64.

    Args:
        model: The model.
        pair: The pair.
    """
    weights = read_constant(nodes_by_name(model)[pair.producer], pair.producer_port)
    ahead = np.moveaxis(weights, pair.made, range(len(pair.made)))
    return ahead.reshape(int(np.prod(ahead.shape[: len(pair.made)])), -1)


def equalize_pair(model: ov.Model, pair: EqualizationPair, factors: Channels) -> None:
    """Divide the channels of ``tensor`` by factors, in place, and let the consumer multiply by them.

    Changed constants are new ones, so that other readers keep the old ones.

    Args:
        model: The float model.
        pair: The pair.
        factors: Positive factor of each channel, (channels,), float64.
    """
    nodes = nodes_by_name(model)
    _scale(nodes[pair.producer], pair.producer_port, pair.made, 1 / factors)
    if pair.bias is not None:
        change_bias(nodes[pair.bias], pair.bias_axis, np.zeros_like(factors), 1 / factors, suffix="equalized_value")
    _scale(nodes[pair.consumer], pair.consumer_port, pair.read, factors)


def _scale(layer: ov.Node, port: int, axes: tuple[int, ...], scale: Channels) -> None:
    weights = read_constant(layer, port)
    spread = along(scale.reshape([weights.shape[axis] for axis in axes]), axes, weights.ndim)
    write_constant(layer, port, weights * spread, "equalized_weights")


def _pair(consumer: Layer, layers: dict[Operation, Layer]) -> EqualizationPair | None:
    """The pair of a consumer and the layer in front of it; None without one."""
    last = consumer.data.source.operation
    shape = shape_of(consumer.data.source)
    while last.type in _HOMOGENEOUS and _passes(last) and len(last.readers) == 1:
        last = last.sources[0].operation
    if shape is None or len(last.readers) != 1 or consumer.operation.type not in _KINDS:
        return None
    for layer in (layers.get(each) for each in (last, *(source.operation for source in last.sources))):
        if layer is None or layer.operation.type not in _KINDS:
            continue
        bias = find_bias(layer.operation, layer.output_axis)
        alone = layer.operation is last or (bias is last and len(layer.operation.readers) == 1)
        same_axis = consumer.data_axis == len(shape) + layer.output_axis
        if not alone or not same_axis:
            continue
        made, read = _made(layer), _read(consumer)
        sizes = [_channels(edge.source, axes) for edge, axes in ((layer.weights, made), (consumer.weights, read))]
        if sizes[0] != shape[consumer.data_axis] or sizes[0] != sizes[1]:
            return None
        return EqualizationPair(
            producer=layer.name,
            producer_port=layer.weights.port,
            made=made,
            bias=last.name if bias is last else None,
            bias_axis=layer.output_axis,
            tensor=str(consumer.data.source),
            consumer=consumer.name,
            consumer_port=consumer.weights.port,
            read=read,
        )
    return None


def _passes(operation: Operation) -> bool:
    """Whether only the first output is read (max pooling has two), and all operands but the first are constant."""
    return len(operation.consumers[0]) == len(operation.readers) and all(
        source.operation.constant for source in operation.sources[1:]
    )


def _made(layer: Layer) -> tuple[int, ...]:
    """The axes of a layer's weights that hold its output channels."""
    kind = layer.operation.type
    if kind == "GroupConvolution":
        return (0, 1)
    if kind == "GroupConvolutionBackpropData":
        return (0, 2)
    return (_FEATURES[kind],) if kind in _FEATURES else (_other_axis(layer),)


def _read(layer: Layer) -> tuple[int, ...]:
    """The axes of a layer's weights that hold its input channels."""
    kind = layer.operation.type
    if kind == "GroupConvolution":
        return (0, 2)
    if kind == "GroupConvolutionBackpropData":
        return (0, 1)
    return (1 - _FEATURES[kind],) if kind in _FEATURES else (contracted_axis(layer),)


def _other_axis(layer: Layer) -> int:
    rank = len(shape_of(layer.weights.source) or ())
    return 2 * rank - 3 - contracted_axis(layer)


def _channels(weights: Source, axes: tuple[int, ...]) -> int | None:
    shape = shape_of(weights)
    sizes = [shape[axis] for axis in axes] if shape else [None]
    return None if None in sizes else int(np.prod([size or 0 for size in sizes]))
