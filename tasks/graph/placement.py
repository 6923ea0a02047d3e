"""Placement: the tensors of a model that get a FakeQuantize, decided before any node is touched.

Placement follows OpenVINO's former Post-training Optimization Tool (POT 2023.3), except where another rule gives a
better model or fewer surprises:

- **Result** blocks the way up. POT crossed a pooling read by a layer and a Result, which quantized the model's output.
  GNA quantizes outputs of the model anyway, except one that is an input of the model, which would not compile.
- **Outputs on GNA** have one quantizer per tensor, ``<producer>/fq_output_<port>``, that suits all quantized consumers;
  POT made one for each, then kept that of the first name. The names of a model's output move to its FakeQuantize; the
  operation in front of it keeps its own, which POT changed.
- **Gather from constant data** is not crossed: the looked-up rows are quantized with a range that calibration saw. POT
  put one scale per row on the table, which no consumer can use; one scale for all would cover rows never looked up.
- **Minimum and Maximum of two computed tensors** are not crossed; with one computed operand that one is quantized. POT
  always took port 0, which left the other operand, and with it the consumer's input, float.
- **A Concat that repeats shape arithmetic** (a fill of computed size) is not crossed, nor is integer data, nor
  ConvertLike at its second input, of which only the type is read.
- **Slice** passes quantized values through like StridedSlice, which it replaces in newer models: the layer in front
  writes integers, and no slice needs a rescaling behind it.
- **Single numbers** as operands of arithmetic, and **constants of comparisons and logic**, get no quantizer.
- **The factor of a scale and shift** (Multiply by a constant, Add of one) stays float at either input; POT quantized it
  at the first one.
- **Channels of a constant**: the output features of a MatMul whatever its rank, port and transposition, none for one
  dimension; POT took axis 0, as arithmetic does here too. None for constants joined by a Concat.
- **Recurrent layers** are quantized as OpenVINO computes them (:mod:`tasks.graph.recurrent`).
- **On CPUs** what OpenVINO computes in floats is not crossed: Minimum, Maximum, Tile, paddings other than zero.
- **A scale for each channel** stays where the channels are: in front of a Transpose or Reshape that moves them the
  tensor has one scale. POT took axis 1 all the same, of tokens for example, and OpenVINO then computes something else.
- **A matrix in front of a stack of them** (the constant of a MatMul at port 0) has one scale: more do not compile.
- **Tensors without elements** get no quantizer.
- **One constant read along different channel axes** gets a quantizer for each, instead of one with the wrong axes.
- **ignored**: every entry is tried. An ignored pass-through operation is not crossed, and nothing else: its neighbours
  keep their own quantizers. Entries without effect are errors.
- **transformer**: Squeeze is not kept float, which would take the quantization of every operation behind it. A tensor
  is symmetric if any consumer is a product of two computed matrices; POT asked the last consumer only.
- **Tensors without a range**, zero in all samples, stay float, as does all that would read them quantized
  (``left_float``); POT cut off whatever they hold later.
- **CPU_SPR**: in front of an Add only the Add's own input becomes float, not every consumer of the tensor.
- **Shape arithmetic** counts as constant in patterns for dynamic shapes as well as for static ones.
- **Bodies** of If, Loop and TensorIterator stay float: their tensors cannot be observed from outside.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import openvino as ov

from tasks.errors import InputError, unknown_message
from tasks.graph.devices import Device, find_device
from tasks.graph.ignoring import TRANSFORMER_TYPES, find_ignored, spell
from tasks.graph.insertion import start_everywhere
from tasks.graph.operations import Edge, Operation, read_operations
from tasks.graph.outputs import quantized_outputs
from tasks.graph.patterns import find_skipped, is_bias_of
from tasks.graph.propagation import propagate
from tasks.graph.residual import drop_before_sums
from tasks.graph.scope import IgnoredScope
from tasks.graph.tensors import QuantizedTensor, make_symmetric_before_products, merge, suit_products, unify
from tasks.graph.unification import scale_groups
from tasks.numerics.affine import QuantizerConfig

MODEL_TYPES = ("transformer",)
NOTHING_IGNORED = IgnoredScope()


class Role(StrEnum):
    """Whether a tensor is constant (weights) or computed from the input (activations)."""

    WEIGHTS = "weights"
    ACTIVATIONS = "activations"


@dataclass(frozen=True)
class QuantizationPoint:
    """A quantizer to insert.

    Attributes:
        name: Friendly name of its FakeQuantize.
        tensor: The quantized tensor, ``"<producer>:<output port>"``.
        consumers: The inputs that read the quantized tensor, ``"<operation>:<input port>"``, sorted.
        role: Whether the tensor is constant.
        candidates: Configurations that the device offers for all consumers, in the order of its table. The preset
            chooses among them later, so that placement does not depend on it.
        channel_axes: Axes of the tensor that hold the channels of a configuration per channel.
        group: Quantizers of the same group share one range; None for a range of its own.
        targets: Names of the operations for whose sake the tensor is quantized: consumers, or what lies behind those
            that pass quantized values through.
        gates: Weights of a recurrent layer: the number of its gates along the channels; 0 for other tensors.
        covers: Other computed tensors whose range the range includes, and values that it ``holds`` besides.
    """

    name: str
    tensor: str
    consumers: tuple[str, ...]
    role: Role
    candidates: tuple[QuantizerConfig, ...]
    channel_axes: tuple[int, ...]
    group: str | None = None
    targets: tuple[str, ...] = ()
    gates: int = 0
    covers: tuple[str, ...] = ()
    holds: tuple[float, float] = (0.0, 0.0)

    @property
    def observed(self) -> tuple[str, ...]:
        """The computed tensors that tell its range."""
        return (self.tensor, *self.covers) if self.role == Role.ACTIVATIONS else ()


@dataclass(frozen=True)
class FloatOperation:
    """An operation that the target could quantize but that stays float, and why. A bias belongs to its layer."""

    name: str
    type: str
    reason: str


@dataclass(frozen=True)
class QuantizerSetup:
    """All quantizers of a model, sorted by name, and the operations that were left float."""

    points: tuple[QuantizationPoint, ...]
    float_operations: tuple[FloatOperation, ...]


@dataclass(frozen=True)
class _Starts:
    """A model read for one device: the inputs at which quantization starts, and the reasons why not elsewhere."""

    device: Device
    operations: tuple[Operation, ...]
    skipped: Mapping[Operation, str]
    edges: Mapping[Operation, tuple[Edge, ...]]
    reasons: Mapping[Operation, str]


def place_quantizers(
    model: ov.Model,
    *,
    target_device: str = "ANY",
    model_type: str | None = None,
    ignored: IgnoredScope = NOTHING_IGNORED,
    left_float: Mapping[str, str] = MappingProxyType({}),
) -> QuantizerSetup:
    """Where to quantize a float model for a device; the model is not changed.

    Args:
        model: The float model, with unique friendly names.
        target_device: Name of the target device.
        model_type: ``"transformer"`` leaves normalizations and element-wise arithmetic float and quantizes products of
            two computed matrices symmetrically; None for other models.
        ignored: Operations that stay float, with their weights; quantization does not move over an ignored pass-through
            operation either.
        left_float: Further operations that stay float, by name, each with the reason.

    Raises:
        InputError: The device or the model type is unknown, an ignored entry has no effect, or the model is quantized
            already.

    Example:
        >>> import numpy as np
        >>> from openvino import opset13 as ops
        >>> data = ops.parameter([1, 2], name="data")
        >>> layer = ops.matmul(data, np.float32([[0.5, 1], [2, -1]]), False, True, name="layer")
        >>> setup = place_quantizers(ov.Model([layer], [data]))
        >>> [(point.name, point.role.value) for point in setup.points]
        [('layer/fq_input_0', 'activations'), ('layer/fq_weights_1', 'weights')]
    """
    if model_type is not None and model_type not in MODEL_TYPES:
        raise InputError(f"model_type: {unknown_message('value', model_type, MODEL_TYPES)}")
    return _place(_read(model, target_device), model_type, ignored, left_float)


def observed_tensors(model: ov.Model, setup: QuantizerSetup, *, target_device: str = "ANY") -> tuple[str, ...]:
    """The names of the computed tensors to observe for a setup, sorted.

    Besides the tensors of the setup these are the tensors that another ignored scope or model type would need on the
    same device: those quantized without either, and those that quantizable operations read or write directly. Such a
    change thus normally finds all statistics collected. The exception is a setup that stops quantization amid several
    pass-through operations.

    Args:
        model: The float model.
        setup: Its quantizers.
        target_device: Name of the target device.
    """
    starts = _read(model, target_device)
    setups = (setup, _place(starts, None, NOTHING_IGNORED, {}))
    placed = {tensor for each in setups for point in each.points for tensor in point.observed}
    read = {str(edge.source) for edges in starts.edges.values() for edge in edges if not edge.source.operation.constant}
    written = map(str, quantized_outputs(starts.edges, starts.device, starts.skipped, ()))
    return tuple(sorted(placed.union(read, written)))


def ignored_matches(
    model: ov.Model, ignored: IgnoredScope, *, target_device: str = "ANY"
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Every entry of an ignored scope, as text, with the names of the operations that it keeps float.

    Args:
        model: The float model.
        ignored: The ignored scope.
        target_device: Name of the target device.

    Raises:
        InputError: An entry has no effect, or the model is quantized already.
    """
    starts = _read(model, target_device)
    entries = [
        *((name, IgnoredScope(scope=(name,))) for name in ignored.scope),
        *((f"re: {pattern}", IgnoredScope(patterns=(pattern,))) for pattern in ignored.patterns),
        *((spell(operation), IgnoredScope(operations=(operation,))) for operation in ignored.operations),
    ]
    return tuple(
        (text, tuple(sorted(each.name for each in _leave_out(starts, None, entry)))) for text, entry in entries
    )


