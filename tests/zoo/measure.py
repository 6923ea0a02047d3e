"""How near a quantized model comes to the float one on validation samples, what runs in int8, and how fast."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.inference import (
    Sample,
    compile_for_samples,
    infer,
    one_sample_at_a_time,
    sample_inputs,
    whole_inputs,
)
from tasks.numerics.metrics import sqnr
from tests.zoo.networks import Network

Values = NDArray[Any]
LAYERS = ("Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNNSeq", "RNNCell", "ScaledDotProductAttention")
MOVES = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose")
QUANTIZERS = ("FakeQuantize", "Convert")
INT8 = ("i8", "u8")
ROUNDS = 5


def outputs_of(model: ov.Model, samples: Sequence[Sample]) -> list[Values]:
    """Each output for all samples, in float32 kernels where it is not quantized."""
    one = one_sample_at_a_time(model, whole_inputs(model, samples[0]))
    rows: dict[int, list[Values]] = {}

    def receive(number: int, outputs: list[Values]) -> None:
        rows[number] = [np.array(values) for values in outputs]

    infer(compile_for_samples(one), samples, receive)
    return [np.stack([rows[number][output] for number in range(len(samples))]) for output in range(len(model.outputs))]


def with_logits(model: ov.Model, samples: Sequence[Sample]) -> tuple[list[Values], list[Values]]:
    """The outputs as they are, and with logits in place of probabilities."""
    plain = outputs_of(model, samples)
    changed = model.clone()
    take_logits(changed)
    return plain, outputs_of(changed, samples)


def take_logits(model: ov.Model) -> None:
    """Replace what a last softmax or sigmoid computes by what it reads, less its mean over classes.

    Operations behind it that only move values stay; quantizers behind it go, as they would cut logits off.
    """
    for result in model.get_results():
        reader, node = result.input(0), result.input_value(0).get_node()
        while (kind := node.get_type_name()) in (*MOVES, *QUANTIZERS):
            reader = node.input(0) if kind in MOVES else reader
            node = node.input_value(0).get_node()
        if kind in ("Softmax", "Sigmoid"):
            logits = node.input_value(0)
            if kind == "Softmax":
                axis = np.array([node.get_attributes()["axis"]])
                logits = ops.subtract(logits, ops.reduce_mean(logits, axis, keep_dims=True)).output(0)
            reader.replace_source_output(logits)
    model.validate_nodes_and_infer_types()


def compare(
    network: Network, reference: tuple[list[Values], list[Values]], model: ov.Model, samples: Any
) -> dict[str, Any]:
    """SQNR in dB of each output, and of each of its parts; ``logits`` where it is a probability; the agreement."""
    plain, logits = with_logits(model, samples)
    sqnr_db: dict[str, float | None] = {}
    for number, (exact, found) in enumerate(zip(reference[0], plain, strict=True)):
        if exact.dtype.kind != "f":
            continue
        name = f"output {number}"
        if not np.array_equal(exact, reference[1][number]):
            sqnr_db[f"{name}, logits"] = _finite(sqnr(reference[1][number], logits[number]))
            name += ", probabilities"
        axis, parts = network.parts.get(number, (0, {}))
        for part, chosen in parts.items():
            index = (slice(None),) * (axis % (exact.ndim - 1) + 2 if axis >= 0 else exact.ndim + axis)
            sqnr_db[f"{name}, {part}"] = _finite(sqnr(exact[(*index, chosen)], found[(*index, chosen)]))
        if not parts:
            sqnr_db[name] = _finite(sqnr(exact, found))
    agreement = None
    if network.classes:
        agreement = float((reference[0][0].argmax(-1) == plain[0].argmax(-1)).mean() * 100)
    return {"sqnr_db": sqnr_db, "agreement": agreement}


def _finite(value: float) -> float | None:
    """The same within -999 to 999 dB; None for NaN. JSON knows neither infinities nor NaN."""
    return None if math.isnan(value) else max(-999.0, min(999.0, value))


def int8_layers(model: ov.Model, sample: Sample) -> tuple[int, int]:
    """How many layers of the compiled model run in int8, and how many there are."""
    compiled = compile_for_samples(one_sample_at_a_time(model, whole_inputs(model, sample)), as_deployed=True)
    info = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    found = [each["runtimePrecision"].astype(str) for each in info if each["layerType"].astype(str) in LAYERS]
    return sum(precision in INT8 for precision in found), len(found)


def speeds(models: Mapping[str, Path], sample: Sample, seconds: float) -> dict[str, float]:
    """Throughput in units of the first model's: the median of rounds in which all run one after the other.

    Args:
        models: The models' files by name.
        sample: What they infer.
        seconds: How long each one runs in a round.
    """
    compiled = {}
    for name, path in models.items():
        model = ov.Core().read_model(path)
        one = one_sample_at_a_time(model, whole_inputs(model, sample))
        compiled[name] = ov.Core().compile_model(one, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT"})
    rates: dict[str, list[float]] = {name: [] for name in compiled}
    for number in range(ROUNDS + 1):
        for name, each in compiled.items():
            rate = _rate(each, sample, seconds)
            if number:  # the first round warms up
                rates[name].append(rate)
    first = next(iter(rates.values()))
    return {name: median(a / b for a, b in zip(each, first, strict=True)) for name, each in rates.items()}


def _rate(compiled: ov.CompiledModel, sample: Sample, seconds: float) -> float:
    queue, inputs = ov.AsyncInferQueue(compiled), sample_inputs(compiled.inputs, sample, 0)
    count, started = 0, time.perf_counter()
    while count < 2 * len(queue) or time.perf_counter() - started < seconds:
        queue.start_async(inputs)
        count += 1
    queue.wait_all()
    return count / (time.perf_counter() - started)
