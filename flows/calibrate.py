"""From a float model and samples to the INT8 model: where it is quantized, with which ranges, what makes it better."""

from dataclasses import dataclass, replace
from typing import Any

from prefect.tasks import Task

from flows.gate import Gate
from flows.stages import Stages
from flows.workers import for_worker
from tasks.align_channels import AlignedModel, align_channels
from tasks.collect_quantiles import collect_quantiles, wanted_quantiles
from tasks.collect_statistics import collect_statistics
from tasks.config import QuantizeConfig
from tasks.correct_biases import CorrectedModel, correct_biases
from tasks.correct_sequentially import MOST_PASSES, MOST_SAMPLES, correct_sequentially
from tasks.data.subset import evenly_spread, set_apart
from tasks.estimate_ranges import SaturationFix, estimate_ranges, resolve, smallest_scale
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
    quantiles: tuple[ArraysRef, ...]
    quantized: ModelRef
    corrected: CorrectedModel | None

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

    variants = _alignments(stages, config, model, samples)
    fits = [_fit(stages, config, fix, variant, samples, judges) for variant in variants]
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


def _alignments(
    stages: Stages, config: QuantizeConfig, model: ModelRef, samples: DatasetRef
) -> tuple[AlignedModel, ...]:
    """The model as it is, with aligned channels, or where both are to be tried, both."""
    asked, unaligned = config.quantization.channel_alignment, AlignedModel(model, ())
    if not asked:
        return (unaligned,)
    aligned = stages.run(align_channels, model=model, samples=samples, runtime=config.runtime, size=len(samples))
    return (unaligned, aligned) if asked == "auto" and aligned.operations else (aligned,)


def _fit(
    stages: Stages,
    config: QuantizeConfig,
    fix: SaturationFix,
    aligned: AlignedModel,
    samples: DatasetRef,
    judges: tuple[int, ...],
) -> _Fit:
    """Observe a model and quantize it."""
    options, run = config.quantization, config.runtime
    placement: Placement = stages.run(
        place_quantizers,
        model=aligned.model,
        target_device=options.target_device,
        model_type=options.model_type,
        ignored=options.ignored.to_scope(),
        runtime=run,
    )
    shared = {"model": aligned.model, "execution": options.execution, "runtime": run}
    groups = placement.groups(run.bytes_a_request(options.execution))
    observed = [shared | {"tensors": group, "means": placement.means_of(group)} for group in groups]
    statistics = _collect(stages, collect_statistics, samples, observed)
    wanted = wanted_quantiles(placement.setup, options.scheme)
    quantiles = _collect(stages, collect_quantiles, samples, [shared | {"wanted": wanted}]) if wanted else ((),)
    return _quantize(
        stages, config, fix, _Fit(aligned, placement, statistics, quantiles[0], aligned.model, None), judges
    )


def _quantize(stages: Stages, config: QuantizeConfig, fix: SaturationFix, fit: _Fit, judges: tuple[int, ...]) -> _Fit:
    """The INT8 model of what was observed, whatever INT8 model was made of it before."""
    options, run = config.quantization, config.runtime
    model = fit.aligned.model
    parameters = stages.run(
        estimate_ranges,
        model=model,
        setup=fit.placement.setup,
        statistics=fit.statistics,
        quantiles=fit.quantiles,
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


def _collect(stages: Stages, step: Task[..., Any], samples: DatasetRef, groups: list[dict[str, Any]]) -> Shards:
    """Run a step for each shard of the samples, in order, with the arguments of each group."""
    shards = samples.shards(groups[0]["runtime"].shard_size)
    calls = [group | {"shard": shard} for group in groups for shard in shards]
    distributed = groups[0]["runtime"].distributed
    found = stages.map(
        step,
        [for_worker(call) for call in calls] if distributed else calls,
        [len(call["shard"]) for call in calls],
        submit=distributed,
    )
    return tuple(tuple(found[start : start + len(shards)]) for start in range(0, len(found), len(shards)))
