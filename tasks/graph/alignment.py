"""Channel alignment in the graph: channels between two layers are shifted and scaled; the model computes the same.

After POT's ActivationChannelAlignment (2023.3), with these differences, all of which keep the model's function:

- **The first layer has no other reader**, with its bias or without. POT looked only at what the second layer reads.
- **Sums of two computed tensors** are no biases; POT took the first operand of any Add for the first layer.
- **MatMul** counts as first layer where its rows become axis 1, the second layer's channels. POT scaled axis 0 of any
  weights that had the right length.
- **Padding that depends on the input's shape** (``auto_pad`` same) excludes kernels larger than 1.
"""

from dataclasses import dataclass

import openvino as ov

from tasks.graph.biases import Channels, along, change_bias, find_bias, insert_bias
from tasks.graph.constants import read_constant, write_constant
from tasks.graph.operations import Operation, Source, read_operations, shape_of
from tasks.graph.traversal import nodes_by_name

CHANNEL_AXIS = 1

_CONVOLUTIONS = {"Convolution", "GroupConvolution"}


@dataclass(frozen=True)
class AlignmentPair:
    """Two layers: ``producer [-> producer_bias] -> consumer [-> consumer_bias]``, by the names of their operations.

    Attributes:
        producer: The first layer.
        producer_bias: Its bias, an Add of a constant; None without one.
        tensor: Name of the tensor that the second layer reads, channels on axis 1.
        consumer: The second layer.
        consumer_bias: Its bias; None without one.
    """

    producer: str
    producer_bias: str | None
    tensor: str
    consumer: str
    consumer_bias: str | None


def find_pairs(model: ov.Model) -> tuple[AlignmentPair, ...]:
    """The pairs of a model, by the consumer's name.

    Producers are convolutions, grouped ones too, and products of constant rows and a computed matrix. Consumers are
    ungrouped convolutions without stride, dilation and padding: then the shift of a channel shifts the output by the
    same number everywhere. Nothing else reads what lies between them, and all weights are constant.

    Args:
        model: The float model.
    """
    pairs = []
    for consumer in read_operations(model):
        if not _absorbs_shifts(consumer):
            continue
        source = consumer.sources[0]
        producer = _producer(source.operation)
        if producer is not None:
            bias = source.operation if source.operation is not producer else None
            pairs.append(
                AlignmentPair(
                    producer.name, _name(bias), str(source), consumer.name, _name(find_bias(consumer, CHANNEL_AXIS))
                )
            )
    return tuple(sorted(pairs, key=lambda pair: pair.consumer))


def align_pair(model: ov.Model, pair: AlignmentPair, centre: Channels, factors: Channels) -> None:
    """Replace ``tensor`` x by (x - centre) / factors, in place, and let the consumer undo it.

    With W the consumer's weights: ``producer weights / factors``, ``producer bias := (bias - centre) / factors``,
    ``consumer bias += sum over kernel and channels of W centre``, ``W *= factors`` by input channel. Missing biases are
    inserted. Changed constants are new ones of the model's element type, so that other readers keep the old ones. A
    bias keeps its shape if that has the channels.

    Args:
        model: The float model.
        pair: The pair.
        centre: Shift of each channel, (channels,), float64, in units of the tensor.
        factors: Positive factor of each channel, (channels,), float64.
    """
    nodes = nodes_by_name(model)
    producer, consumer = nodes[pair.producer], nodes[pair.consumer]
    weights = read_constant(consumer, 1)
    offset = weights.sum(axis=tuple(range(2, weights.ndim))) @ centre

    _scale_rows(producer, 1 / factors)
    bias = _bias(nodes, pair.producer_bias, producer)
    change_bias(bias, _channel_axis(bias), -centre, 1 / factors, suffix="aligned_value")
    bias = _bias(nodes, pair.consumer_bias, consumer)
    change_bias(bias, _channel_axis(bias), offset, suffix="aligned_value")
    write_constant(consumer, 1, weights * along(factors, (1,), weights.ndim), "aligned_weights")


def aligned_name(layer: str) -> str:
    """The name of the bias that a layer without one gets.

    Args:
        layer: Name of the layer.
    """
    return f"{layer}/aligned_bias"


def _absorbs_shifts(operation: Operation) -> bool:
    """Whether a shift of an input channel shifts every output channel by the same number everywhere."""
    if operation.type != "Convolution" or not _has_weights(operation, 1):
        return False
    attributes = operation.node.get_attributes()
    if {*attributes["strides"], *attributes["dilations"]} != {1}:
        return False
    if attributes["auto_pad"] in ("same_upper", "same_lower"):
        kernel = (shape_of(operation.sources[1]) or (None,))[2:]
        return all(size == 1 for size in kernel)
    return not any((*attributes["pads_begin"], *attributes["pads_end"]))


def _producer(last: Operation) -> Operation | None:
    """The layer that ends with ``last``, which is its bias or itself, if a single input reads it."""
    if len(last.readers) != 1:
        return None
    for layer in (last, *(source.operation for source in last.sources)):
        if _makes_channels(layer) and (layer is last or find_bias(layer, CHANNEL_AXIS) is last):
            return layer
    return None


def _makes_channels(operation: Operation) -> bool:
    """Whether an operation is a layer with constant weights and its output features on axis 1."""
    if operation.type in _CONVOLUTIONS:
        return _has_weights(operation, 1)
    shape = shape_of(Source(operation, 0)) if operation.type == "MatMul" else None
    rows = shape_of(operation.sources[0]) if shape else None
    return bool(shape and rows and len(shape) == 3 and len(rows) > 1 and _has_weights(operation, 0))


def _has_weights(operation: Operation, port: int) -> bool:
    return operation.sources[port].operation.constant and not operation.constant


def _name(operation: Operation | None) -> str | None:
    return operation.name if operation is not None else None


def _scale_rows(layer: ov.Node, scale: Channels) -> None:
    """Multiply the weights that make each channel of a layer's output, in place."""
    port = 1 if layer.get_type_name() in _CONVOLUTIONS else 0
    weights = read_constant(layer, port)
    axes: tuple[int, ...] = (0,)
    if layer.get_type_name() == "MatMul":
        axes = (weights.ndim - (1 if layer.get_attributes()["transpose_a"] else 2),)
    elif layer.get_type_name() == "GroupConvolution":
        axes, scale = (0, 1), scale.reshape(weights.shape[:2])
    write_constant(layer, port, weights * along(scale, axes, weights.ndim), "aligned_weights")


def _bias(nodes: dict[str, ov.Node], name: str | None, layer: ov.Node) -> ov.Node:
    """The bias of a layer; it is inserted if neither the model nor another pair gave the layer one."""
    name = name or aligned_name(layer.get_friendly_name())
    if name not in nodes:
        nodes[name] = insert_bias(layer, CHANNEL_AXIS - layer.get_output_partial_shape(0).rank.get_length(), name)
    return nodes[name]


def _channel_axis(bias: ov.Node) -> int:
    return CHANNEL_AXIS - int(bias.get_output_partial_shape(0).rank.get_length())
