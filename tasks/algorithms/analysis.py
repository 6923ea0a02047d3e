"""Where a quantized model loses accuracy: the error of what each layer computes, and what it is made of.

Float and quantized model become one graph with common inputs, which is compiled once; energies and means of errors are
reduced inside of it, so that each layer leaves a few numbers a sample. Let a layer read x in the float model and x' in
the quantized one, let Q be the FakeQuantize in front of it, W its weights and W' the quantized ones. As layers are
linear, the error of their sums of products is, exactly,

    W' Q(x') - W x  =  (W' - W) x  +  W' (Q(x') - x')  +  W' (x' - x)
                       weights        activations         inherited

What OpenVINO computes of a quantized layer in integers differs from ``W' Q(x')`` where its kernels saturate or are
wrong; that is a part of its own, ``execution``, next to nothing elsewhere.

Of the whole error, ``mean_shift`` is what is the same in all samples and positions of a channel: what a bias can mend
and its correction changes. The parts are told without it, so that the five energies add up to that of the error as far
as the parts are not correlated.
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

# What a row begins with: positions a channel, and the norms of the signal, its error and the four parts.
_NUMBERS = 7
# Of the signal's energy: integer kernels that work leave less than 1e-12.
_WRONG = 1e-4
# Samples that tell whether a layer is computed wrongly in the quantized model alone as well.
_CHECKED = 4
CHANNEL_QUANTILES = 25

Nodes = dict[str, ov.Node]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class LayerError:
    """Energies over all samples of a layer's output in the float model (``signal``), of its error, and of its parts."""

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
        """Signal-to-quantization-noise ratio in dB; inf without an error."""
        return decibels(self.signal, self.noise)

    @property
    def wrongly_executed(self) -> bool:
        """Whether OpenVINO computes something else than quantized weights and inputs give."""
        return 0 < _WRONG * self.signal < self.execution


@dataclass(frozen=True)
class Analysis:
    """The layers in topological order, and those that could not be analysed, each with the reason."""

    layers: tuple[LayerError, ...]
    skipped: tuple[str, ...] = ()


def analyze(
    model: ov.Model,
    quantized: ov.Model,
    samples: Sequence[Sample],
    advance: Callable[[], None] = lambda: None,
    threads: int | None = None,
) -> Analysis:
    """Compare what the layers of ``quantized`` compute with those of the float ``model`` that it was made of.

    A layer's output is that behind its bias. Layers left float are compared too: they inherit errors.
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
        # Both models run alone: two padded pointwise convolutions of stride 2 on one tensor do not, say.
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
    """Of each layer with quantized weights, ``|W' - W|^2 / |W|^2`` of each output channel that is not all zeros."""
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
    """So many quantiles for each layer that rows of a heat map have one length, whatever channels a layer has."""
    places = np.linspace(0, 1, CHANNEL_QUANTILES)
    return {layer: tuple(map(float, np.quantile(each, places))) for layer, each in errors.items() if each.size}


def _joined(model: ov.Model, quantized: ov.Model, layers: Sequence[Layer], whole: tuple[str, ...]) -> ov.Model:
    """One model whose outputs are a row for each layer."""
    first, second = (one_sample_at_a_time(each, whole) for each in (model, quantized))
    before, after = nodes_by_name(first), nodes_by_name(second)
    share_inputs(first, second)
    return ov.Model([_row(layer, before, after) for layer in layers], first.get_parameters(), "analysis")


def _row(layer: Layer, before: Nodes, after: Nodes) -> ov.Output:
    """What is observed of a layer: _NUMBERS, then means by channel of the error and of the parts due to the layer."""
    signal = biased_output(layer, before)
    error = ops.subtract(biased_output(layer, after), signal).output(0)
    parts = _own_parts(layer, before, after)
    # Up to a number a channel, by which the bias was changed.
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
    """What its weights, the FakeQuantize in front of it and its execution add to a layer's error; None for nothing."""
    node, port = after[layer.name], layer.weights.port
    weights = read_constant(node, port)
    change = weights - read_constant(before[layer.name], port)
    read, given = find_output(before, str(layer.data.source)), node.input_value(layer.data.port)
    restored = unquantized(given, find_device("ANY").pass_through)
    return (
        with_weights(node, port, change, read) if change.any() else None,
        with_weights(node, port, weights, ops.subtract(given, restored()).output(0)) if restored else None,
        # Weights that no FakeQuantize gives make it a product of floats.
        _beyond(with_weights(node, port, weights, given), layer, before, after) if restored else None,
    )


def _beyond(product: ov.Output, layer: Layer, before: Nodes, after: Nodes) -> ov.Output:
    """What the quantized layer answers beyond a product and the bias of the float layer."""
    bias = ops.subtract(biased_output(layer, before), before[layer.name])
    return ops.subtract(ops.subtract(biased_output(layer, after), bias), product).output(0)


def _is_wrong_alone(layer: Layer, quantized: ov.Model, samples: Sequence[Sample], threads: int | None) -> bool:
    """Whether the layer differs from the product of its weights and inputs in the quantized model as it is deployed."""
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
    """The energies of one layer from its rows, (samples, _NUMBERS + 4 channels); None unless all are finite."""
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
