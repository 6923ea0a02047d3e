"""Smoothing in the graph: the features of an activation move, in part, into the weights that read them.

A tensor x is divided by factors s and its weights W are multiplied by them: ``x W = (x / s) (s W)``, so that the model
computes the same (SmoothQuant, see :mod:`tasks.numerics.smoothing`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.graph.biases import along
from tasks.graph.constants import make_constant, read_constant, write_constant
from tasks.graph.layers import ChannelMean, Layer, contracted_axis, find_layers
from tasks.graph.operations import read_operations, shape_of
from tasks.graph.traversal import find_output


@dataclass(frozen=True, order=True)
class Product:
    """A MatMul with constant weights.

    Attributes:
        name: Friendly name.
        data_port: Port of the data, 0 or 1.
        weights_port: Port of the weights.
        summed: Axis of the weights that is summed over.
    """

    name: str
    data_port: int
    weights_port: int
    summed: int


@dataclass(frozen=True)
class SmoothPoint:
    """A tensor whose features can be smoothed.

    Attributes:
        tensor: Name of the tensor.
        axis: Axis of the features.
        products: All products with constant weights that read the tensor.
    """

    tensor: str
    axis: int
    products: tuple[Product, ...]


def find_smooth_points(model: ov.Model) -> tuple[SmoothPoint, ...]:
    """The computed tensors that products with constant weights read, if the number of features is known.

    Other operations may read them as well.

    Args:
        model: The float model.
    """
    readers: dict[ChannelMean, list[Layer]] = {}
    for layer in find_layers(read_operations(model)):
        shape = shape_of(layer.data.source)
        if layer.operation.type == "MatMul" and shape and len(shape) > 1 and shape[layer.data_axis] is not None:
            readers.setdefault(layer.mean, []).append(layer)
    return tuple(
        SmoothPoint(mean.tensor, mean.axis, tuple(sorted(map(_product, layers))))
        for mean, layers in sorted(readers.items())
    )


def _product(layer: Layer) -> Product:
    return Product(layer.name, layer.data.port, layer.weights.port, contracted_axis(layer))


def read_weights(nodes: Mapping[str, ov.Node], point: SmoothPoint) -> list[NDArray[np.float64]]:
    """The weights of each product of a tensor, (outputs, features), float64.

    Args:
        nodes: Nodes of the model by friendly name.
        point: The tensor and its products.
    """
    matrices = []
    for product in point.products:
        weights = read_constant(nodes[product.name], product.weights_port)
        matrix = weights.reshape(weights.shape[-2:])
        matrices.append(matrix.T if product.summed == weights.ndim - 2 else matrix)
    return matrices


def smooth(nodes: Mapping[str, ov.Node], point: SmoothPoint, factors: NDArray[np.float64]) -> None:
    """Divide the features of a tensor by factors and multiply the weights of its products by them, in place.

    Before: ``tensor -> products``. After: ``tensor -> Multiply (1 / factors) -> products``, whose weights are new
    constants. Other readers keep the tensor as it was.

    Args:
        nodes: Nodes of the model by friendly name.
        point: The tensor and its products.
        factors: Positive factors, (features,), float64.
    """
    source = find_output(nodes, point.tensor)
    rank = source.get_partial_shape().rank.get_length()
    values = along(1 / factors, (point.axis,), rank)
    constant = make_constant(f"{point.tensor}/smoothing_factors", values, source.get_element_type())
    divided = ops.multiply(source, constant)
    divided.set_friendly_name(f"{point.tensor}/smoothed")
    for product in point.products:
        node = nodes[product.name]
        weights = read_constant(node, product.weights_port)
        scaled = weights * along(factors, (product.summed,), weights.ndim)
        write_constant(node, product.weights_port, scaled, "smoothed_weights")
        node.input(product.data_port).replace_source_output(divided.output(0))
