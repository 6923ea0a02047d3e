"""Biases make up for what quantized weights do to the mean of each output channel, in closed form.

With the mean ``E[x]`` of what a layer reads, quantized weights shift its mean output by ``(Wq - W) E[x]``, so that the
bias gets ``(W - Wq) E[x]`` on top (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", section 4.2). Nothing is inferred and nothing compiled: the means come from the pass that gathers ranges.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.graph.biases import Channels, bias_input, change_bias, find_bias, insert_bias
from tasks.graph.constants import constant_value, read_constant
from tasks.graph.layers import Layer, find_layers, mean_shift
from tasks.graph.operations import read_operations
from tasks.graph.traversal import nodes_by_name
from tasks.numerics.statistics import Statistics


@dataclass(frozen=True)
class Correction:
    """What became of one layer's bias: how many of its channels were corrected, and why others were not."""

    layer: str
    channels: int
    corrected: int
    reason: str = ""


def correct_biases(
    model: ov.Model,
    quantized: ov.Model,
    statistics: Statistics,
    *,
    left_out: tuple[int, ...] = (),
    threshold: float | None = None,
) -> tuple[Correction, ...]:
    """Correct the biases of all layers of ``quantized`` whose weights differ from those of the float ``model``.

    ``statistics`` hold the means of the float model; rows of the samples ``left_out`` do not count. A channel whose
    bias would change by ``threshold`` times its value or more keeps it; a bias of zero, which nothing compares with, is
    corrected. Layers without a bias get one.
    """
    operations = read_operations(model)
    changed = nodes_by_name(quantized)
    corrections = []
    for layer in find_layers(operations):
        before, after = (
            constant_value(node.input_value(layer.weights.port)) for node in (layer.operation.node, changed[layer.name])
        )
        difference = before - after
        if not difference.any():
            continue
        mean = _mean(statistics, layer, left_out)
        if mean is None:
            corrections.append(Correction(layer.name, 0, 0, f"the mean of '{layer.mean.tensor}' is not known"))
            continue
        shift = mean_shift(layer, difference, mean)
        kept = within_threshold(layer, shift, threshold)
        if shift[kept].any():
            change_bias(bias_of(layer, changed), layer.output_axis, np.where(kept, shift, 0.0), suffix="corrected")
        corrections.append(describe(layer, kept))
    return tuple(corrections)


def bias_of(layer: Layer, nodes: Mapping[str, ov.Node]) -> ov.Node:
    """The Add that is the bias of a layer of the float model, among the ``nodes`` of another one; made if need be."""
    bias = find_bias(layer.operation, layer.output_axis)
    name = bias.name if bias else corrected_name(layer)
    return nodes[name] if name in nodes else insert_bias(nodes[layer.name], layer.output_axis, name)


def biased_output(layer: Layer, nodes: Mapping[str, ov.Node]) -> ov.Output:
    """What a layer of the float model computes, among the ``nodes`` of any model, its bias added where it has one."""
    bias = find_bias(layer.operation, layer.output_axis)
    name = bias.name if bias else corrected_name(layer)
    return nodes[name if name in nodes else layer.name].output(0)


def corrected_name(layer: Layer) -> str:
    """The name of the bias that a layer without one gets."""
    return f"{layer.name}/bias_correction"


def within_threshold(layer: Layer, shift: Channels, threshold: float | None) -> NDArray[np.bool_]:
    """Which channels' shifts are less than ``threshold`` times the bias of the float model, or have no bias."""
    bias = None if threshold is None else find_bias(layer.operation, layer.output_axis)
    if threshold is None or bias is None:
        return np.full(shift.shape, fill_value=True)
    values = np.abs(read_constant(*bias_input(bias.node)))
    axis = values.ndim + layer.output_axis
    if axis >= 0:
        values = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).max(axis=1)
    values = np.broadcast_to(values.reshape(-1), shift.shape)
    return np.asarray((np.abs(shift) < threshold * values) | (values == 0))


def describe(layer: Layer, kept: NDArray[np.bool_]) -> Correction:
    """What the report says of a layer of which the channels in ``kept`` were corrected."""
    rest = int(np.sum(~kept))
    reason = f"threshold: {rest} of {kept.size} channels would change too much" if rest else ""
    return Correction(layer.name, kept.size, int(kept.sum()), reason)


def _mean(statistics: Statistics, layer: Layer, left_out: tuple[int, ...]) -> Channels | None:
    """The mean over the samples of what a layer reads, (channels,); None where it was not or could not be observed."""
    tensor = layer.mean.tensor
    rows = statistics[tensor].means.get(layer.mean.axis) if tensor in statistics else None
    if rows is None:
        return None
    counted = np.asarray(np.isfinite(rows).all(axis=1))
    counted[list(left_out)] = False
    return rows[counted].mean(axis=0, dtype=np.float64) if counted.any() else None
