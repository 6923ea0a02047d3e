"""What a calibration would cost, before any data are there: measured on noise of the inputs' shapes."""

import time
from dataclasses import dataclass

import numpy as np
import openvino as ov

from tasks.algorithms.calibration import CHANNEL_AXIS, collect_statistics, compile_taps
from tasks.algorithms.inference import Sample, one_sample_at_a_time
from tasks.graph.naming import input_name
from tasks.graph.traversal import find_output, nodes_by_name

_TRIAL_SAMPLES = 8


@dataclass(frozen=True)
class Cost:
    """Of collecting statistics: seconds and bytes held for each sample, and bytes of all tapped tensors of one."""

    seconds_per_sample: float
    statistics_bytes_per_sample: int
    activation_bytes: int


def estimate_cost(
    model: ov.Model, tensors: tuple[str, ...], *, in_place: bool, threads: int | None = None
) -> Cost | None:
    """Infer some samples of noise with all taps; None for a model whose inputs have free axes besides the batch."""
    prepared = one_sample_at_a_time(model)
    if any(port.get_partial_shape().is_dynamic for port in prepared.inputs):
        return None
    sample = _noise(prepared)
    taps = compile_taps(model, tensors, in_place=in_place, threads=threads)
    collect_statistics(taps, [sample], lambda: None)
    started = time.perf_counter()
    collect_statistics(taps, [sample] * _TRIAL_SAMPLES, lambda: None)
    seconds = (time.perf_counter() - started) / _TRIAL_SAMPLES
    nodes = nodes_by_name(prepared)
    shapes = [find_output(nodes, tensor).get_partial_shape() for tensor in tensors]
    channels = sum(_channels(shape) for shape in shapes)
    values = sum(int(np.prod(shape.to_shape())) for shape in shapes if shape.is_static)
    return Cost(seconds, 2 * 4 * channels, 4 * values)


def _channels(shape: ov.PartialShape) -> int:
    has_channels = shape.rank.get_length() > CHANNEL_AXIS and shape[CHANNEL_AXIS].is_static
    return int(shape[CHANNEL_AXIS].get_length()) if has_channels else 1


def _noise(model: ov.Model) -> Sample:
    """Uniform noise for real inputs, zeros for integers: any index of a table is one it has."""
    generator = np.random.default_rng(0)
    sample = {}
    for port in model.inputs:
        shape, dtype = tuple(port.get_shape()), port.get_element_type().to_dtype()
        real = np.issubdtype(dtype, np.floating)
        sample[input_name(port)] = generator.random(shape).astype(dtype) if real else np.zeros(shape, dtype)
    return sample
