"""The ways to quantize that are compared. Each takes a loaded model and samples in memory and leaves both alone."""

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openvino as ov

from tasks.algorithms.bias_correction import correct_biases
from tasks.algorithms.calibration import ObservedModel, collect_statistics, compile_observed
from tasks.algorithms.inference import compile_for_samples, infer, one_sample_at_a_time
from tasks.algorithms.ranges import estimate_parameters, wanted_quantiles
from tasks.algorithms.sequential_correction import correct_sequentially
from tasks.engine.artifact_store import Store
from tasks.engine.partial_statistics import open_statistics
from tasks.graph.edits import insert_quantizers
from tasks.graph.layers import find_layers
from tasks.graph.operations import read_operations
from tasks.graph.placement import observed_tensors, place_quantizers
from tasks.graph.presets import Preset, Scheme, TensorOptions
from tasks.graph.saturation import SaturationFix, halved_operations
from tasks.numerics.estimators import EstimatorPreset, RangeEstimator
from tasks.numerics.statistics import Observation, Statistics, to_arrays
from tasks.records import Runtime
from tasks.steps.correct_sequentially import MOST_SAMPLES
from tests.benchmarks.cases import Sample


@dataclass
class Stopwatch:
    """Seconds of every part of a run, in order; a part that comes again adds up."""

    parts: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.perf_counter)

    def lap(self, part: str) -> None:
        now = time.perf_counter()
        self.parts[part] = self.parts.get(part, 0.0) + now - self.last
        self.last = now


@dataclass(frozen=True)
class Task:
    """What a way is asked to do."""

    model: ov.Model
    samples: list[Sample]
    model_type: str | None = None


Way = Callable[[Task, Stopwatch], None]
DEFAULTS = Scheme(Preset.PERFORMANCE)
QUANTILE = TensorOptions(range_estimator=RangeEstimator(EstimatorPreset.QUANTILE))
QUANTILES = Scheme(Preset.PERFORMANCE, QUANTILE, QUANTILE)


def plain(task: Task, watch: Stopwatch) -> None:
    """The float model over all samples; compiling it does not count."""
    compiled = compile_for_samples(one_sample_at_a_time(task.model))
    watch.lap("compile (not counted)")
    infer(compiled, task.samples, lambda _number, _outputs: None)
    watch.lap("inference")


def ours(task: Task, watch: Stopwatch) -> None:
    quantize(task, DEFAULTS, watch)


def ours_quantiles(task: Task, watch: Stopwatch) -> None:
    quantize(task, QUANTILES, watch)


def ours_sequential(task: Task, watch: Stopwatch) -> None:
    quantize(task, DEFAULTS, watch, sequential=True)


def quantize(task: Task, scheme: Scheme, watch: Stopwatch, *, sequential: bool = False) -> ov.Model:
    """From the float model to the INT8 model: what the steps of the flow do, without a store between them."""
    quantized = task.model.clone()
    setup = place_quantizers(quantized, model_type=task.model_type)
    tensors = observed_tensors(quantized, setup)
    watch.lap("placement")
    means = sorted({layer.mean for layer in find_layers(read_operations(quantized))})
    wanted = wanted_quantiles(setup, scheme)
    observations = tuple(
        Observation(
            tensor,
            means=tuple(mean.axis for mean in means if mean.tensor == tensor),
            quantiles=wanted.get(tensor, ()),
        )
        for tensor in tensors
    )
    observed = compile_observed(quantized, observations)
    watch.lap("compile")
    with TemporaryDirectory() as folder:
        statistics = _collect(observed, task.samples, Store(Path(folder)))
        watch.lap("inference")
        halved = halved_operations(quantized, SaturationFix.FIRST_LAYER, "ANY")
        parameters = estimate_parameters(quantized, setup, statistics, scheme, halved)
        watch.lap("ranges")
        insert_quantizers(quantized, setup.points, parameters)
        watch.lap("insertion")
        if sequential:
            correct_sequentially(task.model, quantized, task.samples[:MOST_SAMPLES])
        else:
            correct_biases(task.model, quantized, statistics)
        watch.lap("biases")
    return quantized


def _collect(observed: ObservedModel, samples: list[Sample], store: Store) -> Statistics:
    """Shard by shard, as the flow does: memory holds the rows of one."""
    shards = []
    for start in range(0, len(samples), Runtime.shard_size):
        shard = samples[start : start + Runtime.shard_size]
        shards.append(store.put_arrays(to_arrays(collect_statistics(observed, shard, len(shard), lambda: None))))
    return open_statistics(store, [shards])


def load_nncf() -> Any:
    """The module, or None where it is not installed."""
    os.environ.setdefault("NNCF_CI", "1")  # no telemetry
    try:
        nncf = importlib.import_module("nncf")
    except ModuleNotFoundError:
        return None
    nncf.set_log_level(40)
    return nncf


def nncf_default(task: Task, watch: Stopwatch) -> None:
    _nncf(task, watch, fast_bias_correction=True)


def nncf_accurate(task: Task, watch: Stopwatch) -> None:
    _nncf(task, watch, fast_bias_correction=False)


def _nncf(task: Task, watch: Stopwatch, *, fast_bias_correction: bool) -> None:
    nncf = load_nncf()
    nncf.quantize(
        task.model,
        nncf.Dataset(task.samples),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        subset_size=len(task.samples),
        fast_bias_correction=fast_bias_correction,
        model_type=nncf.ModelType.TRANSFORMER if task.model_type == "transformer" else None,
    )
    watch.lap("all")


WAYS: dict[str, Way] = {
    "plain": plain,
    "ours": ours,
    "quantiles": ours_quantiles,
    "sequential": ours_sequential,
    "nncf": nncf_default,
    "nncf_accurate": nncf_accurate,
}
NNCF_WAYS = ("nncf", "nncf_accurate")
