"""The cost of a calibration before there are any data, measured on noise of the inputs' shapes."""

import time
from dataclasses import dataclass

import numpy as np
import openvino as ov

from tasks.algorithms.calibration import collect_statistics, compile_observed
from tasks.algorithms.inference import Sample, one_sample_at_a_time, sample_bytes
from tasks.graph.naming import input_name
from tasks.numerics.statistics import Observation, to_arrays

_TRIAL_SAMPLES = 8


@dataclass(frozen=True)
class Cost:
    """The cost of collecting statistics.

    Attributes:
        seconds_per_sample: Time for each sample.
        statistics_bytes_per_sample: Bytes of statistics in memory for each sample.
        activation_bytes: Bytes of all observed tensors of one sample.
    """

    seconds_per_sample: float
    statistics_bytes_per_sample: int
    activation_bytes: int


def estimate_cost(
    model: ov.Model,
    observations: tuple[Observation, ...],
    *,
    in_place: bool,
    threads: int | None = None,
) -> Cost | None:
    """The cost, from the inference of some samples of noise; None if inputs have dynamic axes besides the batch.

    Args:
        model: The float model.
        observations: What to observe of each tensor.
        in_place: Whether to reduce inside the graph.
        threads: Number of threads; None for all that the process may use.
    """
    prepared = one_sample_at_a_time(model)
    if any(port.get_partial_shape().is_dynamic for port in prepared.inputs):
        return None
    sample = _noise(prepared)
    observed = compile_observed(model, observations, in_place=in_place, threads=threads)
    rows = to_arrays(collect_statistics(observed, [sample], 1, lambda: None)).values()
    started = time.perf_counter()
    collect_statistics(observed, [sample] * _TRIAL_SAMPLES, _TRIAL_SAMPLES, lambda: None)
    seconds = (time.perf_counter() - started) / _TRIAL_SAMPLES
    return Cost(
        seconds, sum(row.nbytes for row in rows), sum(sample_bytes(model, tuple(each.tensor for each in observations)))
    )


def _noise(model: ov.Model) -> Sample:
    """A sample: uniform noise for real inputs, zeros for integers, which are indices that every table has."""
    generator = np.random.default_rng(0)
    sample = {}
    for port in model.inputs:
        shape, dtype = tuple(port.get_shape()), port.get_element_type().to_dtype()
        real = np.issubdtype(dtype, np.floating)
        noise = generator.random(shape, np.float32) if real else np.zeros(shape, dtype)
        sample[input_name(port)] = noise.astype(dtype, copy=False)
    return sample