def _read(model: ov.Model, target_device: str) -> _Starts:
    device = find_device(target_device)
    operations = read_operations(model)
    quantized = next((each for each in operations if each.type == "FakeQuantize"), None)
    if quantized is not None:
        raise InputError(f"the model is quantized already: it has a FakeQuantize {quantized.name!r}")
    skipped = find_skipped(operations, device.name)
    edges, reasons = start_everywhere(operations, device, skipped)
    return _Starts(device, operations, skipped, edges, reasons)


def _place(
    starts: _Starts, model_type: str | None, ignored: IgnoredScope, left_float: Mapping[str, str]
) -> QuantizerSetup:
    """The setup for a model type, an ignored scope and what stays float besides."""
    device, operations = starts.device, starts.operations
    left_out = _leave_out(starts, model_type, ignored)
    left_out |= {each: left_float[each.name] for each in operations if each.name in left_float}
    edges = {operation: each for operation, each in starts.edges.items() if operation not in left_out}
    propagated = propagate(operations, edges, device, {*starts.skipped, *left_out})
    if device.name == "CPU_SPR":
        propagated = drop_before_sums(operations, propagated)
    outputs = quantized_outputs(edges, device, starts.skipped, left_out)
    tensors = merge(propagated, outputs, device)
    if model_type == "transformer":
        tensors = make_symmetric_before_products(tensors)
    if device.cpu:
        tensors = suit_products(tensors, propagated, symmetric_only=device.symmetric_products)
    tensors = unify(tensors, scale_groups(operations, propagated, device), device)
    served = {target for tensor in tensors for target in tensor.targets}
    unserved = {
        each: "scale and shift of an input" if read else "nothing reads it quantized" for each, read in edges.items()
    }
    reasons = {**unserved, **starts.reasons, **left_out}
    return QuantizerSetup(
        tuple(_point(tensor) for tensor in tensors),
        tuple(
            FloatOperation(operation.name, operation.type, reasons[operation])
            for operation in operations
            # An ignored pass-through operation has no quantizer of its own to lose.
            if (operation in starts.edges or operation in starts.reasons)
            and operation not in served
            and not is_bias_of(operation, served, starts.skipped)
        ),
    )


