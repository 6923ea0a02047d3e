"""A model read once into linked Python values, so that walks over it are cheap.

A call into OpenVINO for every step of every walk would dominate placement on models of thousands of operations.
"""

from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import NamedTuple

import openvino as ov

from tasks.graph.traversal import STATEFUL_TYPES


class Source(NamedTuple):
    """An output of an operation: a tensor."""

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
        """The tensor read here."""
        return self.operation.sources[self.port]

    def __str__(self) -> str:
        return f"{self.operation.name}:{self.port}"


@dataclass(frozen=True, eq=False)
class Operation:
    """A node of a model; ``index`` is its place in topological order.

    ``constant``: it computes the same in every inference. ``shape_only``: its value follows from the shapes of tensors,
    not from their values. ``consumers`` holds, per output port, the inputs that read it.
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
        """The dimensions of every output, as they were when first asked for; see :func:`shape_of`."""
        return tuple(_dimensions(output.get_partial_shape()) for output in self.node.outputs())

    @property
    def known(self) -> bool:
        """Whether its value does not depend on the values of the model's inputs."""
        return self.constant or self.shape_only

    @property
    def edges(self) -> list[Edge]:
        """Its inputs."""
        return [Edge(self, port) for port in range(len(self.sources))]

    @property
    def readers(self) -> list[Edge]:
        """The inputs that read any of its outputs."""
        return [edge for port in self.consumers for edge in port]


def read_operations(model: ov.Model) -> tuple[Operation, ...]:
    """The main graph in topological order. Bodies of If, Loop and TensorIterator are not entered."""
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
    """Whether a tensor has a floating-point element type."""
    return bool(source.operation.node.get_output_element_type(source.port).is_real())


def shape_of(source: Source) -> tuple[int | None, ...] | None:
    """The dimensions of a tensor, None where dynamic; None for a dynamic rank."""
    return source.operation.shapes[source.port]


def element_count(source: Source) -> int | None:
    """How many elements a tensor has; None for a dynamic shape."""
    shape = shape_of(source)
    return None if shape is None or None in shape else prod(size or 0 for size in shape)


def _dimensions(shape: ov.PartialShape) -> tuple[int | None, ...] | None:
    if shape.rank.is_dynamic:
        return None
    # By index: an iterator over a shape takes 10 us to make.
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
