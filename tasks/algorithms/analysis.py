"""Where a quantized model loses accuracy: the error of each layer's output, and its parts.

The float and the quantized model become one graph with common inputs, which is compiled once. Energies and means of
errors are reduced inside the graph: a few numbers per sample and layer leave it. A layer reads x in the float model and
x' in the quantized model, Q is the FakeQuantize in front of it, W are its weights and W' the quantized ones. Layers are
linear, so that the error of their sums of products is exactly

    W' Q(x') - W x  =  (W' - W) x  +  W' (Q(x') - x')  +  W' (x' - x)
                       weights        activations         inherited

OpenVINO computes a quantized layer in integers. The difference from ``W' Q(x')`` is a fourth part, ``execution``: next
to nothing, unless its kernels saturate or are wrong.

``mean_shift`` is the part of the whole error that is the same in all samples and positions of a channel. A bias can
correct it. The other parts are told without it, so that the five energies add up to that of the error as far as the
parts are uncorrelated.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.bias_correction import biased_output
from tasks.algorithms.inference import Sample, compile_for_samples, infer, one_sample_at_a_time, whole_inputs
from tasks.errors import InputError
from tasks.graph.constants import read_constant
from tasks.graph.devices import find_device
from tasks.graph.insertion import channel_axes
from tasks.graph.joining import share_inputs, unquantized, with_weights
from tasks.graph.layers import Layer, find_layers
from tasks.graph.operations import read_operations
from tasks.graph.reductions import as_rows, mean_along
from tasks.graph.selections import find_selections, selected_by
from tasks.graph.traversal import find_output, nodes_by_name
from tasks.numerics.metrics import decibels

# First numbers of a row: positions per channel, and the norms of the signal, its error and the four parts.
_NUMBERS = 7
# Execution is wrong from this share of the signal's energy on; integer kernels that work leave less than 1e-12.
_WRONG = 1e-4
# Samples that check whether the quantized model alone computes a layer wrongly as well.
_CHECKED = 4
CHANNEL_QUANTILES = 25

Nodes = dict[str, ov.Node]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class LayerError:
    """The energy of a layer's output in the float model, of its error and of the parts, summed over all samples.

    Attributes:
        layer: Name of the layer.
        type: OpenVINO's name of its type.
        signal: Energy of the output in the float model.
        noise: Energy of its error in the quantized model.
        weights: Part due to quantized weights.
        activations: Part due to the FakeQuantize in front of the layer.
        inherited: Part due to errors of layers before.
        execution: Part due to OpenVINO's kernels.
        mean_shift: Part that is the same in all samples and positions of a channel.
    """

    layer: str
    type: str
    signal: float
    noise: float
    weights: float
    activations: float
    inherited: float
    execution: float
    mean_shift: float

    @property
    def sqnr_db(self) -> float:
        """The signal-to-quantization-noise ratio in dB; inf without an error."""
        return decibels(self.signal, self.noise)

    @property
    def wrongly_executed(self) -> bool:
        """Whether OpenVINO computes something else than the quantized weights and inputs give."""
        return 0 < _WRONG * self.signal < self.execution


@dataclass(frozen=True)
class Analysis:
    """The errors of layers, in topological order, and the layers without, each with the reason."""

    layers: tuple[LayerError, ...]
    skipped: tuple[str, ...] = ()


def analyze(
    model: ov.Model,
    quantized: ov.Model,
    samples: Sequence[Sample],
    advance: Callable[[], None] = lambda: None,
    threads: int | None = None,
) -> Analysis:
    """The error of each layer of a quantized model, compared with the float model it was made of.

    The output of a layer is that behind its bias. Layers left float are compared too, as they inherit errors.

    Args:
        model: The float model.
        quantized: The quantized model.
        samples: The samples to infer.
        advance: Called after each sample.
        threads: Number of threads; None for all that the process may use.
    """
    operations = read_operations(model)
    selections = find_selections(operations)
    every = find_layers(operations)
    layers = tuple(layer for layer in every if layer.operation not in selections)
    skipped = [
        f"{layer.name}: {selected_by(selections[layer.operation])}" for layer in every if layer.operation in selections
    ]
    if model.get_sinks():
        return Analysis((), ("all layers: the model keeps state, which two models in one graph would share",))
    if not layers or not samples:
        return Analysis((), tuple(skipped))
    joined = _joined(model, quantized, layers, whole_inputs(model, samples[0]))
    try:
        compiled = compile_for_samples(joined, threads)
    except InputError as refusal:
        # Each model runs alone, but not both in one graph, such as two padded pointwise convolutions of stride 2.
        return Analysis((), (f"all layers: {refusal}",))
    rows: dict[int, list[Values]] = {}

    def receive(number: int, outputs: list[NDArray[np.float32]]) -> None:
        rows[number] = [output.reshape(-1).astype(np.float64) for output in outputs]
        advance()

    count = infer(compiled, samples, receive)
    found = []
    for place, layer in enumerate(layers):
        error = _layer_error(layer, np.array([rows[number][place] for number in range(count)]))
        if error is None:
            skipped.append(f"{layer.name}: it computes values that are not finite")
        elif error.wrongly_executed and not _is_wrong_alone(layer, quantized, samples[:_CHECKED], threads):
            skipped.append(f"{layer.name}: beside the float model OpenVINO computes it otherwise than in its own")
        else:
            found.append(error)
    return Analysis(tuple(found), tuple(skipped))


def channel_errors(model: ov.Model, quantized: ov.Model) -> dict[str, Values]:
    """By layer, ``|W' - W|^2 / |W|^2`` of each output channel that is not all zeros, (channels,), float64.

    Layers whose weights did not change are left out.

    Args:
        model: The float model.
        quantized: The quantized model.
    """
    nodes = nodes_by_name(quantized)
    errors = {}
    for layer in find_layers(read_operations(model)):
        before = read_constant(layer.operation.node, layer.weights.port)
        difference = read_constant(nodes[layer.name], layer.weights.port) - before
        if difference.any():
            others = tuple(axis for axis in range(before.ndim) if axis not in channel_axes(layer.weights))
            noise, signal = (np.square(values).sum(axis=others).reshape(-1) for values in (difference, before))
            errors[layer.name] = noise[signal > 0] / signal[signal > 0]
    return errors


def quantiles_of_errors(errors: Mapping[str, Values]) -> dict[str, tuple[float, ...]]:
    """By layer, CHANNEL_QUANTILES quantiles of its channels' errors: rows of equal length for a heat map.

    Args:
        errors: By layer, the error of each channel, (channels,), float64.
    """
    places = np.linspace(0, 1, CHANNEL_QUANTILES)
    return {layer: tuple(map(float, np.quantile(each, places))) for layer, each in errors.items() if each.size}


def _joined(model: ov.Model, quantized: ov.Model, layers: Sequence[Layer], whole: tuple[str, ...]) -> ov.Model:
    """One model with a row of numbers for each layer as outputs."""
    first, second = (one_sample_at_a_time(each, whole) for each in (model, quantized))
    before, after = nodes_by_name(first), nodes_by_name(second)
    share_inputs(first, second)
    return ov.Model([_row(layer, before, after) for layer in layers], first.get_parameters(), "analysis")


def _row(layer: Layer, before: Nodes, after: Nodes) -> ov.Output:
    """The row of a layer: _NUMBERS, then means per channel of the error and of the parts that the layer itself adds."""
    signal = biased_output(layer, before)
    error = ops.subtract(biased_output(layer, after), signal).output(0)
    parts = _own_parts(layer, before, after)
    # It includes the change of the bias, one number per channel, which the mean takes away.
    inherited = error
    for part in parts:
        inherited = ops.subtract(inherited, part).output(0) if part else inherited
    weights, activations, execution = parts
    rank = signal.get_partial_shape().rank.get_length()
    axis, nothing = rank + layer.output_axis, ops.constant(np.zeros(1, np.float32)).output(0)
    others = np.array([place for place in range(rank) if place != axis], np.int64)
    positions = ops.reduce_prod(ops.gather(ops.shape_of(signal), others, np.array(0)), np.array([0]))
    norms = [
        ops.reduce_l2(part, np.arange(rank)).output(0) if part else nothing
        for part in (signal, error, weights, activations, inherited, execution)
    ]
    zeros = ops.constant(np.zeros(signal.get_partial_shape()[axis].get_length(), np.float32)).output(0)
    means = [mean_along(part, axis, 1) if part else zeros for part in (error, *parts)]
    return as_rows([positions.output(0), *norms, *means], 1)


def _own_parts(layer: Layer, before: Nodes, after: Nodes) -> tuple[ov.Output | None, ...]:
    """The parts of a layer's error due to its weights, its FakeQuantize and its execution; None for a part of zero."""
    node, port = after[layer.name], layer.weights.port
    weights = read_constant(node, port)
    change = weights - read_constant(before[layer.name], port)
    read, given = find_output(before, str(layer.data.source)), node.input_value(layer.data.port)
    restored = unquantized(given, find_device("ANY").pass_through)
    return (
        with_weights(node, port, change, read) if change.any() else None,
        with_weights(node, port, weights, ops.subtract(given, restored()).output(0)) if restored else None,
        # Without a FakeQuantize in front the layer runs in float.
        _beyond(with_weights(node, port, weights, given), layer, before, after) if restored else None,
    )


