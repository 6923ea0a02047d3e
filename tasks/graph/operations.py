"""A model that is read once into linked Python values, so that walks over it are cheap.

On models of thousands of operations, a call into OpenVINO for every step of a walk would take most of the time of
placement.
"""

from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import NamedTuple

import openvino as ov

from tasks.graph.traversal import STATEFUL_TYPES


class Source(NamedTuple):
    """A tensor: an output of an operation."""

    operation: "Operation"
    port: int

    def __str__(self) -> str:
        return f"{self.operation.name}:{self.port}"


class Edge(NamedTuple):
    """An input of an operation: the place where it reads a tensor."""

    operation: "Operation"
    port: int

    @property
    def source(self) -> Source:
        """The tensor that the input reads."""
        return self.operation.sources[self.port]

    def __str__(self) -> str:
        return f"{self.operation.name}:{self.port}"


@dataclass(frozen=True, eq=False)
class Operation:
    """A node of a model.

    Attributes:
        index: Place in topological order.
        name: Friendly name.
        type: OpenVINO's name of the type.
        node: The node itself.
        sources: The tensor that each input port reads.
        consumers: For each output port the inputs that read it.
        constant: Whether its result is the same in every inference.
        shape_only: Whether its result follows from the shapes of tensors, not from their values.
    """

    index: int
    name: str
    type: str
    node: ov.Node = field(repr=False)
    sources: tuple[Source, ...] = field(repr=False)
    consumers: tuple[list[Edge], ...] = field(repr=False)
    constant: bool
    shape_only: bool

    @cached_property
    def shapes(self) -> tuple[tuple[int | None, ...] | None, ...]:
        """The shape of every output, as it was when first asked for (see :func:`shape_of`)."""
        return tuple(_dimensions(output.get_partial_shape()) for output in self.node.outputs())

    @property
    def known(self) -> bool:
        """Whether its result does not depend on the values of the model's inputs."""
        return self.constant or self.shape_only

    @property
    def edges(self) -> list[Edge]:
        """All inputs of the operation."""
        return [Edge(self, port) for port in range(len(self.sources))]

    @property
    def readers(self) -> list[Edge]:
        """The inputs that read any of its outputs."""
        return [edge for port in self.consumers for edge in port]


def read_operations(model: ov.Model) -> tuple[Operation, ...]:
    """The operations of the main graph in topological order.

    Args:
        model: The model, with unique friendly names; bodies of If, Loop and TensorIterator are not entered.
    """
    by_name: dict[str, Operation] = {}
    for index, node in enumerate(model.get_ordered_ops()):
        outputs = [node.input_value(port) for port in range(node.get_input_size())]
        sources = tuple(Source(by_name[each.get_node().get_friendly_name()], each.get_index()) for each in outputs)
        name, type_ = node.get_friendly_name(), node.get_type_name()
        constant = _is_constant(type_, sources)
        consumers: tuple[list[Edge], ...] = tuple([] for _ in range(node.get_output_size()))
        shape_only = not constant and _is_shape_only(type_, sources)
        operation = Operation(index, name, type_, node, sources, consumers, constant, shape_only)
        by_name[name] = operation
        for edge in operation.edges:
            edge.source.operation.consumers[edge.source.port].append(edge)
    return tuple(by_name.values())


def is_float(source: Source) -> bool:
    """Whether a tensor has a floating-point element type.

    Args:
        source: The tensor.
    """
    return bool(source.operation.node.get_output_element_type(source.port).is_real())


def shape_of(source: Source) -> tuple[int | None, ...] | None:
    """The shape of a tensor, with None for each dynamic dimension; None for a dynamic rank.

    Args:
        source: The tensor.
    """
    return source.operation.shapes[source.port]


def element_count(source: Source) -> int | None:
    """The number of elements of a tensor; None for a dynamic shape.

    Args:
        source: The tensor.
    """
    shape = shape_of(source)
    return None if shape is None or None in shape else prod(size or 0 for size in shape)


def _dimensions(shape: ov.PartialShape) -> tuple[int | None, ...] | None:
    if shape.rank.is_dynamic:
        return None
    # By index, as it takes 10 us to make an iterator over a shape.
    sizes = [shape[axis] for axis in range(len(shape))]
    return tuple(None if size.is_dynamic else size.get_length() for size in sizes)


def _is_constant(type_: str, sources: tuple[Source, ...]) -> bool:
    if type_ == "Constant":
        return True
    return bool(sources) and type_ not in STATEFUL_TYPES and all(each.operation.constant for each in sources)


def _is_shape_only(type_: str, sources: tuple[Source, ...]) -> bool:
    if type_ == "ShapeOf":
        return True
    computed = [each.operation for each in sources if not each.operation.constant]
    return type_ not in STATEFUL_TYPES and bool(computed) and all(each.shape_only for each in computed)
