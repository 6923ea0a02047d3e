"""Biases make up for what quantization does to the mean of each output channel, in closed form.

With the mean ``E[x]`` of what a layer reads, quantized weights shift its mean output by ``(Wq - W) E[x]``, so that the
bias gets ``(W - Wq) E[x]`` on top (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", section 4.2). Nothing is inferred and nothing compiled: means come from the pass that gathers ranges.

Where a sample has one value a channel, as behind a global pooling, its mean also tells what the FakeQuantize in front
of the layer does to it. What all samples lose alike, ``c``, comes back as ``Wq c``: in squeeze-and-excitation blocks,
say. In front of a classifier each sample loses something else, and of images few values are cut off: a bias that made
up for that would move all that is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.graph.biases import Channels, bias_input, change_bias, find_bias, insert_bias
from tasks.graph.constants import constant_value, read_constant
from tasks.graph.devices import find_device
from tasks.graph.joining import find_quantizer
from tasks.graph.layers import Layer, find_layers, mean_shift
from tasks.graph.operations import read_operations, shape_of
from tasks.graph.reductions import CHANNEL_AXIS
from tasks.graph.traversal import nodes_by_name
from tasks.numerics.affine import FakeQuantizeParameters, fake_quantize
from tasks.numerics.statistics import Rows, Statistics

# The least share of the squares of quantization errors that their mean over the samples has to make up.
_LEAST_COMMON = 0.05


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
        lost = weights_lost(layer, changed)
        if lost is None:
            continue
        statistic = statistics.get(layer.mean.tensor)
        means = None if statistic is None else statistic.means.get(layer.mean.axis)
        counted = None if means is None else _counted(means, left_out)
        if means is None or counted is None:
            corrections.append(Correction(layer.name, 0, 0, f"the mean of '{layer.mean.tensor}' is not known"))
            continue
        values = means[counted]
        shift = mean_shift(layer, lost, values.mean(axis=0, dtype=np.float64))
        quantizer = _quantizer_of_means(layer, changed[layer.name].input_value(layer.data.port))
        if quantizer is not None:
            cut_off = _common(values - fake_quantize(values, quantizer, (CHANNEL_AXIS,)))
            shift += mean_shift(layer, weights_of(layer), cut_off) - mean_shift(layer, lost, cut_off)
        kept = within_threshold(layer, shift, threshold)
        if shift[kept].any():
            change_bias(bias_of(layer, changed), layer.output_axis, np.where(kept, shift, 0.0), suffix="corrected")
        corrections.append(describe(layer, kept))
    return tuple(corrections)


def weights_lost(layer: Layer, nodes: Mapping[str, ov.Node]) -> NDArray[np.floating] | None:
    """What the weights of a layer of the float model have above those among the ``nodes`` of another one.

    None where they are equal.
    """
    before, after = weights_of(layer), weights_of(layer, nodes)
    # Weights that differ do so in the first row already: the others are mostly spared.
    if np.array_equal(before[:1], after[:1]) and np.array_equal(before, after):
        return None
    # In place where it can be: fresh memory takes as long as the sums that are made of it.
    lost: NDArray[np.floating] = np.subtract(before, after, out=after if after.flags.writeable else None)
    return lost


def weights_of(layer: Layer, nodes: Mapping[str, ov.Node] | None = None) -> NDArray[np.floating]:
    """The weights of a layer of the float model: its own, or those among the ``nodes`` of another one."""
    node = nodes[layer.name] if nodes else layer.operation.node
    return constant_value(node.input_value(layer.weights.port))


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


def _counted(means: Rows, left_out: tuple[int, ...]) -> NDArray[np.bool_] | slice | None:
    """Which samples have a mean and are not left out; None without any, and for all a slice, which copies nothing."""
    if not left_out and np.isfinite(means).all():
        return slice(None)
    counted = np.asarray(np.isfinite(means).all(axis=1))
    counted[list(left_out)] = False
    return counted if counted.any() else None


def _quantizer_of_means(layer: Layer, source: ov.Output) -> FakeQuantizeParameters | None:
    """What quantizes the ``source`` that a layer reads, where it quantizes means too.

    None without a FakeQuantize, where a sample has more than one value a channel, and where limits by channel are not
    those of the channels that the layer sums over.
    """
    # An axis 0 of free length holds samples.
    sizes = [size for axis, size in enumerate(shape_of(layer.data.source) or ()) if axis != layer.data_axis]
    if any(size != 1 and (axis or size) for axis, size in enumerate(sizes)):
        return None
    quantizer = find_quantizer(source, find_device("ANY").pass_through)
    if quantizer is None:
        return None
    low, high, out_low, out_high = (constant_value(quantizer.input_value(port)).reshape(-1) for port in range(1, 5))
    direct = quantizer.get_friendly_name() == source.get_node().get_friendly_name()
    if low.size > 1 and not (direct and layer.data_axis == CHANNEL_AXIS):
        return None
    return FakeQuantizeParameters(low, high, out_low, out_high, quantizer.get_attributes()["levels"])


def _common(errors: NDArray[np.floating]) -> Channels:
    """What all samples of (samples, channels) lose alike, (channels,): their mean, or nothing if it says too little."""
    samples, mean = len(errors), errors.mean(axis=0, dtype=np.float64)
    squares = np.square(errors, dtype=np.float64).sum(axis=1).mean()
    # The mean of samples that have nothing in common keeps a part of their squares too: 1 / samples.
    common = samples * np.square(mean).sum() - squares
    return mean if common >= (samples - 1) * _LEAST_COMMON * squares else np.zeros_like(mean)
