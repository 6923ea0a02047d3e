"""Biases of layers: constants that are added to a layer's output; find, change and insert them.

Channels lie along one axis of a layer's output. For a constant the axis is counted from the end, as a bias of shape
(channels,) or (channels, 1, 1) lacks the axes before it.
"""

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.graph.constants import make_constant, read_constant, write_constant
from tasks.graph.naming import move_names
from tasks.graph.operations import Operation, Source, shape_of
from tasks.graph.traversal import is_constant

Channels = NDArray[np.float64]


def find_bias(layer: Operation, axis: int) -> Operation | None:
    """The bias of a layer: the Add of a constant that alone reads its output; None without one.

    An Add that gives the output more axes or more channels is no bias.

    Args:
        layer: The layer.
        axis: Axis of the channels in the layer's output.
    """
    readers = layer.readers
    if len(readers) != 1 or readers[0].operation.type != "Add":
        return None
    add, port = readers[0]
    before, after = shape_of(Source(layer, 0)), shape_of(Source(add, 0))
    if not add.sources[1 - port].operation.constant or before is None or after is None:
        return None
    numpy_rules = add.node.get_attributes()["auto_broadcast"] == "numpy"
    same_channels = len(before) == len(after) and before[axis] == after[axis]
    return add if numpy_rules and same_channels else None


def change_bias(add: ov.Node, axis: int, shift: Channels, scale: Channels | None = None, *, suffix: str) -> None:
    """Set ``bias := (bias + shift) * scale`` for each channel, in place.

    The new values are a new constant, so that other readers keep the old one. A bias with a FakeQuantize of its own
    keeps the number of levels; the range widens where the new values exceed it.

    Args:
        add: The Add that is the bias.
        axis: Axis of the channels in the bias, negative.
        shift: Shift of each channel, (channels,), float64, in units of the layer's output.
        scale: Factor of each channel, (channels,), float64; None for 1.
        suffix: End of the new constant's name.
    """
    node, port = bias_input(add)
    before = read_constant(node, port)
    # Without the axes before the channels, so that broadcasting gives the bias no axis that it does not need.
    after = before + along(shift, (0,), -axis)
    if scale is not None:
        after = after * along(scale, (0,), -axis)
    write_constant(node, port, after, suffix)
    if node.get_type_name() == "FakeQuantize":
        growth = max(1.0, np.abs(after).max() / max(np.abs(before).max(), np.finfo(np.float32).tiny))
        for limit in range(1, 5):
            write_constant(node, limit, read_constant(node, limit) * growth, f"{suffix}_limit_{limit}")


def bias_input(add: ov.Node) -> tuple[ov.Node, int]:
    """The node and the port that read the constant of a bias: the Add, or the FakeQuantize in front of it.

    Args:
        add: The Add that is the bias.
    """
    # Mostly the second operand. To see that an operand is computed takes a walk up to the inputs.
    port = 1 if is_constant(add.input_value(1)) else 0
    quantizer = add.input_value(port).get_node()
    return (quantizer, 0) if quantizer.get_type_name() == "FakeQuantize" else (add, port)


def insert_bias(layer: ov.Node, axis: int, name: str) -> ov.Node:
    """The Add of zeros that is inserted between a layer and all its readers; names of a model's output move to it.

    Args:
        layer: The operation of the layer.
        axis: Axis of the channels in the layer's output, negative.
        name: Friendly name of the Add.
    """
    output = layer.output(0)
    readers = output.get_target_inputs()
    shape = output.get_partial_shape()
    rank = shape.rank.get_length()
    zeros = np.zeros([shape[rank + axis].get_length() if place == axis else 1 for place in range(-rank, 0)])
    add = ops.add(output, make_constant(f"{name}/zeros", zeros, output.get_element_type()))
    add.set_friendly_name(name)
    for reader in readers:
        reader.replace_source_output(add.output(0))
        if reader.get_node().get_type_name() == "Result":
            move_names(output, add.output(0))
    return add


def along(values: Channels, axes: tuple[int, ...], rank: int) -> Channels:
    """``values`` with axes of length 1 added, so that they broadcast over a tensor.

    Args:
        values: One axis for each of ``axes``, float64.
        axes: Axes of the tensor that ``values`` lie along.
        rank: Number of axes of the tensor.
    """
    return np.expand_dims(values, tuple(axis for axis in range(rank) if axis not in axes))
