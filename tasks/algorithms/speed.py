"""The speed of models side by side, compiled as a user would compile them, and the precision of their kernels."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov

from tasks.algorithms.inference import Sample, compile_on_cpu, one_sample_at_a_time, sample_inputs, whole_inputs

_INTEGER_PRECISIONS = {"i8", "u8"}
# Kernels that move, convert or hold data say nothing about the arithmetic.
_NOT_KERNELS = {"Input", "Output", "Const", "Reorder", "Reshape", "Convert", "Transpose", "Concatenation", "Split"}


@dataclass(frozen=True)
class Speed:
    """The speed of one compiled model on this machine.

    Attributes:
        latency_ms: Median time of one request in milliseconds.
        throughput_fps: Samples per second.
        kernels: Number of operations that compute.
        int8_kernels: Number of those that run in 8-bit integers.
    """

    latency_ms: float
    throughput_fps: float
    kernels: int
    int8_kernels: int


def describe_machine() -> str:
    """The name of the processor and the number that this process may use, on which measured speed depends."""
    return f"{ov.Core().get_property('CPU', 'FULL_DEVICE_NAME')}, {len(os.sched_getaffinity(0))} processors"


def measure_speed(models: Sequence[ov.Model], sample: Sample, seconds: float) -> list[Speed]:
    """The latency (one request) and throughput (all requests) of each model: medians of five alternating rounds.

    The plugin's defaults hold, as in production; batch axes are 1.

    Args:
        models: The models.
        sample: The sample to infer.
        seconds: Time to spend on each model.
    """
    models = [one_sample_at_a_time(model, whole_inputs(model, sample)) for model in models]
    latency = [compile_on_cpu(model, {"PERFORMANCE_HINT": "LATENCY"}) for model in models]
    throughput = [compile_on_cpu(model, {"PERFORMANCE_HINT": "THROUGHPUT"}) for model in models]
    rounds, share = 5, seconds / 10
    times: list[list[float]] = [[] for _ in models]
    rates: list[list[float]] = [[] for _ in models]
    for number in range(rounds + 1):
        for position, (single, several) in enumerate(zip(latency, throughput, strict=True)):
            elapsed, rate = _latency(single, sample, share), _throughput(several, sample, share)
            if number:  # the first round warms up
                times[position].append(elapsed)
                rates[position].append(rate)
    return [
        Speed(1000 * float(np.median(times[position])), float(np.median(rates[position])), *_count_kernels(single))
        for position, single in enumerate(latency)
    ]


def _latency(compiled: ov.CompiledModel, sample: Sample, seconds: float) -> float:
    request, inputs = compiled.create_infer_request(), sample_inputs(compiled.inputs, sample, 0)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        started = time.perf_counter()
        request.infer(inputs)
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def _throughput(compiled: ov.CompiledModel, sample: Sample, seconds: float) -> float:
    queue, inputs = ov.AsyncInferQueue(compiled), sample_inputs(compiled.inputs, sample, 0)
    count, started = 0, time.perf_counter()
    while count < len(queue) or time.perf_counter() - started < seconds:
        queue.start_async(inputs)
        count += 1
    queue.wait_all()
    return count / (time.perf_counter() - started)


def _count_kernels(compiled: ov.CompiledModel) -> tuple[int, int]:
    """The number of executed operations that compute, and of those that run in 8-bit integers."""
    precisions = [
        node.get_rt_info()["runtimePrecision"].astype(str)
        for node in compiled.get_runtime_model().get_ordered_ops()
        if node.get_rt_info()["layerType"].astype(str) not in _NOT_KERNELS
    ]
    return len(precisions), sum(precision in _INTEGER_PRECISIONS for precision in precisions)
