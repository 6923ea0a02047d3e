"""Features of an activation, divided between a tensor and the products that read it: the model does not notice."""

from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.graph.biases import along
from tasks.graph.constants import make_constant, read_constant, write_constant
from tasks.graph.layers import ChannelMean, Layer, contracted_axis, find_layers
from tasks.graph.operations import read_operations, shape_of
from tasks.graph.traversal import find_output, nodes_by_name


@dataclass(frozen=True)
class SmoothPoint:
    """A tensor with features along ``axis`` and the products with constant weights that read it, by name."""

    tensor: str
    axis: int
    consumers: tuple[str, ...]


def find_smooth_points(model: ov.Model) -> tuple[SmoothPoint, ...]:
    """Every computed tensor of known features that products with constant weights read; others may read it as well."""
    readers: dict[ChannelMean, list[Layer]] = {}
    for layer in find_layers(read_operations(model)):
        shape = shape_of(layer.data.source)
        if layer.operation.type == "MatMul" and shape and len(shape) > 1 and shape[layer.data_axis] is not None:
            readers.setdefault(layer.mean, []).append(layer)
    return tuple(
        SmoothPoint(mean.tensor, mean.axis, tuple(sorted(layer.name for layer in layers)))
        for mean, layers in sorted(readers.items())
    )


def read_weights(model: ov.Model, point: SmoothPoint) -> list[NDArray[np.float64]]:
    """The matrices (outputs, features) of a point's products."""
    layers = {layer.name: layer for layer in find_layers(read_operations(model))}
    matrices = []
    for name in point.consumers:
        layer = layers[name]
        weights = read_constant(layer.operation.node, layer.weights.port)
        matrix = weights.reshape(weights.shape[-2:])
        matrices.append(matrix.T if contracted_axis(layer) == weights.ndim - 2 else matrix)
    return matrices


def smooth(model: ov.Model, point: SmoothPoint, factors: NDArray[np.float64]) -> None:
    """Divide the features of a tensor and multiply the weights that read them.

    Before: ``tensor -> products``. After: ``tensor -> Multiply (1 / factors) -> products``, whose weights are new
    constants. Other consumers keep reading the tensor.
    """
    layers = {layer.name: layer for layer in find_layers(read_operations(model))}
    nodes = nodes_by_name(model)
    source = find_output(nodes, point.tensor)
    rank = source.get_partial_shape().rank.get_length()
    values = along(1 / factors, (point.axis,), rank)
    constant = make_constant(f"{point.tensor}/smoothing_factors", values, source.get_element_type())
    product = ops.multiply(source, constant)
    product.set_friendly_name(f"{point.tensor}/smoothed")
    for name in point.consumers:
        layer = layers[name]
        weights = read_constant(nodes[name], layer.weights.port)
        axis = contracted_axis(layer)
        scaled = weights * along(factors, (axis,), weights.ndim)
        write_constant(nodes[name], layer.weights.port, scaled, "smoothed_weights")
        nodes[name].input(layer.data.port).replace_source_output(product.output(0))
    model.validate_nodes_and_infer_types()
