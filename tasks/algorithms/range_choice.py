"""Which of several ranges suits each tensor, by what the model makes of it: the nearer its output, the better.

The error of a tensor says little where few values carry much: outliers of a transformer decide what attention looks at.
So each range is tried in the quantized model, one tensor at a time, on a few samples. One compiled model serves all
trials: the limits are inputs of it, and FakeQuantize is written out as arithmetic that takes them.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.inference import Sample, compile_for_samples, infer, one_sample_at_a_time
from tasks.algorithms.ranges import Parameters
from tasks.graph.placement import QuantizationPoint, QuantizerSetup, Role
from tasks.graph.traversal import nodes_by_name
from tasks.numerics.affine import FakeQuantizeParameters

# Ranges that differ by less would be told apart by chance.
LEAST_DIFFERENCE = 0.02

_LIMITS = ("low", "high", "step", "steps_a_unit")


def alternatives(setup: QuantizerSetup, base: Parameters, other: Parameters) -> tuple[tuple[str, ...], ...]:
    """The points, one or those of a group that shares its range, whose limits differ between two sets of parameters.

    Points with a scale for each channel are left out: samples that set the extremes of a channel cannot judge them.
    """
    units: dict[str, list[str]] = {}
    for point in setup.points:
        if point.role == Role.ACTIVATIONS:
            units.setdefault(point.group or point.name, []).append(point.name)
    return tuple(tuple(names) for names in units.values() if _may_differ(base[names[0]], other[names[0]]))


def choose_ranges(
    model: ov.Model,
    quantized: ov.Model,
    setup: QuantizerSetup,
    base: Parameters,
    other: Parameters,
    samples: Sequence[Sample],
    *,
    threads: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[Parameters, tuple[str, ...]]:
    """The parameters ``base`` of ``quantized``, with those of ``other`` where they leave less error in its outputs.

    Returns them and the names of the points that changed. The outputs of ``model`` are the reference; all of them
    count, each by its own energy. ``advance`` is called for every inference.
    """
    units = alternatives(setup, base, other)
    points = [point for point in setup.points if point.role == Role.ACTIVATIONS]
    reference = compile_for_samples(one_sample_at_a_time(model), threads)
    free = compile_for_samples(_with_free_limits(one_sample_at_a_time(quantized), points), threads)
    wanted = _outputs(reference, samples, advance)
    shapes = _limit_shapes(quantized, points)
    energy = [np.square(output).sum() + np.finfo(np.float64).tiny for output in zip(*wanted, strict=True)]

    def error(limits: dict[str, NDArray[np.float32]]) -> float:
        found = _outputs(free, [{**sample, **limits} for sample in samples], advance)
        pairs = zip(zip(*wanted, strict=True), zip(*found, strict=True), energy, strict=True)
        return float(sum(np.square(np.subtract(ours, theirs)).sum() / whole for theirs, ours, whole in pairs))

    usual = _inputs(shapes, base)
    least = error(usual)
    changed = tuple(
        name
        for names in units
        if error(usual | _inputs({name: shapes[name] for name in names}, other)) < least
        for name in names
    )
    return base | {name: other[name] for name in changed}, changed


def _may_differ(one: FakeQuantizeParameters, another: FakeQuantizeParameters) -> bool:
    if one.input_low.size > 1 or another.input_low.size > 1:
        return False
    width = (one.input_high - one.input_low).max()
    moved = max(np.abs(one.input_low - another.input_low).max(), np.abs(one.input_high - another.input_high).max())
    return bool(moved > LEAST_DIFFERENCE * width)


def _with_free_limits(quantized: ov.Model, points: Sequence[QuantizationPoint]) -> ov.Model:
    nodes = nodes_by_name(quantized)
    parameters: list[ov.op.Parameter] = []
    for point in points:
        quantizer = nodes[point.name]
        shape = quantizer.get_input_partial_shape(1)
        limits = {}
        for name in _LIMITS:
            limits[name] = ops.parameter(shape, ov.Type.f32)
            limits[name].output(0).set_names({f"{point.name}/{name}"})
        parameters += limits.values()
        element_type = quantizer.get_output_element_type(0)
        inside = ops.minimum(ops.maximum(ops.convert(quantizer.input_value(0), "f32"), limits["low"]), limits["high"])
        codes = ops.round(ops.multiply(ops.subtract(inside, limits["low"]), limits["steps_a_unit"]), "half_to_even")
        value = ops.add(ops.multiply(codes, limits["step"]), limits["low"])
        result = ops.convert(value, element_type.get_type_name())
        for consumer in quantizer.output(0).get_target_inputs():
            consumer.replace_source_output(result.output(0))
    inputs = [*quantized.get_parameters(), *parameters]
    return ov.Model(quantized.get_results(), quantized.get_sinks(), inputs, "free")


def _limit_shapes(quantized: ov.Model, points: Sequence[QuantizationPoint]) -> dict[str, tuple[int, ...]]:
    """The shape that the limits of every point have in the model."""
    nodes = nodes_by_name(quantized)
    return {point.name: tuple(nodes[point.name].get_input_shape(1)) for point in points}


def _inputs(shapes: Mapping[str, tuple[int, ...]], parameters: Parameters) -> dict[str, NDArray[np.float32]]:
    """The limits of the points of ``shapes``, as inputs of the model."""
    inputs = {}
    for point, shape in shapes.items():
        limits = parameters[point]
        step = (limits.input_high - limits.input_low) / np.float32(limits.levels - 1)
        values = (limits.input_low, limits.input_high, step, 1 / step)
        for name, value in zip(_LIMITS, values, strict=True):
            inputs[f"{point}/{name}"] = np.asarray(value, np.float32).reshape(shape)
    return inputs


def _outputs(
    compiled: ov.CompiledModel, samples: Sequence[Sample], advance: Callable[[], None]
) -> list[list[NDArray[np.float64]]]:
    """For every sample its outputs of real numbers."""
    rows: dict[int, list[NDArray[np.float64]]] = {}

    def receive(number: int, outputs: list[NDArray[np.float32]]) -> None:
        rows[number] = [output.astype(np.float64) for output in outputs if np.issubdtype(output.dtype, np.floating)]
        advance()

    count = infer(compiled, samples, receive)
    return [rows[number] for number in range(count)]
