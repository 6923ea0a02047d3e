"""One pass over the samples gathers the moments of a group of layers: the float model's answers, the inputs they get.

Float and quantized model run side by side as one compiled model. Answers are those of the float model, inputs those of
the quantized one, tuned as far as it is. A layer that reads what another one of its group computes is to answer as
its float weights would to the inputs it gets: errors of these inputs are the other one's to mend.

Positions are sampled where there are many, other ones for every sample, by a seed and the sample's number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.activation_scales import Limits, Trial, tune_limits
from tasks.algorithms.inference import Sample, compile_for_samples, infer, one_sample_at_a_time
from tasks.graph.biases import find_bias
from tasks.graph.columns import Form
from tasks.graph.layers import Layer
from tasks.graph.traversal import nodes_by_name
from tasks.numerics.moments import Array, Moments, measure, merge

POSITIONS = 64
FOLDS = 4
# Bytes of columns held at once.
MOST_BYTES = 256 * 2**20
# Answers so many standard deviations beyond what the activation behind a depthwise layer lets through hardly count.
MARGIN, LEAST_WEIGHT = 0.1, 0.02

Columns = NDArray[np.float32]


@dataclass(frozen=True)
class Observed:
    """A layer to be observed.

    ``weights`` are the float ones, (groups, outputs, inputs), ``bias`` its float bias, (groups, outputs). ``dependent``: it
    reads what others of the group compute. ``clip`` are the values between which the activation behind it keeps
    differences, None for a layer whose answers all count alike. ``limits`` is the FakeQuantize in front of it, if that is
    to be tuned.
    """

    layer: Layer
    form: Form
    weights: Array
    bias: Array
    dependent: bool
    clip: tuple[float, float] | None
    limits: Limits | None


@dataclass(frozen=True)
class Gathered:
    """The moments of a layer, of each fold of the samples, and by what its FakeQuantize's limits are best multiplied."""

    folds: tuple[Moments, ...]
    factor: float


def gather(
    model: ov.Model,
    quantized: ov.Model,
    group: Sequence[Observed],
    samples: Sequence[Sample],
    *,
    seed: int,
    threads: int | None,
    advance: Callable[[], None],
) -> tuple[Gathered, ...]:
    """Gather the moments of a group of layers in one pass; ``advance`` is called for each sample."""
    compiled = compile_for_samples(_side_by_side(model, quantized, group), threads)
    parts = _parts(compiled, group, len(samples))
    factors: Mapping[str, float] = {}
    clips: list[tuple[Array, Array] | None] = []
    folds: list[list[Moments | None]] = [[None] * FOLDS for _ in group]
    for part in parts:
        found = _columns(compiled, group, samples, part, seed, advance)
        if part is parts[0]:
            factors = _factors(group, found)
            clips = [_clip(each, _joined(rows)[1]) for each, rows in zip(group, found, strict=True)]
        for place, (each, rows) in enumerate(zip(group, found, strict=True)):
            for fold in range(FOLDS):
                chosen = [row for number, row in zip(part, rows, strict=True) if number % FOLDS == fold]
                if chosen:
                    moments = _measured(each, chosen, factors, clips[place])
                    earlier = folds[place][fold]
                    folds[place][fold] = moments if earlier is None else merge([earlier, moments])
    return tuple(
        Gathered(
            tuple(fold for fold in own if fold is not None), factors.get(each.limits.name, 1.0) if each.limits else 1.0
        )
        for each, own in zip(group, folds, strict=True)
    )


def _factors(group: Sequence[Observed], found: Sequence[Sequence[tuple[Columns, Columns]]]) -> Mapping[str, float]:
    trials = [
        Trial(each.limits, *_joined(rows), each.weights) for each, rows in zip(group, found, strict=True) if each.limits
    ]
    return tune_limits(trials)


