"""From a float model and samples to the INT8 model: where it is quantized, with which ranges, what makes it better."""

from dataclasses import dataclass, replace
from typing import Literal

from flows.gate import Gate
from flows.stages import Stages
from flows.tuning import tune
from flows.variants import Variant, find_variants
from tasks.choose_caution import MOST_SAMPLES as MOST_CAUTION_SAMPLES
from tasks.choose_caution import Caution, choose_caution
from tasks.choose_ranges import MOST_SAMPLES as MOST_TRIAL_SAMPLES
from tasks.choose_ranges import ChosenRanges, choose_ranges
from tasks.config import QuantizeConfig
from tasks.correct_biases import CorrectedModel, correct_biases
from tasks.correct_sequentially import MOST_PASSES, MOST_SAMPLES, correct_sequentially
from tasks.data.subset import evenly_spread, set_apart
from tasks.errors import InputError
from tasks.estimate_ranges import SaturationFix, Scheme, estimate_ranges, resolve, smallest_scale
from tasks.insert_fake_quantize import insert_fake_quantize
from tasks.records import ArraysRef, DatasetRef, Decision, ModelRef
from tasks.tune_layers import TunedLayer


@dataclass(frozen=True)
class Calibrated:
    """The INT8 model, what it was made of, and what was decided and is worth knowing about the way to it.

    ``path`` holds the INT8 models on the way by the step that made them, the finished one last.
    """

    model: ModelRef
    made_of: Variant
    path: dict[str, ModelRef]
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...] = ()
    tuned: tuple[TunedLayer, ...] = ()


@dataclass(frozen=True)
class _Fit:
    """An INT8 model of a variant with some ranges, before and after bias correction."""

    variant: Variant
    parameters: ArraysRef
    quantized: ModelRef
    corrected: CorrectedModel | None

    @property
    def best(self) -> ModelRef:
        return self.corrected.model if self.corrected else self.quantized


@dataclass(frozen=True)
class _Calibration:
    """What all parts of a calibration share; ``judges`` are the places of the samples that nothing is fitted to."""

    stages: Stages
    config: QuantizeConfig
    samples: DatasetRef
    judges: tuple[int, ...]
    gate: Gate
    fix: SaturationFix
    caution: float = 1.0

    @property
    def fitted(self) -> tuple[int, ...]:
        """The places of the samples that are no judges."""
        return tuple(place for place in range(len(self.samples)) if place not in self.judges)

    def some(self, most: int) -> tuple[int, ...]:
        """The places of so many samples that are no judges, evenly spread."""
        return tuple(self.fitted[place] for place in evenly_spread(len(self.fitted), most))

    def others(self, most: int) -> DatasetRef:
        """So many samples that are no judges, evenly spread."""
        return self.samples.take(self.some(most))


def calibrate(stages: Stages, config: QuantizeConfig, model: ModelRef, samples: DatasetRef) -> Calibrated:
    """Make the INT8 model. A gate drops what makes it worse on samples that nothing is fitted to."""
    options = config.quantization
    samples = replace(samples, labels=None)  # which no statistic depends on
    judges = set_apart(len(samples), options.gate_samples)
    gate = Gate(stages, model, samples.take(judges), config.runtime)
    fix = resolve(options.saturation_fix, options.weights.steps)
    this = _Calibration(stages, config, samples, judges, gate, fix)

    notes: tuple[str, ...] = ()
    if options.model_type == "auto":
        this, notes = _with_model_type(this, model)
    variants = tuple(find_variants(stages, this.config, model, samples))
    if options.scheme.tries_ranges:
        this, found = _with_caution(this, variants[0])
        notes += found
    fits = [_fit(this, variant) for variant in variants]
    fit = fits[0]
    for other in fits[1:]:
        if gate.choose(other.variant.step, fit.best, other.best) == other.best:
            fit = other
    if options.scheme.tries_ranges:
        fit = _with_chosen_ranges(this, fit)
    if fix != options.saturation_fix:
        notes += (_saturation_note(this, fit),)

    quantized = fit.quantized
    if fit.corrected:
        quantized = gate.choose("correct_biases", quantized, fit.corrected.model, fit.corrected.skipped)
    tuned: tuple[TunedLayer, ...] = ()
    if options.use_layerwise_tuning:
        quantized, tuned = tune(stages, config, gate, fit.variant.model, quantized, this.others(len(samples)))
    if fit.corrected and not options.use_fast_bias:
        quantized = _correct_sequentially(this, fit.variant.model, quantized)
    path = {"insert_fake_quantize": fit.quantized} | gate.path(fit.quantized)
    return Calibrated(quantized, fit.variant, path, gate.decisions, notes + gate.notes, tuned)


def _with_model_type(this: _Calibration, model: ModelRef) -> tuple[_Calibration, tuple[str, ...]]:
    """The same with the model type that suits the model: transformer is tried where it leaves something else float."""
    plain, transformer = (_as_type(this, each) for each in (None, "transformer"))
    usual = next(find_variants(this.stages, plain.config, model, this.samples))
    try:
        tried = next(find_variants(this.stages, transformer.config, model, this.samples))
    except InputError as refusal:
        return plain, (f"model_type: auto is null: {refusal}",)
    if tried.placement.setup == usual.placement.setup:
        return plain, ("model_type: auto is null: transformer would leave nothing else float",)
    try:
        before = _fit(plain, usual).best
    except InputError as refusal:
        return transformer, (f"model_type: auto is transformer: {str(refusal).partition(';')[0]}",)
    after = _fit(transformer, tried).best
    return (transformer if this.gate.choose("model_type=transformer", before, after) == after else plain), ()


