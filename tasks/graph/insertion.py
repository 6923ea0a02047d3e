"""The inputs of each operation at which quantization starts, before it is propagated upwards."""

from collections.abc import Mapping

from tasks.graph import recurrent
from tasks.graph.devices import TRUTH_TYPES, Device, Row
from tasks.graph.operations import Edge, Operation, Source, element_count, is_float, shape_of
from tasks.graph.recurrent import GATES, RECURRENT, STATE_PORT

# Operations with a body: another graph, which runs as often as the operation decides.
BODY_TYPES = frozenset({"If", "Loop", "TensorIterator"})

_WEIGHTED_PORTS = (0, 1)
# They multiply matrices, but most tables have no row for them.
_FLOAT_LAYERS = RECURRENT | {"ScaledDotProductAttention"}
_PORTS = {
    **dict.fromkeys(
        ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul"),
        _WEIGHTED_PORTS,
    ),
    **dict.fromkeys(("Interpolate", "Power", "PRelu", "ReduceMean", "NormalizeL2", "MVN", "AvgPool"), (0,)),
    # Data, states, weights of the input and of the recurrence; lengths and biases stay as they are.
    "LSTMSequence": (0, 1, 4, 5),
    "GRUSequence": (0, 1, 3, 4),
}
_LAYERS = frozenset(_PORTS)


def starting_edges(operation: Operation, row: Row, skipped: Mapping[Operation, str]) -> tuple[Edge, ...] | str:
    """The inputs of an operation to quantize, or the reason why there are none.

    A row that is about outputs only gives no inputs, and no reason.

    Args:
        operation: The operation.
        row: Its row in the device's table.
        skipped: Operations that stay float because of a pattern, each with the reason.
    """
    reason = _why_float(operation, skipped)
    if reason is not None:
        return reason
    if not row.activations:
        return () if is_float(Source(operation, 0)) else "integer tensor"
    ports = _PORTS.get(operation.type, range(len(operation.sources)))
    edges = [Edge(operation, port) for port in ports]
    if not all(is_float(edge.source) for edge in edges):
        return "integer tensor"
    constants_too = not scales_and_shifts(operation)
    chosen = tuple(
        edge for edge in edges if _needs_quantizer(edge, row) and (constants_too or not edge.source.operation.constant)
    )
    return chosen if any(not edge.source.operation.constant for edge in chosen) else "no computed input"


def start_everywhere(
    operations: tuple[Operation, ...], device: Device, skipped: Mapping[Operation, str]
) -> tuple[dict[Operation, tuple[Edge, ...]], dict[Operation, str]]:
    """The inputs to quantize of each operation in the device's table, and the reasons of those that stay float.

    Args:
        operations: All operations of a model.
        device: The target device.
        skipped: Operations that stay float because of a pattern, each with the reason.
    """
    starts, reasons = {}, {}
    for operation in operations:
        row = device.row(operation)
        if operation.type in BODY_TYPES:
            reasons[operation] = "its body is not quantized"
        elif row is None and operation.type in _FLOAT_LAYERS and not operation.known:
            reasons[operation] = f"{operation.type} has no quantized form on {device.name}"
        elif row is not None:
            found = starting_edges(operation, row, skipped)
            if isinstance(found, str):
                reasons[operation] = found
            else:
                starts[operation] = found
    return starts, reasons


def _why_float(operation: Operation, skipped: Mapping[Operation, str]) -> str | None:
    """The reason why an operation stays float; None if its inputs tell."""
    if operation.constant:
        return "constant"
    if operation.shape_only:
        return "computes a shape"
    if operation.type in GATES and (reason := recurrent.why_float(operation)):
        return reason
    if "Backprop" in operation.type and _steps_over_taps(operation):
        return "OpenVINO computes its quantized form wrongly: strides and dilations, or a padding beyond the kernel"
    return "passes an input on" if any(map(passes_input_on, operation.edges)) else skipped.get(operation)


