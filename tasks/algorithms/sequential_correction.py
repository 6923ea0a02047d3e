"""Bias correction by inference: biases bring the means of the quantized model to those of the float model.

The mean of each output channel is corrected in topological order (POT: BiasCorrection). One layer at a time would need
as many passes over the samples as there are layers, and would fit the biases to values that activations clip. So the
layers form a few groups, each corrected from one pass. Within a group a layer corrects the shift of its output mean
that the shift of its input mean does not explain, which acts linearly:

    shift = E[y] - E[yq] - W (E[x] - E[xq])

The rest is left to the earlier layers of the group. The inputs of a group's first layer are corrected already, so that
its whole shift is its own. One compiled model serves all passes: the biases are inputs of it.
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
    """What became of the bias of each layer that was looked at; the biases are corrected in place.

    The samples are inferred once by the float model and once for each of at most MOST_GROUPS groups.

    Args:
        model: The float model.
        quantized: The quantized model made of it, which is changed.
        samples: The samples, at least one.
        threshold: Largest change of a bias (see :func:`~tasks.algorithms.bias_correction.correct_biases`).
        every_layer: Whether to correct layers with float weights too.
        threads: Number of threads; None for all that the process may use.
        advance: Called after each inference.
    """
    layers, nodes = find_layers(read_operations(model)), nodes_by_name(quantized)
    chosen = tuple(layer for layer in layers if every_layer or weights_lost(layer, nodes) is not None)
    if not chosen:
        return ()
    whole = whole_inputs(model, samples[0])
    wanted_read, wanted = _Observed(model, chosen, whole, threads).means(samples, {}, advance)
    biases = [bias_of(layer, nodes) for layer in chosen]
    for layer, bias, target in zip(chosen, biases, wanted, strict=True):
        # One number for every channel, whatever shape the bias has.
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
    """A model that gives the means of what layers read and of their biased outputs; ``free`` biases are inputs."""

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
        # In the order of the layers, as the model runs: a tensor that is reduced later stays in memory until then.
        means = [mean for layer in layers for mean in (_mean_input(nodes, layer), _mean_output(nodes, layer))]
        parameters = [_freed(nodes[name]) for name in free]
        self.names = [parameter.get_friendly_name() for parameter in parameters]
        inputs = [*tapped.get_parameters(), *parameters]
        self._compiled = compile_for_samples(ov.Model(means, tapped.get_sinks(), inputs, "means"), threads)

    def means(
        self, samples: Sequence[Sample], biases: dict[str, NDArray[np.float64]], advance: Callable[[], None]
    ) -> tuple[Arrays, Arrays]:
        """The means over the samples of each layer's data and of its output, (channels,) each, float64.

        Args:
            samples: The samples.
            biases: Values of the free biases, by name of the input.
            advance: Called after each sample.
        """
        rows: dict[int, Arrays] = {}
        inputs = {name: values.astype(np.float32) for name, values in biases.items()}

        def receive(number: int, outputs: list[NDArray[np.float32]]) -> None:
            rows[number] = [output.astype(np.float64).reshape(-1) for output in outputs]
            advance()

        count = infer(self._compiled, ({**sample, **inputs} for sample in samples), receive)
        means = [np.mean([rows[number][place] for number in range(count)], axis=0) for place in range(len(rows[0]))]
        return means[::2], means[1::2]


def _mean_input(nodes: dict[str, ov.Node], layer: Layer) -> ov.Output:
    """The mean of each channel of a layer's data."""
    return mean_along(find_output(nodes, str(layer.data.source)), layer.data_axis, 1)


def _mean_output(nodes: dict[str, ov.Node], layer: Layer) -> ov.Output:
    """The mean of each output channel of a layer, behind its bias if it has one."""
    output = biased_output(layer, nodes)
    return mean_along(output, output.get_partial_shape().rank.get_length() + layer.output_axis, 1)


def _freed(bias: ov.Node) -> ov.op.Parameter:
    """A new input of the model that takes the place of a bias."""
    node, port = bias_input(bias)
    source = node.input_value(port)
    parameter = ops.parameter(
        source.get_partial_shape(), source.get_element_type(), f"{bias.get_friendly_name()}/value"
    )
    parameter.output(0).set_names({parameter.get_friendly_name()})
    node.input(port).replace_source_output(parameter.output(0))
    return parameter
