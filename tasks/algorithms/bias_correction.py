"""Bias correction in closed form: the bias of a layer makes up for the shift of its mean output by quantization.

With the mean ``E[x]`` of a layer's data, quantized weights shift its mean output by ``(Wq - W) E[x]``, so that
``(W - Wq) E[x]`` is added to the bias (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", section 4.2; POT: FastBiasCorrection). Nothing is inferred or compiled: the means come from the pass that
collects statistics.

Where each sample has one value per channel, as behind a global pooling, the means also tell what the FakeQuantize in
front of the layer does. What all samples lose alike, ``c``, is given back as ``Wq c``: in squeeze-and-excitation
blocks, for example. In front of a classifier each sample loses something else, and of images few values are clipped: a
bias that made up for this would shift all values that are not clipped.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

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

# The least share of the energy of quantization errors that their mean over the samples has to make up.
_LEAST_COMMON = 0.05


@dataclass(frozen=True)
class Correction:
    """What became of the bias of a layer.

    Attributes:
        layer: Name of the layer.
        channels: Number of its output channels.
        corrected: Number of those that were corrected.
        reason: Why others were not; empty if all were.
        pooled: Whether all samples lose something alike in the FakeQuantize in front of it, which can be given back.
    """

    layer: str
    channels: int
    corrected: int
    reason: str = ""
    pooled: bool = False


def correct_biases(
    model: ov.Model,
    quantized: ov.Model,
    statistics: Statistics,
    *,
    left_out: tuple[int, ...] = (),
    threshold: float | None = None,
    pooled: Collection[str] | None = None,
    only: Collection[str] | None = None,
) -> tuple[Correction, ...]:
    """What became of the bias of each layer with quantized weights; the biases are corrected in place.

    A bias of zero is always corrected, as nothing can be compared with it. Layers without a bias get one.

    Args:
        model: The float model.
        quantized: The quantized model made of it, which is changed.
        statistics: Statistics of the float model, with the means of the layers' data.
        left_out: Rows of samples that do not count.
        threshold: A channel whose bias would change by this times its value or more keeps it; None corrects all.
        pooled: Names of the layers to give back what all samples lose alike in the FakeQuantize in front of them;
            None for all where that can be told.
        only: Names of the layers to correct; None for all.
    """
    operations = read_operations(model)
    changed = nodes_by_name(quantized)
    corrections = []
    for layer in find_layers(operations):
        lost = weights_lost(layer, changed) if only is None or layer.name in only else None
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
        common = None if quantizer is None else _common(values - fake_quantize(values, quantizer, (CHANNEL_AXIS,)))
        if common is not None and (pooled is None or layer.name in pooled):
            shift += mean_shift(layer, weights_of(layer), common) - mean_shift(layer, lost, common)
        kept = within_threshold(layer, shift, threshold)
        if shift[kept].any():
            change_bias(bias_of(layer, changed), layer.output_axis, np.where(kept, shift, 0.0), suffix="corrected")
        corrections.append(replace(describe(layer, kept), pooled=common is not None and bool(common.any())))
    return tuple(corrections)


def weights_lost(layer: Layer, nodes: Mapping[str, ov.Node]) -> NDArray[np.floating] | None:
    """The weights of a layer of the float model minus those in another model, of their shape; None if they are equal.

    Args:
        layer: The layer of the float model.
        nodes: Nodes of the other model by friendly name.
    """
    before, after = weights_of(layer), weights_of(layer, nodes)
    # Weights that differ mostly do so in the first row, so that the rest need not be compared.
    if np.array_equal(before[:1], after[:1]) and np.array_equal(before, after):
        return None
    # In place if possible, as fresh memory takes as long as the sums.
    lost: NDArray[np.floating] = np.subtract(before, after, out=after if after.flags.writeable else None)
    return lost


def weights_of(layer: Layer, nodes: Mapping[str, ov.Node] | None = None) -> NDArray[np.floating]:
    """The weights of a layer, in their shape, float32.

    Args:
        layer: The layer of the float model.
        nodes: Nodes of another model by friendly name, whose weights to read; None for the layer's own.
    """
    node = nodes[layer.name] if nodes else layer.operation.node
    return constant_value(node.input_value(layer.weights.port))


def bias_of(layer: Layer, nodes: Mapping[str, ov.Node]) -> ov.Node:
    """The Add that is the bias of a layer in another model; it is inserted if there is none.

    Args:
        layer: The layer of the float model.
        nodes: Nodes of the other model by friendly name.
    """
    bias = find_bias(layer.operation, layer.output_axis)
    name = bias.name if bias else corrected_name(layer)
    return nodes[name] if name in nodes else insert_bias(nodes[layer.name], layer.output_axis, name)


def biased_output(layer: Layer, nodes: Mapping[str, ov.Node]) -> ov.Output:
    """The output of a layer in any model, behind its bias if it has one.

    Args:
        layer: The layer of the float model.
        nodes: Nodes of the model by friendly name.
    """
    bias = find_bias(layer.operation, layer.output_axis)
    name = bias.name if bias else corrected_name(layer)
    return nodes[name if name in nodes else layer.name].output(0)


def corrected_name(layer: Layer) -> str:
    """The name of the bias that a layer without one gets.

    Args:
        layer: The layer of the float model.
    """
    return f"{layer.name}/bias_correction"


def within_threshold(layer: Layer, shift: Channels, threshold: float | None) -> NDArray[np.bool_]:
    """The mask of the channels to correct, (channels,): the shift is below the threshold, or the bias zero or missing.

    Args:
        layer: The layer of the float model.
        shift: Shift of the bias of each channel, (channels,), float64.
        threshold: Largest shift, in units of the channel's float bias; None for any.
    """
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
    """What became of the bias of a layer.

    Args:
        layer: The layer.
        kept: Mask of the channels that were corrected, (channels,).
    """
    rest = int(np.sum(~kept))
    reason = f"threshold: {rest} of {kept.size} channels would change too much" if rest else ""
    return Correction(layer.name, kept.size, int(kept.sum()), reason)


def _counted(means: Rows, left_out: tuple[int, ...]) -> NDArray[np.bool_] | slice | None:
    """The samples that have a mean and are not left out: a mask, a slice for all, which copies nothing, or None."""
    if not left_out and np.isfinite(means).all():
        return slice(None)
    counted = np.asarray(np.isfinite(means).all(axis=1))
    counted[list(left_out)] = False
    return counted if counted.any() else None


def _quantizer_of_means(layer: Layer, source: ov.Output) -> FakeQuantizeParameters | None:
    """The FakeQuantize in front of a layer, where it quantizes the means too.

    None without one, where a sample has more than one value per channel, and where a range per channel is not that of
    the channels that the layer sums over.
    """
    # A dynamic axis 0 holds samples.
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
    """What all samples of (samples, channels) lose alike, (channels,): their mean, or zeros if that is too little."""
    samples, mean = len(errors), errors.mean(axis=0, dtype=np.float64)
    squares = np.square(errors, dtype=np.float64).sum(axis=1).mean()
    # Even the mean of samples that have nothing in common keeps 1 / samples of their energy.
    common = samples * np.square(mean).sum() - squares
    return mean if common >= (samples - 1) * _LEAST_COMMON * squares else np.zeros_like(mean)