def _steps_over_taps(operation: Operation) -> bool:
    """Whether along an axis a transposed convolution has both steps and gaps between taps, or pads beyond its kernel.

    OpenVINO (2026.4) computes most of these wrongly in integers.
    """
    attributes, shape = operation.node.get_attributes(), shape_of(operation.sources[1]) or ()
    explicit = attributes["auto_pad"] == "explicit"
    steps = (attributes[name] for name in ("strides", "dilations", "pads_begin", "pads_end"))
    kernel = shape[-len(attributes["strides"]) :]
    return any(
        (length != 1 and stride > 1 and dilation > 1)
        or (explicit and length is not None and max(begin, end) > (length - 1) * dilation)
        for length, (stride, dilation, begin, end) in zip(kernel, zip(*steps, strict=True), strict=True)
    )


def _needs_quantizer(edge: Edge, row: Row) -> bool:
    """Whether an input gets a quantizer."""
    source = edge.source
    if source.operation.shape_only or element_count(source) == 0:
        return False
    if not source.operation.constant:
        return True
    if edge.operation.type in GATES and edge.port == STATE_PORT:
        # OpenVINO computes in floats where a constant state is quantized.
        return False
    if edge.operation.type in TRUTH_TYPES or not row.weights:
        return False
    # A single number is exact as it is: OpenVINO folds it into the scales around it.
    return edge.operation.type in _LAYERS or element_count(source) != 1


def scales_and_shifts(operation: Operation) -> bool:
    """Whether an operation is the scale of a scale and shift: a Multiply by a constant in front of an Add of one.

    Args:
        operation: The operation.
    """
    if operation.type != "Multiply" or not any(source.operation.constant for source in operation.sources):
        return False
    return any(
        edge.operation.type == "Add" and any(source.operation.constant for source in edge.operation.sources)
        for edge in operation.readers
    )


def passes_input_on(edge: Edge) -> bool:
    """Whether an output of the model is one of its inputs; OpenVINO cannot compile a FakeQuantize between them.

    Args:
        edge: An input of an operation.
    """
    return edge.operation.type == "Result" and edge.source.operation.type == "Parameter"


def channel_axes(edge: Edge) -> tuple[int, ...]:
    """The axes of a tensor along which a scale per channel makes sense; () for none.

    Constants: the output channels of a layer as OpenVINO's page of the operation lays them out, so that the scale can
    leave the sum over inputs; axis 0 of operands of arithmetic. Computed tensors: axis 1, where POT assumes the
    channels.

    Args:
        edge: The input that reads the tensor.
    """
    source, operation = edge.source, edge.operation
    shape = shape_of(source)
    if not shape:
        return ()
    if source.operation.constant and operation.type in _ARITHMETIC:
        return (0,)
    if len(shape) < 2:
        return ()
    if not source.operation.constant:
        return (1,) if shape[1] is not None else ()
    if operation.type == "MatMul":
        return _features(edge, shape)
    return _WEIGHT_AXES.get(operation.type, {}).get(edge.port, ())


def _features(edge: Edge, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """The axis of a constant matrix that holds the output features of a MatMul; those of a stack along which it lies.

    Each matrix of a stack has its own scales: OpenVINO (2026.4) takes one scale a feature for all of them as if there
    were one a matrix as well, and reads beyond their end.
    """
    rank = len(shape)
    operation, first = edge.operation, edge.port == 0
    if first and rank != len(shape_of(Source(operation, 0)) or ()):
        # One matrix in front of a stack or a vector: OpenVINO takes the last axis of the result for its features.
        return ()
    contracted_first = first == operation.node.get_attributes()["transpose_a" if first else "transpose_b"]
    stack = (axis for axis, size in enumerate(shape[:-2]) if size != 1)
    return (*stack, rank - 1 if contracted_first else rank - 2)


_ARITHMETIC = frozenset({"Add", "Multiply", "Subtract", "Divide", "FloorMod"})
_WEIGHT_AXES: Mapping[str, Mapping[int, tuple[int, ...]]] = {
    "Convolution": {1: (0,)},
    "GroupConvolution": {1: (0, 1)},
    "ConvolutionBackpropData": {1: (1,)},
    "GroupConvolutionBackpropData": {1: (0, 2)},
    # One scale per direction and gate; the initial states have none.
    "LSTMSequence": {4: (0, 1), 5: (0, 1)},
    "GRUSequence": {3: (0, 1), 4: (0, 1)},
}
