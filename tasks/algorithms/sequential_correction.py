"""Biases corrected by what the quantized model really computes, layer after layer.

The mean of each output channel is brought to that of the float model, in topological order. Doing so for one layer at a
time costs as many passes over the samples as there are layers, and fits the biases to values that activations cut off:
less is more. So layers form a few groups, each corrected from one pass. Within a group a layer's own error is what
is left of the difference of its output means after what the difference of its input means explains, which is linear:

    shift = E[y] - E[yq] - W (E[x] - E[xq])

The earlier layers of the group take care of the rest. The first layer of a group has corrected inputs: its difference
is all its own. One compiled model serves all passes: the biases are inputs of it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.bias_correction import (
    Correction,
    bias_of,
    biased_output,
    describe,
    weights_lost,
    weights_of,
    within_threshold,
)
from tasks.algorithms.inference import Sample, compile_for_samples, infer, one_sample_at_a_time, whole_inputs
from tasks.graph.biases import along, bias_input, change_bias
from tasks.graph.constants import read_constant, write_constant
from tasks.graph.layers import Layer, find_layers, mean_shift
from tasks.graph.operations import read_operations
from tasks.graph.reductions import mean_along
from tasks.graph.traversal import find_output, nodes_by_name

MOST_GROUPS = 8

Arrays = list[NDArray[np.float64]]


def correct_sequentially(
    model: ov.Model,
    quantized: ov.Model,
    samples: Sequence[Sample],
    *,
    threshold: float | None = None,
    every_layer: bool = False,
    threads: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[Correction, ...]:
    """Correct the biases of the layers of ``quantized`` whose weights are, or with ``every_layer`` of all.

    ``threshold`` is that of :func:`~tasks.algorithms.bias_correction.correct_biases`. ``samples`` are inferred once by
    the float model and once for each of at most MOST_GROUPS groups; ``advance`` is called for every inference.
    """
    layers, nodes = find_layers(read_operations(model)), nodes_by_name(quantized)
    chosen = tuple(layer for layer in layers if every_layer or weights_lost(layer, nodes) is not None)
    if not chosen:
        return ()
    whole = whole_inputs(model, samples[0])
    wanted_read, wanted = _Observed(model, chosen, whole, threads).means(samples, {}, advance)
    biases = [bias_of(layer, nodes) for layer in chosen]
    for layer, bias, target in zip(chosen, biases, wanted, strict=True):
        # A number for every channel, whatever shape the bias had.
        change_bias(bias, layer.output_axis, np.zeros_like(target), suffix="spread")
    values = [read_constant(*bias_input(bias)) for bias in biases]
    quantized.validate_nodes_and_infer_types()
    observed = _Observed(quantized, chosen, whole, threads, free=[bias.get_friendly_name() for bias in biases])
    corrections = []
    for group in np.array_split(np.arange(len(chosen)), min(len(chosen), MOST_GROUPS)):
        read, computed = observed.means(samples, dict(zip(observed.names, values, strict=True)), advance)
        for place in group:
            layer, shift = chosen[place], wanted[place] - computed[place]
            if place != group[0]:
                shift = shift - mean_shift(layer, weights_of(layer, nodes), wanted_read[place] - read[place])
            kept = within_threshold(layer, shift, threshold)
            values[place] = values[place] + along(np.where(kept, shift, 0.0), (0,), -layer.output_axis)
            corrections.append(describe(layer, kept))
    for bias, value in zip(biases, values, strict=True):
        write_constant(*bias_input(bias), value, "corrected")
    quantized.validate_nodes_and_infer_types()
    return tuple(corrections)


class _Observed:
    """A model that tells the means of what layers read and, with their biases, compute; ``free`` biases are inputs."""

    def __init__(
        self,
        model: ov.Model,
        layers: Sequence[Layer],
        whole: tuple[str, ...],
        threads: int | None,
        free: Sequence[str] = (),
    ) -> None:
        tapped = one_sample_at_a_time(model, whole)
        nodes = nodes_by_name(tapped)
        # As the model runs, one layer after the other: tensors that are reduced later stay in memory until then.
        means = [mean for layer in layers for mean in (_mean_input(nodes, layer), _mean_output(nodes, layer))]
        parameters = [_freed(nodes[name]) for name in free]
        self.names = [parameter.get_friendly_name() for parameter in parameters]
        inputs = [*tapped.get_parameters(), *parameters]
        self._compiled = compile_for_samples(ov.Model(means, tapped.get_sinks(), inputs, "means"), threads)

    def means(
        self, samples: Sequence[Sample], biases: dict[str, NDArray[np.float64]], advance: Callable[[], None]
    ) -> tuple[Arrays, Arrays]:
        """The means over the samples of what each layer reads, and of what each computes; (channels,) each."""
        rows: dict[int, Arrays] = {}
        inputs = {name: values.astype(np.float32) for name, values in biases.items()}

        def receive(number: int, outputs: list[NDArray[np.float32]]) -> None:
            rows[number] = [output.astype(np.float64).reshape(-1) for output in outputs]
            advance()

        count = infer(self._compiled, ({**sample, **inputs} for sample in samples), receive)
        means = [np.mean([rows[number][place] for number in range(count)], axis=0) for place in range(len(rows[0]))]
        return means[::2], means[1::2]


def _mean_input(nodes: dict[str, ov.Node], layer: Layer) -> ov.Output:
    """The mean of each channel of what a layer reads."""
    return mean_along(find_output(nodes, str(layer.data.source)), layer.data_axis, 1)


def _mean_output(nodes: dict[str, ov.Node], layer: Layer) -> ov.Output:
    """The mean of each output channel of a layer, its bias added where it has one."""
    output = biased_output(layer, nodes)
    return mean_along(output, output.get_partial_shape().rank.get_length() + layer.output_axis, 1)


def _freed(bias: ov.Node) -> ov.op.Parameter:
    """An input of the model that takes the place of a bias, under its name."""
    node, port = bias_input(bias)
    source = node.input_value(port)
    parameter = ops.parameter(
        source.get_partial_shape(), source.get_element_type(), f"{bias.get_friendly_name()}/value"
    )
    parameter.output(0).set_names({parameter.get_friendly_name()})
    node.input(port).replace_source_output(parameter.output(0))
    return parameter