def _as_type(this: _Calibration, model_type: Literal["transformer"] | None) -> _Calibration:
    options = replace(this.config.quantization, model_type=model_type)
    return replace(this, config=replace(this.config, quantization=options))


def _with_caution(this: _Calibration, variant: Variant) -> tuple[_Calibration, tuple[str, ...]]:
    """The same with the caution of ranges that suits the model, and what to tell of it."""
    tried = this.some(MOST_CAUTION_SAMPLES)
    found: Caution = this.stages.run(
        choose_caution,
        model=variant.model,
        setup=variant.placement.setup,
        statistics=variant.statistics,
        scheme=this.config.quantization.scheme,
        places=this.fitted,
        tried=tried,
        samples=this.samples.take(tried),
        runtime=this.config.runtime,
        size=len(tried),
    )
    if not found.sqnr_db:
        return this, ("ranges: nothing told what values cut off cost the output, so they count like rounded ones",)
    note = f"ranges: values cut off count {found.factor:g} times as much as rounded ones"
    gain = max(found.sqnr_db) - found.sqnr_db[0]
    if found.factor != 1:
        note += f": {gain:.2f} dB better on samples that set no range"
    return replace(this, caution=found.factor), (note,)


def _fit(this: _Calibration, variant: Variant) -> _Fit:
    return _quantize(this, variant, _estimate(this, variant, this.config.quantization.scheme))


def _estimate(this: _Calibration, variant: Variant, scheme: Scheme) -> ArraysRef:
    options = this.config.quantization
    parameters: ArraysRef = this.stages.run(
        estimate_ranges,
        model=variant.model,
        setup=variant.placement.setup,
        statistics=variant.statistics,
        scheme=scheme,
        saturation_fix=this.fix,
        least_scale=smallest_scale(options.saturation_fix, options.target_device),
        target_device=options.target_device,
        aligned=variant.aligned.operations,
        caution=this.caution,
        runtime=this.config.runtime,
    )
    return parameters


def _quantize(this: _Calibration, variant: Variant, parameters: ArraysRef) -> _Fit:
    """The INT8 model with these limits, and with its biases corrected unless they are to stay."""
    options, run = this.config.quantization, this.config.runtime
    setup = variant.placement.setup
    quantized = this.stages.run(
        insert_fake_quantize, model=variant.model, setup=setup, parameters=parameters, runtime=run
    )
    if not options.bias_correction:
        return _Fit(variant, parameters, quantized, None)
    corrected = this.stages.run(
        correct_biases,
        model=variant.model,
        quantized=quantized,
        statistics=variant.statistics,
        left_out=this.judges,
        threshold=options.threshold,
        runtime=run,
    )
    return _Fit(variant, parameters, quantized, corrected)


def _with_chosen_ranges(this: _Calibration, fit: _Fit) -> _Fit:
    """The same with the extremes of all samples where that is better for the model's output, tensor by tensor."""
    samples, variant = this.others(MOST_TRIAL_SAMPLES), fit.variant
    chosen: ChosenRanges = this.stages.run(
        choose_ranges,
        model=variant.model,
        quantized=fit.best,
        setup=variant.placement.setup,
        parameters=fit.parameters,
        others=_estimate(this, variant, this.config.quantization.scheme.with_extremes()),
        samples=samples,
        runtime=this.config.runtime,
        size=len(samples) * (2 + len(variant.placement.tensors)),
    )
    if not chosen.changed:
        return fit
    other = _quantize(this, variant, chosen.parameters)
    return other if this.gate.choose("choose_ranges", fit.best, other.best) == other.best else fit


def _saturation_note(this: _Calibration, fit: _Fit) -> str:
    """What ``saturation_fix: auto`` came to, and what it costs where it is paid."""
    if this.fix == SaturationFix.NO:
        return "saturation_fix: auto is no: sums of products with these weights do not saturate on this CPU"
    without = _fit(replace(this, fix=SaturationFix.NO), fit.variant)
    paid, free = this.gate.scores(fit.best, without.best)
    cost = "" if paid is None or free is None else f", which costs {free - paid:.2f} dB of output SQNR"
    return f"saturation_fix: auto is {this.fix}: this CPU is not known to sum 8-bit products in 32 bits{cost}"


def _correct_sequentially(this: _Calibration, model: ModelRef, quantized: ModelRef) -> ModelRef:
    """The quantized model with biases corrected by inference of some of the samples, if that is better."""
    options = this.config.quantization
    chosen = this.others(MOST_SAMPLES)
    corrected = this.stages.run(
        correct_sequentially,
        model=model,
        quantized=quantized,
        samples=chosen,
        threshold=options.threshold,
        every_layer=options.apply_for_all_nodes,
        runtime=this.config.runtime,
        size=len(chosen) * MOST_PASSES,
    )
    return this.gate.choose("correct_sequentially", quantized, corrected.model, corrected.skipped)
