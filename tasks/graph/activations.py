"""What computes an output: a softmax or a sigmoid, the largest of classes, a plain layer, or something else."""

from dataclasses import dataclass
from enum import StrEnum

import openvino as ov

from tasks.graph.layers import PRODUCTS
from tasks.graph.moving import HANDED_ON, KEEPING, TAKING, end_of, moved_from
from tasks.graph.operations import Operation, Source, shape_of

_SCALING = frozenset({"Add", "Subtract", "Multiply", "Divide"})
_IMAGE_RANK = 4


class Kind(StrEnum):
    """What computes a part of an output."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    PLAIN = "plain"
    OTHER = "other"


@dataclass(frozen=True)
class Activation:
    """A softmax or a sigmoid; ``read`` is what it reads, ``axis`` that of a softmax, ``classes`` the same from the end.

    There are no classes where the network goes on with what a softmax computes, as attention does.
    """

    operation: Operation
    kind: Kind
    read: Source
    axis: int | None = None
    classes: int | None = None


def find_activation(source: Source) -> Activation | None:
    """The softmax or the sigmoid whose values, or some of them, are moved to a tensor; None where there is none.

    Args:
        source: The tensor.
    """
    last = end_of(source, KEEPING | TAKING).operation
    if last.type == "Sigmoid":
        return Activation(last, Kind.SIGMOID, last.sources[0])
    found = _softmax(last)
    if found is None:
        return None
    read, axis = found
    if _goes_on(last):
        return Activation(last, Kind.OTHER, read, axis)
    return Activation(last, Kind.SOFTMAX, read, axis, _from_the_end(read, axis))


def argmax_axis(source: Source) -> int | None:
    """The axis, from the end, of the classes whose logarithmic probabilities a tensor holds; None for other tensors.

    Args:
        source: The tensor.
    """
    last = end_of(source, HANDED_ON).operation
    return _from_the_end(last.sources[0], last.node.get_attributes()["axis"]) if last.type == "LogSoftmax" else None


def largest_along(selection: Operation) -> int | None:
    """The axis, from the end, along which a TopK finds the largest value alone; None for other operations.

    Args:
        selection: The operation.
    """
    if selection.type != "TopK" or count_of(selection) != 1 or selection.node.get_attributes()["mode"] != "max":
        return None
    return _from_the_end(selection.sources[0], selection.node.get_attributes()["axis"])


def count_of(selection: Operation) -> int | None:
    """The number of values that a TopK finds; None if it is computed.

    Args:
        selection: The TopK.
    """
    node = selection.sources[1].operation.node
    return int(node.get_data().item()) if isinstance(node, ov.op.Constant) else None


def is_plain(source: Source) -> bool:
    """Whether a layer computes a tensor, with nothing behind it but constants that scale and shift.

    Args:
        source: The tensor.
    """
    shape = shape_of(source)
    # The channels of an image are looked for on axis 1: they must not have moved.
    moves = HANDED_ON if shape is None or len(shape) >= _IMAGE_RANK else KEEPING
    while True:
        source = end_of(source, moves)
        operation = source.operation
        computed = [each for each in operation.sources if not each.operation.known]
        if len(computed) != 1 or operation.type not in PRODUCTS | _SCALING:
            return False
        if operation.type in PRODUCTS:
            return True
        [source] = computed


def _softmax(last: Operation) -> tuple[Source, int] | None:
    """What a softmax reads, and its axis; converters also write it as exponentials divided by their sum."""
    if last.type == "Softmax":
        return last.sources[0], int(last.node.get_attributes()["axis"])
    if last.type != "Divide":
        return None
    exponential, total = (end_of(each, HANDED_ON) for each in last.sources)
    total = end_of(total, KEEPING | {"Broadcast"})
    if exponential.operation.type != "Exp" or total.operation.type != "ReduceSum":
        return None
    axes = total.operation.sources[1].operation.node
    summed = end_of(total.operation.sources[0], HANDED_ON)
    if summed != exponential or not isinstance(axes, ov.op.Constant) or axes.get_data().size != 1:
        return None
    return exponential.operation.sources[0], int(axes.get_data().item())


def _goes_on(activation: Operation) -> bool:
    """Whether products read what an activation computes."""
    waiting = list(activation.readers)
    while waiting:
        edge = waiting.pop()
        if edge.operation.type in PRODUCTS:
            return True
        if moved_from(edge.operation, KEEPING | TAKING) == edge.source:
            waiting += edge.operation.readers
    return False


def _from_the_end(source: Source, axis: int) -> int | None:
    if axis < 0:
        return axis
    shape = shape_of(source)
    return None if shape is None else axis - len(shape)
