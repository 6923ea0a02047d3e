"""The moments of a group of layers from one pass over the samples: inputs in the quantized model, the float targets.

Float and quantized model run side by side as one compiled model. Targets come from the float model, inputs from the
quantized one as far as it is tuned. The targets of a layer that depends on another one of its group are what its float
weights answer to the inputs it gets: errors of these inputs are corrected in the other layer.

Of many output positions some are drawn, different ones for every sample, by a seed and the sample's number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.activation_scales import Limits, Trial, tune_limits
from tasks.algorithms.inference import Sample, compile_for_samples, infer, one_sample_at_a_time, whole_inputs
from tasks.graph.biases import find_bias
from tasks.graph.columns import Form
from tasks.graph.edits import MOST_INT8_LEVELS
from tasks.graph.joining import share_inputs
from tasks.graph.layers import Layer
from tasks.graph.operations import Edge
from tasks.graph.traversal import nodes_by_name
from tasks.numerics.moments import Array, Moments, measure, merge

# Output positions per sample; fewer are enough for layers that sum over few inputs, such as depthwise ones.
POSITIONS, FEW_POSITIONS, FEW_INPUTS = 64, 32, 50
FOLDS = 4
# Bytes of columns in memory at once, and samples to tune activation ranges on.
MOST_BYTES, LIMIT_SAMPLES = 256 * 2**20, 16
# Targets so many standard deviations outside of what the activation behind a layer lets through get the least weight.
MARGIN, LEAST_WEIGHT = 0.1, 0.02

Columns = NDArray[np.float32]
Rows = list[tuple[Columns, Columns]]


@dataclass(frozen=True)
class Observed:
    """A layer to observe.

    Attributes:
        layer: The layer.
        form: Its weights as matrices.
        weights: Its float weights, (groups, outputs, inputs), float64.
        bias: Its float bias, (groups, outputs), float64.
        dependent: Whether it depends on another layer of the group.
        clip: Values between which the activation behind it keeps differences; None if all targets count alike.
        limits: The FakeQuantize in front of it, if its range is tuned.
        sum: Input of the Add that reads its output, if it makes up for the error of the other summand.
    """

    layer: Layer
    form: Form
    weights: Array
    bias: Array
    dependent: bool
    clip: tuple[float, float] | None
    limits: Limits | None
    sum: Edge | None


def gather(
    model: ov.Model,
    quantized: ov.Model,
    group: Sequence[Observed],
    samples: Sequence[Sample],
    *,
    seed: int,
    threads: int | None,
    advance: Callable[[], None],
) -> tuple[tuple[Moments, ...], ...]:
    """For each layer of the group its moments on each fold of the samples.

    Args:
        model: The float model.
        quantized: The quantized model, tuned up to this group.
        group: The layers to observe.
        samples: The samples, at least one.
        seed: Seed of the positions that are drawn.
        threads: Number of threads; None for all that the process may use.
        advance: Called after each sample.
    """
    whole = whole_inputs(model, samples[0])
    compiled = compile_for_samples(_side_by_side(model, quantized, group, whole), threads)
    clips: list[tuple[Columns, Columns] | None] = []
    folds: list[dict[int, Moments]] = [{} for _ in group]
    for part in _parts(compiled, group, len(samples)):
        found = _observe(compiled, group, samples, part, seed, advance)
        clips = clips or [_clip(each, rows) for each, rows in zip(group, found, strict=True)]
        for place, rows in enumerate(found):
            for fold in sorted({number % FOLDS for number in part}):
                own = _joined([row for number, row in zip(part, rows, strict=True) if number % FOLDS == fold])
                moments = measure(*own, _weights(own[1], clips[place]))
                folds[place][fold] = merge([folds[place][fold], moments]) if fold in folds[place] else moments
    return tuple(tuple(own[fold] for fold in sorted(own)) for own in folds)


def search_limits(
    model: ov.Model,
    quantized: ov.Model,
    group: Sequence[Observed],
    samples: Sequence[Sample],
    *,
    seed: int,
    threads: int | None,
) -> dict[str, float]:
    """The best factor for the range of each FakeQuantize in front of the layers, by its name, from a few samples.

    Args:
        model: The float model.
        quantized: The quantized model, tuned up to this group.
        group: The layers to observe.
        samples: The samples, at least one.
        seed: Seed of the positions that are drawn.
        threads: Number of threads; None for all that the process may use.
    """
    own = [(each, each.limits) for each in group if each.limits]
    if not own:
        return {}
    layers = [each for each, _ in own]
    whole = whole_inputs(model, samples[0])
    compiled = compile_for_samples(_side_by_side(model, quantized, layers, whole, unquantized=True), threads)
    part = range(0, len(samples), -(-len(samples) // LIMIT_SAMPLES))
    found = _observe(compiled, layers, samples, part, seed, lambda: None)
    return tune_limits(
        [Trial(limits, *_joined(rows), each.weights) for (each, limits), rows in zip(own, found, strict=True)]
    )


def _side_by_side(
    model: ov.Model,
    quantized: ov.Model,
    group: Sequence[Observed],
    whole: tuple[str, ...],
    *,
    unquantized: bool = False,
) -> ov.Model:
    """One model with two outputs for each layer: the target, and what the quantized layer reads.

    With ``unquantized`` it is what the FakeQuantize in front of the layer reads. So it is if that has 16 bits, which
    lose next to nothing: OpenVINO (2026.4) does not compile its result.
    """
    first, second = (one_sample_at_a_time(each, whole) for each in (model, quantized))
    answers, readers = nodes_by_name(first), nodes_by_name(second)
    outputs = []
    for each in group:
        outputs.append(ops.result(_answer(each, answers, readers)))
        data = readers[each.layer.name].input_value(each.layer.data.port)
        quantizer = data.get_node()
        if unquantized or quantizer.get_attributes().get("levels", 0) > MOST_INT8_LEVELS:
            data = quantizer.input_value(0)
        # A Result of its own, as the data may be an input of the model, whose readers change below.
        outputs.append(ops.result(data))
    share_inputs(first, second)
    return ov.Model(outputs, first.get_parameters(), "side_by_side")


def _answer(each: Observed, answers: Mapping[str, ov.Node], readers: Mapping[str, ov.Node]) -> ov.Output:
    """The float layer's output behind its bias; in front of an Add, what makes its sum that of the float model."""
    if each.sum is None:
        bias = find_bias(each.layer.operation, each.layer.output_axis)
        return answers[bias.name if bias else each.layer.name].output(0)
    name = each.sum.operation.name
    return ops.subtract(answers[name].output(0), readers[name].input_value(1 - each.sum.port)).output(0)