def _leave_out(starts: _Starts, model_type: str | None, ignored: IgnoredScope) -> dict[Operation, str]:
    """The operations that the user or the model type keeps float, pass-through ones included, each with the reason."""

    def why_never(operation: Operation) -> str | None:
        if operation in starts.edges:
            return None
        if operation.type in starts.device.pass_through and not operation.known:
            return starts.skipped.get(operation)
        return starts.reasons.get(operation, f"{operation.type} has no quantized form on {starts.device.name}")

    left_out = dict.fromkeys(find_ignored(starts.operations, ignored, why_never), "ignored")
    if model_type == "transformer":
        types = TRANSFORMER_TYPES - ({"Multiply"} if starts.device.name == "CPU_SPR" else set())
        for operation in starts.edges:
            if operation.type in types:
                left_out.setdefault(operation, "model type transformer")
    return left_out


def _point(tensor: QuantizedTensor) -> QuantizationPoint:
    return QuantizationPoint(
        name=tensor.name,
        tensor=str(tensor.source),
        consumers=tuple(sorted(map(str, tensor.edges))),
        role=Role.WEIGHTS if tensor.source.operation.constant else Role.ACTIVATIONS,
        candidates=tensor.candidates,
        channel_axes=tensor.channel_axes,
        group=tensor.group,
        targets=tuple(sorted(target.name for target in tensor.targets)),
        gates=tensor.gates,
        covers=tuple(sorted(map(str, tensor.covers))),
        holds=tensor.holds,
    )
