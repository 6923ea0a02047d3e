"""From quantized inputs to quantized tensors: one FakeQuantize serves all inputs that read a tensor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tasks.graph.candidates import Configs, intersect, per_tensor, signed, symmetric, without_channels
from tasks.graph.devices import Device, row_name
from tasks.graph.insertion import channel_axes
from tasks.graph.operations import Edge, Operation, Source, element_count
from tasks.graph.outputs import Output
from tasks.graph.propagation import Propagated, edges_below, keeps_channels
from tasks.graph.recurrent import GATES, constant_states, state_of
from tasks.graph.unification import ScaleGroup


@dataclass(frozen=True)
class QuantizedTensor:
    """A tensor that some inputs read quantized.

    Attributes:
        name: Name of its FakeQuantize.
        source: The tensor.
        edges: The inputs that read it quantized.
        targets: The operations for whose sake it is quantized.
        channel_axes: Axes of the channels; () for none.
        candidates: Configurations that suit all readers, in the order of the device's table.
        group: Name of its scale group; None without one.
        gates: Weights of a recurrent layer: the number of its gates; 0 for other tensors.
        covers: Other tensors whose range its range includes.
        holds: The least and the greatest value that its range includes besides.
    """

    name: str
    source: Source
    edges: tuple[Edge, ...]
    targets: tuple[Operation, ...]
    channel_axes: tuple[int, ...]
    candidates: Configs
    group: str | None = None
    gates: int = 0
    covers: tuple[Source, ...] = ()
    holds: tuple[float, float] = (0.0, 0.0)


def merge(propagated: Propagated, outputs: Mapping[Source, Output], device: Device) -> tuple[QuantizedTensor, ...]:
    """The quantized tensors, sorted by name: one for each tensor and each choice of channel axes.

    A tensor gets the first name in alphabetical order, as in POT: ``<operation>/fq_input_<port>``, or ``fq_weights``
    for a constant. Quantized ``outputs`` are called ``<producer>/fq_output_<port>``.

    Args:
        propagated: The quantized inputs.
        outputs: Results that the device quantizes whoever reads them.
        device: The target device.
    """
    readers: dict[tuple[Source, tuple[int, ...]], set[Edge]] = {}
    for edge in (*propagated.edges, *(edge for output in outputs.values() for edge in output.edges)):
        if element_count(edge.source) != 0:
            readers.setdefault((edge.source, channel_axes(edge)), set()).add(edge)
    return tuple(
        sorted(
            (
                _merged(source, axes, sorted(edges, key=str), propagated, outputs.get(source), device)
                for (source, axes), edges in readers.items()
            ),
            key=lambda tensor: tensor.name,
        )
    )


def unify(
    tensors: Sequence[QuantizedTensor], groups: Sequence[ScaleGroup], device: Device
) -> tuple[QuantizedTensor, ...]:
    """The tensors; members of a group have its name and the configurations that all members have in common.

    Args:
        tensors: The quantized tensors.
        groups: The scale groups.
        device: The target device.
    """
    group_of = {source: group for group in groups for source in group.sources}
    offered: dict[ScaleGroup, list[Configs]] = {}
    for tensor in tensors:
        if tensor.source in group_of:
            offered.setdefault(group_of[tensor.source], []).append(tensor.candidates)
    common = {group: intersect(lists, device.primary_bits) for group, lists in offered.items()}
    common = {group: per_tensor(configs) if group.per_tensor else configs for group, configs in common.items()}
    return tuple(
        replace(tensor, group=group.name, candidates=common[group])
        if (group := group_of.get(tensor.source)) is not None
        else tensor
        for tensor in tensors
    )


def make_symmetric_before_products(tensors: Sequence[QuantizedTensor]) -> tuple[QuantizedTensor, ...]:
    """The tensors; those that a product of two computed matrices reads have symmetric configurations only.

    The zero point of one operand costs a pass over the other one in every inference, unless that is constant.

    Args:
        tensors: The quantized tensors.
    """
    return tuple(
        replace(tensor, candidates=symmetric(tensor.candidates)) if any(map(is_product, tensor.targets)) else tensor
        for tensor in tensors
    )


def suit_products(
    tensors: Sequence[QuantizedTensor], propagated: Propagated, *, symmetric_only: bool
) -> tuple[QuantizedTensor, ...]:
    """The tensors; what OpenVINO's CPU plugin (2026.4) multiplies in integers only without a zero point is symmetric.

    That is the data of a transposed convolution, both operands of a product of two computed matrices, and the second
    operand of any MatMul, whose levels have to be signed as well.

    Args:
        tensors: The quantized tensors.
        propagated: The quantized inputs and the crossed operations.
        symmetric_only: False keeps asymmetric configurations, as POT has them.
    """
    return tuple(
        tensor
        if tensor.source.operation.constant
        else replace(tensor, candidates=_for_products(tensor, propagated, symmetric_only))
        for tensor in tensors
    )


def _for_products(tensor: QuantizedTensor, propagated: Propagated, symmetric_only: bool) -> Configs:
    read = edges_below(tensor.edges, propagated.crossed)
    operands = [edge for edge in read if edge.operation.type == "MatMul"]
    if any(edge.port == 1 for edge in operands):
        return signed(symmetric(tensor.candidates) if symmetric_only else tensor.candidates)
    if not symmetric_only:
        return tensor.candidates
    if any(is_product(edge.operation) for edge in operands) or any("Backprop" in edge.operation.type for edge in read):
        return symmetric(tensor.candidates)
    return tensor.candidates


def _merged(
    source: Source,
    axes: tuple[int, ...],
    edges: list[Edge],
    propagated: Propagated,
    output: Output | None,
    device: Device,
) -> QuantizedTensor:
    """The quantized tensor of a source, from all inputs with the same channel axes."""
    wanted = {target for edge in edges for target in propagated.edges.get(edge, ())}
    targets = sorted(wanted, key=lambda each: each.index)
    kind = "weights" if source.operation.constant else "input"
    candidates = intersect(_offered(source, targets, output, device), device.primary_bits)
    if not source.operation.constant and not _may_have_channels(source, edges, targets, propagated):
        axes = ()
    if not axes:
        candidates = without_channels(candidates)
    recurrent = [target for target in targets if target.type in GATES and kind == "input"]
    return QuantizedTensor(
        name=min(f"{edge.operation.name}/fq_{kind}_{edge.port}" for edge in edges)
        if output is None
        else f"{source.operation.name}/fq_output_{source.port}",
        source=source,
        edges=tuple(edges),
        targets=tuple(targets) if output is None else (output.operation, *targets),
        channel_axes=axes,
        candidates=candidates,
        gates=max(GATES.get(edge.operation.type, 0) for edge in edges) if kind == "weights" else 0,
        covers=tuple(map(state_of, recurrent)),
        holds=constant_states(recurrent),
    )


def _may_have_channels(source: Source, edges: list[Edge], targets: Sequence[Operation], propagated: Propagated) -> bool:
    """Whether OpenVINO (2026.4) computes what reads a tensor with a scale for each of its channels.

    It takes scales behind a product of two computed matrices for those of the columns, and one zero point a channel for
    one an output where a grouped convolution makes several outputs of each channel. A recurrent layer has one scale.
    """
    multiplied = any(target.type == "GroupConvolution" and row_name(target) == "Convolution" for target in targets)
    recurrent = any(target.type in GATES for target in targets)
    return not (multiplied or recurrent or is_product(source.operation)) and keeps_channels(edges, propagated.crossed)


def _offered(source: Source, targets: Sequence[Operation], output: Output | None, device: Device) -> Sequence[Configs]:
    """The configurations that readers offer, or those of the producer where it goes first or no reader is quantized."""
    own = None if output is None else device.row(output.operation)
    overruled = any(row_name(target) in device.priority_types for target in targets)
    if own is not None and (not targets or (own.own_outputs and not overruled)):
        return [own.outputs]
    rows = [row for target in targets if (row := device.row(target)) is not None]
    return [(row.weights or row.activations) if source.operation.constant else row.activations for row in rows]


def is_product(operation: Operation) -> bool:
    """Whether an operation multiplies two computed matrices, as attention does.

    Args:
        operation: The operation.
    """
    return operation.type == "MatMul" and not any(source.operation.constant for source in operation.sources)
