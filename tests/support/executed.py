"""Noise for any model, and which of its quantized layers OpenVINO computes in floats."""

import numpy as np
import openvino as ov

from tasks.algorithms.execution import float_layers
from tasks.algorithms.inference import Sample
from tasks.graph.operations import read_operations
from tasks.graph.placement import QuantizerSetup


def noise(model: ov.Model, scale: float = 1.0, free: int = 5) -> list[Sample]:
    rng = np.random.default_rng(0)
    shapes = {
        each.get_friendly_name(): [free if size.is_dynamic else size.get_length() for size in each.get_partial_shape()]
        for each in model.get_parameters()
    }
    return [
        {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()} for _ in "123"
    ]


def in_floats(model: ov.Model, quantized: ov.Model, setup: QuantizerSetup) -> frozenset[str]:
    """The layers with quantized weights or operands that run in floats."""
    targets = {target for point in setup.points for target in point.targets}
    return float_layers(quantized, [each for each in read_operations(model) if each.name in targets])