def _parts(compiled: ov.CompiledModel, group: Sequence[Observed], count: int) -> list[range]:
    """The samples in parts whose columns fit in memory; each is spread over all samples."""
    size = 0
    for each, port in zip(group, compiled.outputs[::2], strict=True):
        shape = port.get_partial_shape()
        total = each.form.positions(tuple(shape.to_shape())) if shape.is_static else POSITIONS
        size += min(_most_positions(each), total) * each.form.groups * (each.form.inputs + each.form.outputs)
    parts = min(max(-(-count * size * 4 // MOST_BYTES), 1), count)
    return [range(start, count, parts) for start in range(parts)]


def _observe(
    compiled: ov.CompiledModel,
    group: Sequence[Observed],
    samples: Sequence[Sample],
    part: Sequence[int],
    seed: int,
    advance: Callable[[], None],
) -> list[Rows]:
    """For each layer, columns and targets of each sample of a part: (groups, positions, inputs or outputs)."""
    found: list[dict[int, tuple[Columns, Columns]]] = [{} for _ in group]

    def receive(number: int, outputs: list[NDArray[Any]]) -> None:
        for place, each in enumerate(group):
            answer, data = outputs[2 * place], outputs[2 * place + 1]
            total, most = each.form.positions(answer.shape), _most_positions(each)
            chooser = np.random.default_rng([seed, part[number], total])
            places = np.arange(total) if total <= most else np.sort(chooser.choice(total, most, replace=False))
            columns = each.form.columns(data, answer.shape, places)
            if each.dependent:
                targets = columns @ np.swapaxes(each.weights, 1, 2) + each.bias[:, None]
            else:
                targets = each.form.answers(answer, places)
            found[place][number] = columns, targets.astype(np.float32)
        advance()

    infer(compiled, (samples[number] for number in part), receive)
    return [[own[number] for number in range(len(part))] for own in found]


def _most_positions(each: Observed) -> int:
    return POSITIONS if each.form.inputs > FEW_INPUTS else FEW_POSITIONS


def _joined(rows: Rows) -> tuple[Columns, Columns]:
    """The columns and targets of all samples."""
    columns, targets = zip(*rows, strict=True)
    return np.concatenate(columns, axis=1), np.concatenate(targets, axis=1)


def _clip(each: Observed, rows: Rows) -> tuple[Columns, Columns] | None:
    """The values between which the targets of each channel count in full; None if all do."""
    if each.clip is None:
        return None
    targets = np.concatenate([own[:, :, 0] for _, own in rows], axis=1)
    spread = np.float32(MARGIN) * targets.std(axis=1, dtype=np.float64).astype(np.float32)[:, None]
    return each.clip[0] - spread, each.clip[1] + spread


def _weights(targets: Columns, clip: tuple[Columns, Columns] | None) -> Columns:
    """The weight of each column, (groups, columns)."""
    if clip is None:
        return np.ones(targets.shape[:2], np.float32)
    inside = (targets[:, :, 0] > clip[0]) & (targets[:, :, 0] < clip[1])
    return np.where(inside, np.float32(1), np.float32(LEAST_WEIGHT))
