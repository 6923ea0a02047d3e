"""The choice between two ranges of each tensor by trial: the one with which the model's output is nearer to float.

The error of a tensor says little where few values carry much: outliers of a transformer decide what attention looks at.
So each range is tried in the quantized model, one tensor at a time, on a few samples. One compiled model serves all
trials: the ranges are inputs of it, and each FakeQuantize is written out as arithmetic that reads them.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.inference import Sample, compile_for_samples, one_sample_at_a_time, whole_inputs
from tasks.algorithms.ranges import Parameters
from tasks.algorithms.relative_noise import infer_wanted, relative_noise
from tasks.graph.parts import show_parts
from tasks.graph.placement import QuantizationPoint, QuantizerSetup, Role
from tasks.graph.traversal import nodes_by_name
from tasks.numerics.affine import FakeQuantizeParameters

# Bounds have to differ by this share of the range; a choice between nearer ones would be chance.
LEAST_DIFFERENCE = 0.02

_LIMITS = ("low", "high", "step", "steps_a_unit")


def alternatives(setup: QuantizerSetup, base: Parameters, other: Parameters) -> tuple[tuple[str, ...], ...]:
    """The names of the quantizers whose ranges differ between two sets of parameters, those of one group together.

    Quantizers with a scale per channel are left out: samples that set the extremes of a channel cannot choose its
    range.

    Args:
        setup: The quantizers.
        base: FakeQuantize parameters by name of the quantizer.
        other: Other parameters.
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
    """The parameters, and the names of the quantizers that got those of ``other``.

    These are kept where they leave less error in the outputs, each output by its own energy.

    Args:
        model: The float model, whose outputs are the reference.
        quantized: The quantized model, with the parameters ``base``.
        setup: The quantizers.
        base: FakeQuantize parameters by name of the quantizer.
        other: Other parameters.
        samples: Samples to try them on.
        threads: Number of threads; None for all that the process may use.
        advance: Called after each inference.
    """
    units = alternatives(setup, base, other)
    if not units or not samples:
        return base, ()
    points = [point for point in setup.points if point.role == Role.ACTIVATIONS]
    whole = whole_inputs(model, samples[0])
    first, second = (show_parts(one_sample_at_a_time(each, whole)) for each in (model, quantized))
    wanted = infer_wanted(compile_for_samples(first, threads), samples, advance)
    free = compile_for_samples(_with_free_limits(second, points), threads)
    shapes = _limit_shapes(quantized, points)

    def error(limits: dict[str, NDArray[np.float32]]) -> float:
        return float(relative_noise(free, ({**sample, **limits} for sample in samples), wanted, advance).sum())

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
    """The quantized model, with the ranges of all activations as inputs."""
    nodes = nodes_by_name(quantized)
    parameters: list[ov.op.Parameter] = []
    for point in points:
        quantizer = nodes.get(point.name)
        if quantizer is None:  # it lies behind all parts
            continue
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
    """The shape that the bounds of every quantizer have in the model."""
    nodes = nodes_by_name(quantized)
    return {point.name: tuple(nodes[point.name].get_input_shape(1)) for point in points}


def _inputs(shapes: Mapping[str, tuple[int, ...]], parameters: Parameters) -> dict[str, NDArray[np.float32]]:
    """The ranges of the quantizers in ``shapes``, as inputs of the model."""
    inputs = {}
    for point, shape in shapes.items():
        limits = parameters[point]
        step = (limits.input_high - limits.input_low) / np.float32(limits.levels - 1)
        values = (limits.input_low, limits.input_high, step, 1 / step)
        for name, value in zip(_LIMITS, values, strict=True):
            inputs[f"{point}/{name}"] = np.asarray(value, np.float32).reshape(shape)
    return inputs
