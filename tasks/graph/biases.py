"""Biases of layers: constants added to what a layer computes; found, changed and created.

Channels lie on an axis of the layer's output. It is counted from the end wherever a constant is concerned, as a bias of
shape (channels,) or (channels, 1, 1) has no axes before it.
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
    """The Add of a constant that alone reads what a layer computes, and does not give it more axes or channels."""
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
    """``bias := (bias + shift) * scale`` by channel, in a new constant, so that other readers keep theirs.

    ``shift`` and ``scale`` have the shape (channels,) and lie on ``axis`` < 0 of the bias. A bias that is quantized
    itself keeps its levels: their limits widen where the new values pass them.
    """
    node, port = bias_input(add)
    before = read_constant(node, port)
    # Axes before the channels are left out: broadcasting gives the bias no axis that it does not need.
    after = before + along(shift, (0,), -axis)
    if scale is not None:
        after = after * along(scale, (0,), -axis)
    write_constant(node, port, after, suffix)
    if node.get_type_name() == "FakeQuantize":
        growth = max(1.0, np.abs(after).max() / max(np.abs(before).max(), np.finfo(np.float32).tiny))
        for limit in range(1, 5):
            write_constant(node, limit, read_constant(node, limit) * growth, f"{suffix}_limit_{limit}")


def bias_input(add: ov.Node) -> tuple[ov.Node, int]:
    """The node and the port that read the constant: those of the Add, or of the FakeQuantize in front of it."""
    # Mostly the second operand: to learn that the other one is computed takes a walk up to the inputs.
    port = 1 if is_constant(add.input_value(1)) else 0
    quantizer = add.input_value(port).get_node()
    return (quantizer, 0) if quantizer.get_type_name() == "FakeQuantize" else (add, port)


def insert_bias(layer: ov.Node, axis: int, name: str) -> ov.Node:
    """Insert an Add of zeros between a layer and all that read it; the channels lie on ``axis`` < 0 of its output.

    An output of the model keeps its names.
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
    """Spread ``values``, whose axes are ``axes`` of a tensor, so that they broadcast over it."""
    return np.expand_dims(values, tuple(axis for axis in range(rank) if axis not in axes))
