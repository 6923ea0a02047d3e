"""From a float model and samples to the INT8 model: where it is quantized, with which ranges, what makes it better."""

from dataclasses import dataclass, replace

from flows.gate import Gate
from flows.stages import Stages
from flows.workers import for_worker
from tasks.align_channels import AlignedModel, align_channels
from tasks.collect_statistics import Observation, collect_statistics
from tasks.config import QuantizeConfig
from tasks.correct_biases import CorrectedModel, correct_biases
from tasks.correct_sequentially import MOST_PASSES, MOST_SAMPLES, correct_sequentially
from tasks.data.subset import evenly_spread, set_apart
from tasks.estimate_ranges import (
    SaturationFix,
    estimate_ranges,
    resolve,
    smallest_scale,
    wanted_quantiles,
    wants_values,
)
from tasks.insert_fake_quantize import insert_fake_quantize
from tasks.place_quantizers import Placement, place_quantizers
from tasks.records import ArraysRef, DatasetRef, Decision, ModelRef

Shards = tuple[tuple[ArraysRef, ...], ...]


@dataclass(frozen=True)
class Calibrated:
    """The INT8 model, where it is quantized, and what was decided and is worth knowing about the way to it."""

    model: ModelRef
    placement: Placement
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Fit:
    """A float model, what was observed of it, and the INT8 model made of it, before and after bias correction."""

    aligned: AlignedModel
    placement: Placement
    statistics: Shards
    quantized: ModelRef
    corrected: CorrectedModel | None = None

    @property
    def best(self) -> ModelRef:
        return self.corrected.model if self.corrected else self.quantized


def calibrate(stages: Stages, config: QuantizeConfig, model: ModelRef, samples: DatasetRef) -> Calibrated:
    """Make the INT8 model. A gate drops what makes it worse on samples that nothing is fitted to."""
    options, run = config.quantization, config.runtime
    samples = replace(samples, labels=None)  # which no statistic depends on
    judges = set_apart(len(samples), options.gate_samples)
    gate = Gate(stages, model, samples.take(judges), run)
    fix = resolve(options.saturation_fix)

    fits = [_quantize(stages, config, fix, fit, judges) for fit in _observe(stages, config, model, samples)]
    fit = fits[0]
    if len(fits) > 1 and gate.choose("align_channels", fits[0].best, fits[1].best) == fits[1].best:
        fit = fits[1]
    notes = () if fix == options.saturation_fix else (_saturation_note(stages, config, gate, fit, fix, judges),)

    quantized = fit.quantized
    if fit.corrected:
        quantized = gate.choose("correct_biases", quantized, fit.corrected.model, fit.corrected.skipped)
        if not options.use_fast_bias:
            others = [place for place in range(len(samples)) if place not in judges]
            quantized = _correct_sequentially(stages, config, gate, fit.aligned.model, quantized, samples.take(others))
    return Calibrated(quantized, fit.placement, gate.decisions, notes)


def _observe(stages: Stages, config: QuantizeConfig, model: ModelRef, samples: DatasetRef) -> tuple[_Fit, ...]:
    """The model as it is, with aligned channels, or where both are to be tried, both, and what was observed of each."""
    options, run = config.quantization, config.runtime
    asked = options.channel_alignment
    placement = _place(stages, config, model)
    quantiles = wanted_quantiles(placement.setup, options.scheme)
    values = wants_values(options.scheme)
    observations = placement.observations(quantiles, values=values, aligned=asked is not False)
    statistics = _collect(stages, config, model, placement, observations, samples)
    unaligned = _Fit(AlignedModel(model), placement, statistics, model)
    if asked is False or not placement.alignable:
        return (unaligned,)
    aligned: AlignedModel = stages.run(align_channels, model=model, statistics=statistics, runtime=run)
    placement = _place(stages, config, aligned.model)
    if aligned.statistics:
        statistics += ((aligned.statistics,),)
    changed = tuple(
        each
        for each in placement.observations(wanted_quantiles(placement.setup, options.scheme))
        if each.quantiles and each.tensor in aligned.tensors
    )
    if changed:
        # Quantiles of a whole tensor do not follow from those of its channels.
        statistics += _collect(stages, config, aligned.model, placement, changed, samples)
    fit = _Fit(aligned, placement, statistics, aligned.model)
    return (unaligned, fit) if asked == "auto" else (fit,)


