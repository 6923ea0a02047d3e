"""Two models in one graph, and copies of operations that read other inputs: for comparisons inside the graph."""

from collections.abc import Callable, Collection, Sequence

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops
from openvino.utils.node_factory import NodeFactory

from tasks.graph.traversal import is_constant


def share_inputs(model: ov.Model, other: ov.Model) -> None:
    """Let ``other`` read the inputs of ``model``, so that outputs of both can form one model.

    Args:
        model: The model that keeps its inputs.
        other: A model with as many inputs, which are matched by position; it is changed in place.

    Raises:
        ValueError: The numbers of inputs differ.
    """
    for mine, theirs in zip(model.get_parameters(), other.get_parameters(), strict=True):
        for reader in theirs.output(0).get_target_inputs():
            reader.replace_source_output(mine.output(0))


def copy_onto(node: ov.Node, inputs: Sequence[ov.Output]) -> ov.Output:
    """The first output of a copy of an operation that reads other inputs.

    Args:
        node: The operation.
        inputs: The tensor that the copy reads at each port.
    """
    kind = node.get_type_info()
    return NodeFactory(kind.version_id).create(kind.name, list(inputs), node.get_attributes()).output(0)


def with_weights(layer: ov.Node, port: int, weights: NDArray[np.float64], data: ov.Output) -> ov.Output:
    """The output of a copy of a layer with other weights and other data.

    Args:
        layer: The operation of the layer.
        port: Port of the weights, 0 or 1.
        weights: The new weights, of the shape of the old ones, float64; stored in the type of the old ones.
        data: The tensor that the copy reads at the other port.
    """
    constant = ops.constant(weights.astype(np.float32), dtype=layer.get_input_element_type(port)).output(0)
    # A transposed convolution may also read the shape of its output.
    rest = [layer.input_value(place) for place in range(2, layer.get_input_size())]
    return copy_onto(layer, [constant if place == port else data for place in range(2)] + rest)


def find_quantizer(source: ov.Output, pass_through: Collection[str]) -> ov.Node | None:
    """The FakeQuantize that a tensor comes from, directly or through ``pass_through`` operations; None without one.

    Args:
        source: The tensor.
        pass_through: Types of operations that hand values on as they are.
    """
    node: ov.Node = source.get_node()
    while node.get_type_name() != "FakeQuantize":
        port = _passed_port(node, pass_through)
        if port is None:
            return None
        node = node.input_value(port).get_node()
    return node


def unquantized(source: ov.Output, pass_through: Collection[str]) -> Callable[[], ov.Output] | None:
    """A function that makes the tensor without the FakeQuantize of :func:`find_quantizer`; None without one.

    The function copies the ``pass_through`` operations between the FakeQuantize and the tensor.

    Args:
        source: The tensor.
        pass_through: Types of operations that hand values on as they are.
    """
    node = source.get_node()
    if node.get_type_name() == "FakeQuantize":
        return lambda: node.input_value(0)
    passed = _passed_port(node, pass_through) if node.get_output_size() == 1 else None
    before = None if passed is None else unquantized(node.input_value(passed), pass_through)
    if before is None:
        return None
    return lambda: copy_onto(
        node, [before() if port == passed else node.input_value(port) for port in range(node.get_input_size())]
    )


def _passed_port(node: ov.Node, pass_through: Collection[str]) -> int | None:
    """The port of the only computed input of a ``pass_through`` operation; None for other operations."""
    if node.get_type_name() not in pass_through:
        return None
    computed = [port for port in range(node.get_input_size()) if not is_constant(node.input_value(port))]
    return computed[0] if len(computed) == 1 else None
