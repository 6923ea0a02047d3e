"""From a float model and samples to the INT8 model: recipes are tried, the best fit is accepted and refined."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flows.calibration.acceptance import Acceptance
from flows.calibration.execution import execution_notes
from flows.calibration.fit import Fit, Observed, fit, fit_ranges, leave_float, quantize
from flows.calibration.recipes import ModelType, Recipe, default_recipe, find_recipes, traits_of
from flows.calibration.steps import CalibrationSteps
from flows.calibration.tuning import tune
from flows.running.step_runner import StepRunner
from tasks.config.schema import QuantizeConfig
from tasks.data.subset import holdout_indices
from tasks.errors import InputError, shortened
from tasks.records import DatasetRef, Decision, ModelRef
from tasks.steps.correct_biases import CorrectedModel
from tasks.steps.estimate_ranges import SaturationFix, resolve
from tasks.steps.find_float_layers import FloatChoice
from tasks.steps.tune_layers import TunedLayer

# An output SQNR below so many dB is worth a warning: three percent of the energy are noise.
POOR = 15.0
# Recurrent layers run in int8 unless float is better by so many dB: twice the noise.
RECURRENT_GAIN = 3.0
ROUNDED_STATE = "OpenVINO's int8 kernels round the state of recurrent layers, which costs the output too much"
# Units that a note names.
_NAMED = 3


@dataclass(frozen=True)
class Calibrated:
    """The INT8 model, what it was made of, and what was decided and is worth knowing about the way to it.

    ``path`` holds the INT8 models on the way by the step that made them, the finished one last.
    """

    model: ModelRef
    observed: Observed
    path: dict[str, ModelRef]
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...] = ()
    tuned: tuple[TunedLayer, ...] = ()


def calibrate(runner: StepRunner, config: QuantizeConfig, model: ModelRef, samples: DatasetRef) -> Calibrated:
    """Make the INT8 model. What makes it worse on samples that nothing is fitted to is not accepted."""
    options = config.quantization
    samples = replace(samples, labels=None)  # which no statistic depends on
    holdout = holdout_indices(len(samples), options.gate_samples)
    steps = CalibrationSteps(runner, config, samples, holdout)
    acceptance = Acceptance(runner, model, samples.take(holdout), config.runtime)
    fix = resolve(options.saturation_fix, options.weights.steps)

    model_type, notes = _find_model_type(steps, acceptance, model, fix)
    fits = [fit(steps, model, recipe) for recipe in _recipes(steps, model, model_type, fix)]
    best = best_fit(acceptance, fits)
    if options.scheme.tries_ranges:
        best, told = _with_clipping_weight(steps, acceptance, best)
        notes += told
    best, told = _with_float_recurrence(steps, acceptance, best)
    notes += told
    if options.float_layers == "auto":
        best, told = _with_float_layers(steps, acceptance, best)
        notes += told
    if options.scheme.tries_ranges:
        best = _with_chosen_ranges(steps, acceptance, best)
    if options.alternatives == "auto":
        best, told = _or_alternatives(steps, acceptance, model, best)
        notes += told
    if fix != options.saturation_fix:
        notes += (_tell_saturation_fix(steps, acceptance, best),)

    notes += execution_notes(best)

    refined, tuned = refine(steps, acceptance, best)
    notes += _tell_poor(steps, acceptance, best, refined)
    path = {"insert_fake_quantize": best.quantized} | acceptance.path(best.quantized)
    return Calibrated(refined, best.observed, path, acceptance.decisions, notes + acceptance.notes, tuned)


def best_fit(acceptance: Acceptance, fits: Sequence[Fit]) -> Fit:
    """The fit that is accepted in the end; each is held against the best one before it."""
    best, *others = fits
    compared = {best.result}
    for other in others:
        # A recipe whose steps found nothing to change comes to a model that was judged already.
        if other.result not in compared and acceptance.judge(other.recipe.name, best.result, other.result).kept:
            best = other
        compared.add(other.result)
    return best


def refine(steps: CalibrationSteps, acceptance: Acceptance, best: Fit) -> tuple[ModelRef, tuple[TunedLayer, ...]]:
    """The INT8 model with biases corrected and layers tuned, each as far as accepted, and what became of each layer."""
    options, tuned = steps.config.quantization, tuple[TunedLayer, ...]()
    model = correct(steps, acceptance, best, best.corrected) if best.corrected else best.quantized
    if options.use_layerwise_tuning:
        model, tuned = tune(steps, acceptance, best.observed.model, model)
    if best.corrected and not options.use_fast_bias:
        again = steps.correct_sequentially(best.observed.model, model)
        if acceptance.judge("correct_sequentially", model, again.model, again.skipped).kept:
            model = again.model
    return model, tuned


def correct(steps: CalibrationSteps, acceptance: Acceptance, best: Fit, corrected: CorrectedModel) -> ModelRef:
    """The INT8 model with biases corrected: of all layers, or of those parts of the model where that is accepted.

    What all samples lose alike in front of a layer follows from the float model, in which nothing else is lost. In the
    quantized one the errors of the layers before move values across the borders of levels, so it is judged apart.
    """
    observed, model, layers = best.observed, best.quantized, corrected.corrected
    if acceptance.judge("correct_biases", model, corrected.model, corrected.skipped).kept:
        model = corrected.model
    else:
        layers = ()
        for name, part in zip(("first", "second"), halves(corrected.corrected), strict=False):
            other = steps.correct_biases(observed.model, best.quantized, observed.statistics, layers=layers + part)
            if acceptance.judge(f"correct_biases of the {name} half", model, other.model).kept:
                model, layers = other.model, layers + part
    if corrected.pooled:
        other = steps.correct_biases(
            observed.model,
            best.quantized,
            observed.statistics,
            layers=tuple(dict.fromkeys(layers + corrected.pooled)),
            pooled=corrected.pooled,
        )
        if acceptance.judge("correct_biases behind pooling", model, other.model).kept:
            model = other.model
    return model


def halves(layers: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Both halves of the layers, in their order; nothing of a single one."""
    middle = len(layers) // 2
    return (layers[:middle], layers[middle:]) if middle else ()