def _place(stages: Stages, config: QuantizeConfig, model: ModelRef) -> Placement:
    options = config.quantization
    placement: Placement = stages.run(
        place_quantizers,
        model=model,
        target_device=options.target_device,
        model_type=options.model_type,
        ignored=options.ignored.to_scope(),
        runtime=config.runtime,
    )
    return placement


def _quantize(stages: Stages, config: QuantizeConfig, fix: SaturationFix, fit: _Fit, judges: tuple[int, ...]) -> _Fit:
    """The INT8 model of what was observed, whatever INT8 model was made of it before."""
    options, run = config.quantization, config.runtime
    model = fit.aligned.model
    parameters = stages.run(
        estimate_ranges,
        model=model,
        setup=fit.placement.setup,
        statistics=fit.statistics,
        scheme=options.scheme,
        saturation_fix=fix,
        least_scale=smallest_scale(options.saturation_fix, options.target_device),
        target_device=options.target_device,
        aligned=fit.aligned.operations,
        runtime=run,
    )
    quantized = stages.run(
        insert_fake_quantize, model=model, setup=fit.placement.setup, parameters=parameters, runtime=run
    )
    if not options.bias_correction:
        return replace(fit, quantized=quantized)
    corrected = stages.run(
        correct_biases,
        model=model,
        quantized=quantized,
        statistics=fit.statistics,
        left_out=judges,
        threshold=options.threshold,
        runtime=run,
    )
    return replace(fit, quantized=quantized, corrected=corrected)


def _saturation_note(
    stages: Stages, config: QuantizeConfig, gate: Gate, fit: _Fit, fix: SaturationFix, judges: tuple[int, ...]
) -> str:
    """What ``saturation_fix: auto`` came to, and what it costs where it is paid."""
    if fix == SaturationFix.NO:
        return "saturation_fix: auto is no: sums of 8-bit products do not saturate on this CPU"
    without = _quantize(stages, config, SaturationFix.NO, fit, judges)
    paid, free = gate.score(fit.best), gate.score(without.best)
    cost = "" if paid is None or free is None else f", which costs {free - paid:.2f} dB of output SQNR"
    return f"saturation_fix: auto is {fix}: this CPU is not known to sum 8-bit products in 32 bits{cost}"


def _correct_sequentially(
    stages: Stages, config: QuantizeConfig, gate: Gate, model: ModelRef, quantized: ModelRef, samples: DatasetRef
) -> ModelRef:
    """The quantized model with biases corrected by inference of some of the samples, if that is better."""
    options = config.quantization
    chosen = samples.take(evenly_spread(len(samples), MOST_SAMPLES))
    corrected = stages.run(
        correct_sequentially,
        model=model,
        quantized=quantized,
        samples=chosen,
        threshold=options.threshold,
        every_layer=options.apply_for_all_nodes,
        runtime=config.runtime,
        size=len(chosen) * MOST_PASSES,
    )
    return gate.choose("correct_sequentially", quantized, corrected.model, corrected.skipped)


def _collect(
    stages: Stages,
    config: QuantizeConfig,
    model: ModelRef,
    placement: Placement,
    observations: tuple[Observation, ...],
    samples: DatasetRef,
) -> Shards:
    """Observe the samples shard by shard, in one pass or, under a limit of memory, in several."""
    run, execution = config.runtime, config.quantization.execution
    groups = placement.groups(observations, run.bytes_a_request(execution))
    shards = samples.shards(run.shard_size)
    calls = [
        {"model": model, "observations": group, "shard": shard, "execution": execution, "runtime": run}
        for group in groups
        for shard in shards
    ]
    found = stages.map(
        collect_statistics,
        [for_worker(call) for call in calls] if run.distributed else calls,
        [len(shard) for _ in groups for shard in shards],
        submit=run.distributed,
    )
    return tuple(tuple(found[start : start + len(shards)]) for start in range(0, len(found), len(shards)))
