"""The edit that quantizes a model: it takes a valid graph and leaves a valid graph.

Every new node gets an explicit name, so that equal edits give equal bytes: OpenVINO's automatic names come from a
counter of the process.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.graph.constants import constant_value, make_constant
from tasks.graph.naming import move_names
from tasks.graph.placement import QuantizationPoint, Role
from tasks.graph.traversal import find_output, nodes_by_name
from tasks.numerics.affine import FakeQuantizeParameters, broadcast_channels

# Weights with more levels do not fit in int8: they stay float, with a FakeQuantize behind them.
MOST_INT8_LEVELS = 256

_LARGEST_FLOAT16 = float(np.finfo(np.float16).max)

# Number of weights that are quantized at once.
_BLOCK = 1 << 16


def insert_quantizers(
    model: ov.Model, points: tuple[QuantizationPoint, ...], parameters: Mapping[str, FakeQuantizeParameters]
) -> None:
    """Insert all quantizers of a model, in place: a FakeQuantize for activations, int8 constants for weights.

    Before: ``tensor -> consumers``. After: ``tensor -> FakeQuantize -> consumers``, or for weights ``int8 constant ->
    Convert [-> Subtract zero point] -> Multiply scale -> consumers``, which is equal to a FakeQuantize. Other readers
    keep the tensor as it was. If a consumer is an output of the model, the tensor's names move to the new output.
    Asymmetric weights of transposed convolutions stay float behind a FakeQuantize: OpenVINO (2026.4) forgets their zero
    point otherwise.

    Args:
        model: The float model.
        points: The quantizers to insert.
        parameters: FakeQuantize parameters by name of the quantizer, (channels,) or (1,), float32.

    Raises:
        KeyError: A quantizer has no parameters, or the model lacks its tensor or a consumer.

    Example:
        >>> from tasks.graph.placement import place_quantizers
        >>> data = ops.parameter([1, 2], name="data")
        >>> weights = np.float32([[0.5, 1], [2, -1]])
        >>> model = ov.Model([ops.matmul(data, weights, False, True, name="layer")], [data])
        >>> points = place_quantizers(model).points
        >>> bound = np.float32([2])
        >>> parameters = {point.name: FakeQuantizeParameters(-bound, bound, -bound, bound, 255) for point in points}
        >>> insert_quantizers(model, points, parameters)
        >>> [node.get_type_name() for node in model.get_ordered_ops() if node.get_type_name() != "Constant"]
        ['Parameter', 'FakeQuantize', 'Convert', 'Multiply', 'MatMul', 'Result']
    """
    nodes = nodes_by_name(model)
    # Looked up before the first edit, as an edit changes what later quantizers would find.
    sources = {point.name: find_output(nodes, point.tensor) for point in points}
    for point in points:
        source, limits = sources[point.name], parameters[point.name]
        readers = {nodes[consumer.rpartition(":")[0]].get_type_name() for consumer in point.consumers}
        forgotten = "ConvolutionBackpropData" in readers and bool(_scale_and_zero_point(limits)[1].any())
        if point.role == Role.WEIGHTS and limits.levels <= MOST_INT8_LEVELS and not forgotten:
            quantized = _int8_weights(point, source, limits)
        else:
            quantized = _fake_quantize(point, source, limits)
        for consumer in point.consumers:
            name, _, port = consumer.rpartition(":")
            nodes[name].input(int(port)).replace_source_output(quantized)
            if nodes[name].get_type_name() == "Result":
                move_names(source, quantized)
    model.validate_nodes_and_infer_types()


def _fake_quantize(point: QuantizationPoint, source: ov.Output, limits: FakeQuantizeParameters) -> ov.Output:
    """The output of a new FakeQuantize that reads ``source``."""
    limits = _within(limits, source.get_element_type())
    rank = source.get_partial_shape().rank
    axes = point.channel_axes if limits.input_low.size > 1 else ()
    shape = [1] * (rank.get_length() if axes else 0)
    for axis in axes:
        shape[axis] = source.get_partial_shape()[axis].get_length()

    def constant(suffix: str, values: NDArray[np.float32]) -> ov.Output:
        return make_constant(f"{point.name}/{suffix}", values.reshape(shape), source.get_element_type())

    node = ops.fake_quantize(
        source,
        constant("input_low", limits.input_low),
        constant("input_high", limits.input_high),
        constant("output_low", limits.output_low),
        constant("output_high", limits.output_high),
        limits.levels,
    )
    node.set_friendly_name(point.name)
    return node.output(0)


def _within(limits: FakeQuantizeParameters, element_type: ov.Type) -> FakeQuantizeParameters:
    """Limits that an element type can hold: float16 ends at 65504. All shrink alike, so that zero stays on a level."""
    largest = max(float(np.abs(end).max()) for end in vars(limits).values())
    if element_type != ov.Type.f16 or largest <= _LARGEST_FLOAT16:
        return limits
    by = np.float32(_LARGEST_FLOAT16 / largest)
    return FakeQuantizeParameters(
        limits.input_low * by, limits.input_high * by, limits.output_low * by, limits.output_high * by, limits.levels
    )


def _int8_weights(point: QuantizationPoint, source: ov.Output, limits: FakeQuantizeParameters) -> ov.Output:
    """The output of Constant(i8) -> Convert [-> Subtract] -> Multiply, equal to the FakeQuantize of the weights.

    The lowest code is -(levels // 2). Symmetric weights need no Subtract, as zero has code 0.
    """
    weights, element_type = constant_value(source), source.get_element_type()
    low, high, scale, zero_point = (
        broadcast_channels(limit, weights.shape, point.channel_axes).astype(np.float64)
        for limit in (limits.input_low, limits.input_high, *_scale_and_zero_point(limits))
    )
    steps, lowest = limits.levels - 1, -(limits.levels // 2)
    codes = np.empty(weights.shape, np.int8)
    for rows in _blocks(weights):
        bottom, top = (limit[rows] if len(limit) > 1 else limit for limit in (low, high))
        codes[rows] = np.rint((np.clip(weights[rows], bottom, top) - bottom) / (top - bottom) * steps) + lowest
    output = make_constant(f"{point.name}/codes", codes, ov.Type.i8)
    output = _named(ops.convert(output, element_type.get_type_name()), f"{point.name}/convert")
    if np.any(zero_point != 0):
        zero = make_constant(f"{point.name}/zero_point", zero_point, element_type)
        output = _named(ops.subtract(output, zero), f"{point.name}/subtract")
    scales = make_constant(f"{point.name}/scale", scale, element_type)
    return _named(ops.multiply(output, scales), point.name)


def _scale_and_zero_point(limits: FakeQuantizeParameters) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The scale and the zero point of each channel, float64, of the shape of the bounds."""
    scale = (limits.output_high.astype(np.float64) - limits.output_low) / (limits.levels - 1)
    zero_point = -(limits.levels // 2) - limits.output_low / scale
    nearest = np.rint(zero_point)
    return scale, nearest if np.allclose(zero_point, nearest, rtol=0, atol=1e-3) else zero_point


def _blocks(weights: NDArray[np.float32]) -> Iterator[slice]:
    """Slices of axis 0, small enough for temporaries in float64 to stay in the cache."""
    rows = max(1, _BLOCK * len(weights) // weights.size)
    yield from (slice(start, start + rows) for start in range(0, len(weights), rows))


def _named(node: ov.Node, name: str) -> ov.Output:
    node.set_friendly_name(name)
    return node.output(0)