def _side_by_side(model: ov.Model, quantized: ov.Model, group: Sequence[Observed]) -> ov.Model:
    """Outputs: for each layer what the float one answers, bias included, and what the quantized one reads."""
    first, second = one_sample_at_a_time(model), one_sample_at_a_time(quantized)
    answers, readers = nodes_by_name(first), nodes_by_name(second)
    outputs = []
    for each in group:
        bias = find_bias(each.layer.operation, each.layer.output_axis)
        outputs.append(ops.result(answers[bias.name if bias else each.layer.name].output(0)))
        data = readers[each.layer.name].input_value(each.layer.data.port)
        # A result of its own, as the data may be an input of the model, whose readers are about to change.
        outputs.append(ops.result(data.get_node().input_value(0) if each.limits else data))
    for mine, other in zip(first.get_parameters(), second.get_parameters(), strict=True):
        for reader in other.output(0).get_target_inputs():
            reader.replace_source_output(mine.output(0))
    return ov.Model(outputs, first.get_parameters(), "side_by_side")


def _parts(compiled: ov.CompiledModel, group: Sequence[Observed], count: int) -> list[list[int]]:
    """The samples in parts whose columns fit in memory, each spread over all of them."""
    sizes = [
        min(POSITIONS, each.form.positions(tuple(port.get_shape())) if port.get_partial_shape().is_static else POSITIONS)
        * (each.form.groups * (each.form.inputs + each.form.outputs))
        for each, port in zip(group, compiled.outputs[::2], strict=True)
    ]
    parts = -(-count * 4 * sum(sizes) // MOST_BYTES)
    parts = min(max(parts, 1), count)
    return [list(range(start, count, parts)) for start in range(parts)]


def _columns(
    compiled: ov.CompiledModel,
    group: Sequence[Observed],
    samples: Sequence[Sample],
    part: Sequence[int],
    seed: int,
    advance: Callable[[], None],
) -> list[list[tuple[Columns, Columns]]]:
    """For each layer and each sample of a part its columns and its targets, (groups, positions, ...)."""
    found: list[list[Any]] = [[None] * len(part) for _ in group]

    def receive(number: int, outputs: list[NDArray[Any]]) -> None:
        for place, each in enumerate(group):
            answer, data = outputs[2 * place], outputs[2 * place + 1]
            total = each.form.positions(answer.shape)
            chooser = np.random.default_rng([seed, part[number], total])
            places = np.arange(total) if total <= POSITIONS else np.sort(chooser.choice(total, POSITIONS, False))
            columns = each.form.columns(data, answer.shape, places)
            if each.dependent:
                targets = columns @ np.swapaxes(each.weights, 1, 2).astype(np.float32) + each.bias[:, None]
            else:
                targets = each.form.answers(answer, places)
            found[place][number] = columns, targets.astype(np.float32)
        advance()

    infer(compiled, (samples[number] for number in part), receive)
    return found


def _joined(rows: Sequence[tuple[Columns, Columns]]) -> tuple[Columns, Columns]:
    columns, targets = zip(*rows, strict=True)
    return np.concatenate(columns, axis=1), np.concatenate(targets, axis=1)


def _measured(
    each: Observed,
    rows: Sequence[tuple[Columns, Columns]],
    factors: Mapping[str, float],
    clip: tuple[Array, Array] | None,
) -> Moments:
    columns, targets = _joined(rows)
    if each.limits:
        columns = each.limits.quantize(columns, factors.get(each.limits.name, 1.0))
    weights = np.ones(columns.shape[:2], np.float32)
    if clip:
        inside = (targets[:, :, 0] > clip[0]) & (targets[:, :, 0] < clip[1])
        weights = np.where(inside, np.float32(1), np.float32(LEAST_WEIGHT))
    return measure(columns, targets, weights)


def _clip(each: Observed, targets: Columns) -> tuple[Array, Array] | None:
    if each.clip is None:
        return None
    spread = MARGIN * targets[:, :, 0].std(axis=1, dtype=np.float64)[:, None]
    return each.clip[0] - spread, each.clip[1] + spread
