"""Layer-wise tuning: one group of layers after the other is tuned to answer like the float model's layers.

A group is observed in one pass over the samples (:mod:`tasks.algorithms.layer_moments`), behind the groups tuned
before: its layers get the inputs that the tuned network gives them, and make up for the errors of these. Codes, scales
and biases then follow from the moments alone (:mod:`tasks.numerics.reconstruction`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import openvino as ov

from tasks.algorithms.activation_scales import find_limits, write_factor
from tasks.algorithms.bias_correction import bias_of
from tasks.algorithms.inference import Sample
from tasks.algorithms.layer_moments import Observed, gather, search_limits
from tasks.errors import InputError
from tasks.graph.biases import bias_input, change_bias, find_bias
from tasks.graph.columns import Form, form_of
from tasks.graph.constants import read_constant, write_constant
from tasks.graph.ignoring import find_ignored
from tasks.graph.layer_groups import depends_on, find_sum, independent_groups, joined
from tasks.graph.layers import Layer, find_layers
from tasks.graph.operations import Operation, read_operations
from tasks.graph.quantized_weights import QuantizedWeights, find_quantized_weights
from tasks.graph.scope import IgnoredScope
from tasks.graph.selections import find_selections, selected_by
from tasks.graph.traversal import nodes_by_name
from tasks.numerics.descent import Grid
from tasks.numerics.moments import Array, Moments, merge
from tasks.numerics.reconstruction import reconstruct

Parameter = Literal["biases", "weights", "scales"]
ALL_PARAMETERS: tuple[Parameter, ...] = ("biases", "weights", "scales")
# The moments of a layer that sums over more inputs are too large: 300 MB per matrix, of which several are needed.
MOST_INPUTS = 6144
ITERATIONS = 20


@dataclass(frozen=True)
class TunedLayer:
    """The error of a layer before and after tuning.

    Attributes:
        layer: Name of the layer.
        before: Mean squared error of its output on the samples, in units of the output's variance.
        after: The same after tuning.
        range_factor: Factor by which the range of the activations in front of it was multiplied.
    """

    layer: str
    before: float
    after: float
    range_factor: float


@dataclass(frozen=True)
class TuningPlan:
    """The names of the layers to tune, in groups, and of those left as they are, each with the reason."""

    groups: tuple[tuple[str, ...], ...]
    skipped: tuple[str, ...]


def plan_tuning(model: ov.Model, quantized: ov.Model, ignored: IgnoredScope, passes: int | None) -> TuningPlan:
    """The layers to tune, in as many groups as there will be passes over the samples.

    Args:
        model: The float model.
        quantized: The quantized model made of it.
        ignored: Layers that are not tuned.
        passes: Most groups; None for as many as dependencies between layers demand.

    Raises:
        InputError: An ignored entry has no effect.
    """
    operations, nodes = read_operations(model), nodes_by_name(quantized)
    layers = find_layers(operations)
    own = {layer.operation for layer in layers}
    left = find_ignored(operations, ignored, lambda each: None if each in own else "it is no layer with weights")
    selections = find_selections(operations)
    reasons: dict[Layer, str] = {}
    for layer in layers:
        weights = find_quantized_weights(nodes[layer.name], layer.weights.port, _form(layer))
        reason = "ignored" if layer.operation in left else weights if isinstance(weights, str) else _reason(layer)
        if layer.operation in selections:
            reason = selected_by(selections[layer.operation])
        if model.get_sinks():
            reason = "the model has a state"
        if reason:
            reasons[layer] = reason
    groups = independent_groups([layer for layer in layers if layer not in reasons])
    return TuningPlan(
        tuple(tuple(layer.name for layer in group) for group in (joined(groups, passes) if passes else groups)),
        tuple(f"{layer.name}: {reason}" for layer, reason in reasons.items()),
    )


def tune_layers(
    model: ov.Model,
    quantized: ov.Model,
    names: Sequence[str],
    samples: Sequence[Sample],
    *,
    parameters: Sequence[Parameter] = ALL_PARAMETERS,
    seed: int = 0,
    threads: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[TunedLayer, ...]:
    """The error of each layer of one group before and after it was tuned, in place, from one pass over the samples.

    No layer's error rises: an output whose error would rise keeps its codes, scale and bias.

    Args:
        model: The float model.
        quantized: The quantized model, tuned up to this group.
        names: Names of the layers of the group.
        samples: The samples, at least one.
        parameters: What is tuned.
        seed: Seed of the output positions that are drawn.
        threads: Number of threads; None for all that the process may use.
        advance: Called after each sample.

    Raises:
        InputError: The inputs or the targets of a layer are not finite.
    """
    layers = [layer for layer in find_layers(read_operations(model)) if layer.name in set(names)]
    nodes = nodes_by_name(quantized)
    group = [_observed(layer, layers, nodes, parameters) for layer in layers]
    factors = search_limits(model, quantized, group, samples, seed=seed, threads=threads)
    for name, factor in factors.items():
        write_factor(nodes[name], factor)
    observed = quantized.clone()
    if any(each.dependent for each in group):
        # Layers behind others of the group then read nearly what they will read in the end.
        others = nodes_by_name(observed)
        for layer in layers:
            weights = read_constant(layer.operation.node, layer.weights.port)
            write_constant(others[layer.name], layer.weights.port, weights, "float")
    moments = gather(model, observed, group, samples, seed=seed, threads=threads, advance=advance)
    tuned = []
    for each, folds in zip(group, moments, strict=True):
        factor = factors.get(each.limits.name, 1.0) if each.limits else 1.0
        tuned.append(_tune(each, folds, nodes, parameters, factor))
    quantized.validate_nodes_and_infer_types()
    return tuple(tuned)


def _observed(
    layer: Layer, group: Sequence[Layer], nodes: Mapping[str, ov.Node], parameters: Sequence[Parameter]
) -> Observed:
    """The layer to observe, one of ``group``."""
    form = _form(layer)
    weights = form.matrices(read_constant(layer.operation.node, layer.weights.port))
    names = frozenset(each.name for each in group)
    node = nodes[layer.name]
    limits = find_limits(node, layer.data.port, layer.data_axis, form, names) if "scales" in parameters else None
    dependent = depends_on(layer, {each.operation for each in group[: group.index(layer)]})
    summed = None if dependent else find_sum(layer, {each.operation for each in group})
    return Observed(layer, form, weights, _float_bias(layer, form), dependent, _clip(layer, form), limits, summed)


def _tune(
    each: Observed,
    folds: Sequence[Moments],
    nodes: Mapping[str, ov.Node],
    parameters: Sequence[Parameter],
    factor: float,
) -> TunedLayer:
    """The error of one layer before and after it was tuned, in place."""
    layer, form = each.layer, each.form
    weights = find_quantized_weights(nodes[layer.name], layer.weights.port, form)
    assert isinstance(weights, QuantizedWeights)  # noqa: S101 - the plan holds no other layers
    codes, grid = weights.codes(), _grid(weights)
    add = bias_of(layer, nodes)
    bias = _channels(read_constant(*bias_input(add)), form)
    moments = merge(folds)
    if not all(np.isfinite(each).all() for each in (moments.gram, moments.cross, moments.energy)):
        why = f"quantization.layerwise_tuning: '{layer.name}' reads or answers values that are not finite;"
        raise InputError(f"{why} leave it out: layerwise_tuning.ignored.scope")
    solved = reconstruct(
        each.weights,
        codes,
        grid,
        bias,
        () if each.dependent else folds,
        moments,
        tune_codes="weights" in parameters,
        tune_scales="scales" in parameters,
        tune_bias="biases" in parameters,
        passes=ITERATIONS,
    )
    before, after = float(solved.before.sum()), float(solved.after.sum())
    if after > before:
        msg = f"'{layer.name}': the error rose from {before} to {after}; it must not"
        raise ArithmeticError(msg)
    weights.write(solved.codes, solved.grid.scale)
    change_bias(add, layer.output_axis, (solved.bias - bias).reshape(-1), suffix="tuned")
    variance = max(float(moments.energy.sum()), float(np.finfo(np.float32).tiny))
    return TunedLayer(layer.name, before / variance, after / variance, factor)


def _grid(weights: QuantizedWeights) -> Grid:
    """The grid of a layer's weights; no code is outside of those in use, as a saturation fix relies on it."""
    codes, zero_point = weights.codes(), weights.zero_point()
    low, high = int(codes.min()), int(codes.max())
    if not zero_point.any():
        high = max(-low, high)
        # An even number of levels has a lowest one without a counterpart, a power of two.
        low, high = -high, high - 1 if high > codes.max() and high & (high - 1) == 0 else high
    return Grid(low, high, weights.scale(), zero_point, weights.shared_scale)