def _recipes(steps: CalibrationSteps, model: ModelRef, model_type: ModelType, fix: SaturationFix) -> tuple[Recipe, ...]:
    options = steps.config.quantization
    traits = traits_of(steps.place_quantizers(model, model_type), options.scheme)
    return find_recipes(options, traits, model_type, fix)


def _find_model_type(
    steps: CalibrationSteps, acceptance: Acceptance, model: ModelRef, fix: SaturationFix
) -> tuple[ModelType, tuple[str, ...]]:
    """The model type that the options name; for ``auto`` the one that is accepted, and why it was not tried."""
    asked = steps.config.quantization.model_type
    if asked != "auto":
        return asked, ()
    plain, *_ = _recipes(steps, model, None, fix)
    try:
        transformer, *_ = _recipes(steps, model, "transformer", fix)
    except InputError as refusal:
        return None, (f"model_type: auto is null: {refusal}",)
    usual, tried = (steps.place_quantizers(model, each.model_type) for each in (plain, transformer))
    if tried.setup == usual.setup:
        return None, ("model_type: auto is null: transformer would leave nothing else float",)
    try:
        before = fit(steps, model, plain).result
    except InputError as refusal:
        return "transformer", (f"model_type: auto is transformer: {str(refusal).partition(';')[0]}",)
    after = fit(steps, model, transformer).result
    kept = acceptance.judge("model_type=transformer", before, after).kept
    return "transformer" if kept else None, ()


def _with_clipping_weight(steps: CalibrationSteps, acceptance: Acceptance, best: Fit) -> tuple[Fit, tuple[str, ...]]:
    """The same with the clipping weight that suits the activations, where that is better, and what to tell of it."""
    observed = best.observed
    found = steps.choose_clipping_weight(observed.model, observed.placement, observed.statistics)
    if not found.sqnr_db:
        return best, ("ranges: nothing told what values cut off cost the output, so they count like rounded ones",)
    note = f"ranges: tried alone, activations lose least where values cut off count {found.factor:g} times"
    if found.factor == 1:
        return best, (note,)
    recipe = replace(best.recipe, name=f"clipping weight {found.factor:g}", clipping_weight=found.factor)
    return best_fit(acceptance, (best, fit_ranges(steps, observed, recipe))), (note,)


def _or_alternatives(
    steps: CalibrationSteps, acceptance: Acceptance, model: ModelRef, best: Fit
) -> tuple[Fit, tuple[str, ...]]:
    """The best fit, or the same with the extremes of all samples, or that of the default's recipe.

    So no choice by trial ends below what needs none.
    """
    options = steps.config.quantization
    wide = replace(best.recipe, name="ranges of all extremes", scheme=best.recipe.scheme.with_extremes())
    best = best_fit(acceptance, (best, fit_ranges(steps, best.observed, wide)))
    try:
        traits = traits_of(steps.place_quantizers(model, None), options.scheme)
        plain = fit(steps, model, default_recipe(options, traits, best.recipe.saturation_fix))
    except InputError as refusal:
        return best, (f"the recipe of the default was not tried: {str(refusal).partition(';')[0]}",)
    return best_fit(acceptance, (best, plain)), ()