def _beyond(product: ov.Output, layer: Layer, before: Nodes, after: Nodes) -> ov.Output:
    """The quantized layer's output minus the product and the float layer's bias."""
    bias = ops.subtract(biased_output(layer, before), before[layer.name])
    return ops.subtract(ops.subtract(biased_output(layer, after), bias), product).output(0)


def _is_wrong_alone(layer: Layer, quantized: ov.Model, samples: Sequence[Sample], threads: int | None) -> bool:
    """Whether the quantized model alone, as a user runs it, computes a layer other than by its weights and inputs."""
    alone = one_sample_at_a_time(quantized, whole_inputs(quantized, samples[0]))
    nodes = nodes_by_name(alone)
    node, port = nodes[layer.name], layer.weights.port
    given = node.input_value(layer.data.port)
    results = [ops.result(output) for output in (biased_output(layer, nodes), given)]
    deployed = compile_for_samples(ov.Model(results, alone.get_parameters(), "alone"), threads, as_deployed=True)
    data = ops.parameter(given.get_partial_shape(), given.get_element_type())
    product = with_weights(node, port, read_constant(node, port), data.output(0))
    computed = compile_for_samples(ov.Model([product], [data], "product"), threads)
    signal = noise = 0.0

    def receive(_: int, outputs: list[NDArray[np.float32]]) -> None:
        nonlocal signal, noise
        found = outputs[0].astype(np.float64)
        apart = np.moveaxis(found - computed([outputs[1]])[0], layer.output_axis, 0)
        apart = apart.reshape(len(apart), -1)
        signal += np.square(found).sum()
        noise += np.square(apart - apart.mean(axis=1, keepdims=True)).sum()

    infer(deployed, samples, receive)
    return noise > _WRONG * signal


def _layer_error(layer: Layer, rows: Values) -> LayerError | None:
    """The energies of a layer from its rows, (samples, _NUMBERS + 4 * channels); None unless all are finite."""
    if not np.isfinite(rows).all():
        return None
    positions, norms = rows[:, 0], rows[:, 1:_NUMBERS]
    total = positions.sum()
    error, *own = np.split(positions @ rows[:, _NUMBERS:] / max(total, 1), 4)
    weights, activations, execution = own
    energies = np.square(norms).sum(axis=0)
    shifts = [total * np.square(each).sum() for each in (weights, activations, error - sum(own), execution)]
    parts = np.maximum(energies[2:] - shifts, 0)
    numbers = [*map(float, (*energies[:2], *parts, total * np.square(error).sum()))]
    return LayerError(layer.name, layer.operation.type, *numbers)