def _form(layer: Layer) -> Form:
    return form_of(layer, tuple(layer.operation.node.get_input_shape(layer.weights.port)))


def _reason(layer: Layer) -> str:
    """The reason why a layer cannot be tuned, whatever its weights; empty for one that can."""
    form = _form(layer)
    if form.inputs > MOST_INPUTS:
        return f"it sums over {form.inputs} inputs, more than {MOST_INPUTS}: their moments are too large"
    bias = find_bias(layer.operation, layer.output_axis)
    if bias is None:
        return ""
    values = read_constant(*bias_input(bias.node))
    by_channel = values.ndim + layer.output_axis
    if any(size > 1 and axis != by_channel for axis, size in enumerate(values.shape)):
        return "its bias differs by position"
    return ""


def _float_bias(layer: Layer, form: Form) -> Array:
    """The float bias of a layer, (groups, outputs); zeros without one."""
    bias = find_bias(layer.operation, layer.output_axis)
    return _channels(read_constant(*bias_input(bias.node)) if bias else np.zeros(1), form)


def _channels(bias: Array, form: Form) -> Array:
    """A bias of any shape, (groups, outputs)."""
    return np.array(np.broadcast_to(bias.reshape(-1), (form.groups * form.outputs,))).reshape(form.groups, -1)


def _clip(layer: Layer, form: Form) -> tuple[float, float] | None:
    """The values between which the activation behind a depthwise layer keeps differences; None without one."""
    last: Operation = find_bias(layer.operation, layer.output_axis) or layer.operation
    readers = [reader.operation for reader in last.readers]
    if form.outputs != 1 or form.groups == 1 or len(readers) != 1:
        return None
    if readers[0].type == "Relu":
        return 0.0, np.inf
    if readers[0].type == "Clamp":
        attributes = readers[0].node.get_attributes()
        return float(attributes["min"]), float(attributes["max"])
    return None
