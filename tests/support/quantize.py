"""Quantizing a model in one call."""

from collections.abc import Sequence
from typing import Any

import openvino as ov

from tasks.algorithms.execution import Execution, compare_execution
from tasks.algorithms.inference import Sample, whole_inputs
from tasks.algorithms.ranges import estimate_parameters
from tasks.graph.edits import insert_quantizers
from tasks.graph.placement import QuantizerSetup, observed_tensors, place_quantizers
from tasks.graph.presets import Preset, Scheme, TensorOptions
from tests.support.observe import observe


def quantize(
    model: ov.Model,
    data: Sequence[Sample],
    bits: int = 4,
    *,
    preset: Preset = Preset.MIXED,
    activations: TensorOptions | None = None,
    **weights: Any,
) -> ov.Model:
    """The model with weights and activations quantized, nothing corrected."""
    setup = place_quantizers(model)
    statistics = observe(model, observed_tensors(model, setup), data, whole=whole_inputs(model, data[0]))
    scheme = Scheme(preset, TensorOptions(bits=bits, **weights), activations or TensorOptions())
    copy = model.clone()
    insert_quantizers(copy, setup.points, estimate_parameters(model, setup, statistics, scheme, frozenset(), 1e-6))
    return copy


def settle(
    model: ov.Model, data: Sequence[Sample], scheme: Scheme, device: str = "ANY"
) -> tuple[ov.Model, QuantizerSetup, Execution]:
    """The quantized model as a run comes to it, its quantizers, and what OpenVINO still computes in floats."""
    left_float: dict[str, str] = {}
    while True:
        setup = place_quantizers(model, target_device=device, left_float=left_float)
        tensors = observed_tensors(model, setup, target_device=device)
        statistics = observe(model, tensors, data, whole=whole_inputs(model, data[0]))
        execution = compare_execution(model, setup, statistics, scheme)
        if not execution.left_float:
            break
        left_float |= execution.left_float
    quantized = model.clone()
    parameters = estimate_parameters(model, setup, statistics, scheme, frozenset(), 1e-6)
    insert_quantizers(quantized, setup.points, parameters)
    return quantized, setup, execution