def _with_chosen_ranges(steps: CalibrationSteps, acceptance: Acceptance, best: Fit) -> Fit:
    """The same with the extremes of all samples where that is better for the model's output, tensor by tensor."""
    observed = best.observed
    wide = replace(best.recipe, scheme=best.recipe.scheme.with_extremes())
    extremes = steps.estimate_ranges(observed.aligned, observed.placement, observed.statistics, wide)
    chosen = steps.choose_ranges(observed.model, best.result, observed.placement, best.ranges, extremes)
    if not chosen.changed:
        return best
    other = quantize(steps, observed, best.recipe, chosen.parameters)
    return other if acceptance.judge("choose_ranges", best.result, other.result).kept else best


def _with_float_recurrence(steps: CalibrationSteps, acceptance: Acceptance, best: Fit) -> tuple[Fit, tuple[str, ...]]:
    """The fit with its recurrent layers float where int8 costs more than half of the accuracy, and what to tell of it.

    OpenVINO's int8 kernels round their state, step after step, which no FakeQuantize shows. They gain little time.
    """
    layers = best.observed.placement.recurrent
    if not layers:
        return best, ()
    try:
        fewer = leave_float(steps, best.observed, best.recipe, tuple((name, ROUNDED_STATE) for name in layers))
    except InputError as refusal:
        return best, (f"recurrent layers were not tried in float: {refusal}",)
    other = fit_ranges(steps, fewer, best.recipe)
    before, after = acceptance.scores(best.result, other.result)
    if before is None or after is None or after < before + RECURRENT_GAIN:
        return best, ()
    kept = acceptance.judge("recurrent layers in float", best.result, other.result).kept
    return (other if kept else best), ()


def _with_float_layers(steps: CalibrationSteps, acceptance: Acceptance, best: Fit) -> tuple[Fit, tuple[str, ...]]:
    """The fit with those layers left float that cost the output much and take little time, and what to tell of it."""
    observed = best.observed
    choice = steps.find_float_layers(observed.model, observed.placement, best.ranges)
    if not choice.units:
        return best, ()
    reason = "quantized it costs the output more than it saves time"
    try:
        fewer = leave_float(steps, observed, best.recipe, tuple((name, reason) for name in choice.names))
    except InputError as refusal:
        return best, (f"float_layers: nothing would stay quantized: {refusal}",)
    other = fit_ranges(steps, fewer, best.recipe)
    note = f"float_layers: {_expected(choice)}"
    kept = acceptance.judge("float_layers", best.result, other.result).kept
    return (other if kept else best), (note,)


def _expected(choice: FloatChoice) -> str:
    listed = ", ".join(f"{unit.kind} '{shortened(unit.names[0])}'" for unit in choice.units[:_NAMED])
    more = f" and {len(choice.units) - _NAMED} more" if len(choice.units) > _NAMED else ""
    return f"{listed}{more}: left float, {choice.gain:.1f} dB more and {100 * choice.cost:.1f} % of time are expected"


def _tell_poor(steps: CalibrationSteps, acceptance: Acceptance, best: Fit, refined: ModelRef) -> tuple[str, ...]:
    """Of a model that answers poorly, the layers that cost it most, and what to set."""
    sqnr_db, *_ = acceptance.scores(refined)
    if sqnr_db is None or sqnr_db >= POOR or steps.config.quantization.float_layers == "auto":
        return ()
    choice = steps.find_float_layers(best.observed.model, best.observed.placement, best.ranges)
    note = f"the INT8 model answers poorly: output SQNR is {sqnr_db:.1f} dB on samples set apart"
    if choice.units:
        note += f"; quantization.float_layers=auto leaves float what costs most, {_expected(choice)}"
    return (f"{note}; quantization=auto tries all that may help",)


def _tell_saturation_fix(steps: CalibrationSteps, acceptance: Acceptance, best: Fit) -> str:
    """What ``saturation_fix: auto`` came to, and what it costs where it is paid: the same recipe is fitted without."""
    fix = best.recipe.saturation_fix
    if fix == SaturationFix.NO:
        return "saturation_fix: auto is no: sums of products with these weights do not saturate on this CPU"
    # Both with the ranges that the recipe takes from statistics, as trials chose among those with the fix.
    recipes = best.recipe, replace(best.recipe, saturation_fix=SaturationFix.NO)
    paid, free = acceptance.scores(*(fit_ranges(steps, best.observed, recipe).result for recipe in recipes))
    cost = "" if paid is None or free is None else f", which costs {free - paid:.2f} dB of output SQNR"
    return f"saturation_fix: auto is {fix}: this CPU is not known to sum 8-bit products in 32 bits{cost}"
