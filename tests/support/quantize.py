"""Quantizing a model in one call."""

from collections.abc import Sequence
from typing import Any

import openvino as ov

from tasks.algorithms.inference import Sample, whole_inputs
from tasks.algorithms.ranges import estimate_parameters
from tasks.graph.edits import insert_quantizers
from tasks.graph.placement import observed_tensors, place_quantizers
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
