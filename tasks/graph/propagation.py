"""Propagation: quantization moves upwards, over operations that compute on quantized values as they are."""

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tasks.graph.constants import constant_value
from tasks.graph.devices import Device
from tasks.graph.insertion import scales_and_shifts
from tasks.graph.operations import Edge, Operation, Source, is_float, shape_of


@dataclass(frozen=True)
class Propagated:
    """The quantized inputs of a model after propagation.

    Attributes:
        edges: The inputs that read a quantized tensor, each with the operations for whose sake it is quantized.
        crossed: The operations that quantization moved over, with the same.
    """

    edges: Mapping[Edge, frozenset[Operation]]
    crossed: Mapping[Operation, frozenset[Operation]]


def propagate(
    operations: tuple[Operation, ...],
    starts: Mapping[Operation, tuple[Edge, ...]],
    device: Device,
    barriers: Collection[Operation],
) -> Propagated:
    """The quantized inputs, after they moved up over pass-through operations.

    An operation is crossed when every reader of its results is quantized; a pass-through reader counts as quantized
    when it was crossed. One pass against the order of the data thus decides everything. ShapeOf is no reader, as it
    reads no values. A Result blocks the way, since the model's output would become quantized, unless the table of the
    device lists Result among what it quantizes.

    Args:
        operations: All operations of a model, in topological order.
        starts: The inputs at which quantization starts, by operation.
        device: The target device.
        barriers: Operations that are not crossed.
    """
    edges = {edge: frozenset({start}) for start, each in starts.items() for edge in each}
    crossed: dict[Operation, frozenset[Operation]] = {}
    indifferent: set[Edge] = set()
    for operation in reversed(operations):
        if operation.type == "ShapeOf":
            indifferent.update(operation.edges)
        if operation.type not in device.pass_through or operation in barriers or operation.known:
            continue
        if device.cpu and _pads_with_values(operation):
            continue
        readers = [edge for edge in operation.readers if edge not in indifferent]
        if not readers:
            indifferent.update(operation.edges)
        elif all(edge in edges for edge in readers) and (ports := crossing_edges(operation)):
            targets = frozenset().union(*(edges.pop(edge) for edge in readers))
            edges |= dict.fromkeys(ports, targets)
            crossed[operation] = targets
            indifferent.update(edge for edge in operation.edges if edge not in ports)
    scales = {target for edge, targets in edges.items() if _is_input_scale(edge, targets) for target in targets}
    return Propagated({edge: targets for edge, targets in edges.items() if not targets <= scales}, crossed)


def crossing_edges(operation: Operation) -> tuple[Edge, ...]:
    """The inputs to which quantization moves from the outputs of an operation; () if it cannot be crossed.

    All values of the result must come from quantized inputs. A constant operand of Minimum and Maximum is left out all
    the same, as in POT: it is a bound, often outside the range.

    Args:
        operation: A pass-through operation.
    """
    data = _data_edges(operation)
    computed = [edge for edge in data if not edge.source.operation.known]
    if any(edge.source.operation.shape_only for edge in data) or not all(is_float(edge.source) for edge in data):
        return ()
    if operation.type == "Concat":
        return tuple(data)
    if operation.type in ("Minimum", "Maximum"):
        return tuple(computed) if len(computed) == 1 else ()
    # Without a computed first input this looks up values of a constant, such as an embedding table.
    return tuple(computed) if data[0] in computed else ()


def _pads_with_values(operation: Operation) -> bool:
    """Whether an operation pads with a constant other than zero: OpenVINO's CPU plugin (2026.4) does it in floats."""
    if operation.type != "Pad" or operation.node.get_attributes()["pad_mode"] != "constant":
        return False
    paddings = [source for source in operation.sources[3:] if source.operation.constant]
    return any(bool(constant_value(each.operation.node.output(each.port)).any()) for each in paddings)


def keeps_channels(edges: Iterable[Edge], crossed: Container[Operation]) -> bool:
    """Whether the channels of a tensor, on axis 1, are on axis 1 behind all crossed operations too.

    They are not where tokens on axis 1 become images, for example: the channels of the images were features, on the
    last axis.

    Args:
        edges: The inputs that read the quantized tensor.
        crossed: The operations that quantization moved over.
    """
    return not any(_moves_channels(edge.operation) for edge in edges_below(edges, crossed) if edge.operation in crossed)


def edges_below(edges: Iterable[Edge], crossed: Container[Operation]) -> set[Edge]:
    """The inputs that read a quantized tensor, and those that read it behind crossed operations.

    Args:
        edges: The inputs that read the quantized tensor.
        crossed: The operations that quantization moved over.
    """
    waiting, found = list(edges), set(edges)
    while waiting:
        operation = waiting.pop().operation
        if operation in crossed:
            fresh = set(operation.readers) - found
            found |= fresh
            waiting += fresh
    return found


def _moves_channels(operation: Operation) -> bool:
    """Whether axis 1 of the result holds something else than axis 1 of the data."""
    if operation.type == "Transpose":
        order = operation.sources[1].operation
        places = constant_value(order.node.output(0)).reshape(-1) if order.constant else np.empty(0)
        return places.size < 2 or bool(places[1] != 1)
    if operation.type not in ("Reshape", "Squeeze", "Unsqueeze", "DepthToSpace"):
        return False
    before, after = shape_of(operation.sources[0]), shape_of(Source(operation, 0))
    return before is None or after is None or before[:2] != after[:2]


def _data_edges(operation: Operation) -> list[Edge]:
    """The inputs whose values are in the result, without indices, shapes and types."""
    if operation.type in ("Concat", "Minimum", "Maximum"):
        return operation.edges
    padding = operation.edges[3:4] if operation.type == "Pad" else []
    return operation.edges[:1] + padding


def _is_input_scale(edge: Edge, targets: frozenset[Operation]) -> bool:
    """Whether an input of the model is quantized for its own scale and shift only, that is for preprocessing."""
    return edge.source.operation.type == "Parameter" and all(map(scales_and_shifts, targets))
