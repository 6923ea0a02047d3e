"""The straight line from a float model to an INT8 model, as one recipe has it."""

from dataclasses import dataclass, field

from flows.calibration.recipes import Recipe
from flows.calibration.steps import CalibrationSteps, LeftFloat, Shards
from tasks.records import ArraysRef, ModelRef
from tasks.steps.align_channels import AlignedModel
from tasks.steps.collect_statistics import Observation
from tasks.steps.correct_biases import CorrectedModel
from tasks.steps.find_unexecuted import Execution
from tasks.steps.place_quantizers import Placement


@dataclass(frozen=True)
class Observed:
    """The float model that a recipe quantizes, where its quantizers belong, and the statistics of its tensors.

    ``left_float`` are the operations that stay float on top of those that the options name. ``execution`` is how
    OpenVINO runs what is quantized.
    """

    aligned: AlignedModel
    placement: Placement
    statistics: Shards
    left_float: LeftFloat = ()
    execution: Execution = field(default_factory=Execution)

    @property
    def model(self) -> ModelRef:
        """The float model."""
        return self.aligned.model


@dataclass(frozen=True)
class Fit:
    """An INT8 model that a recipe made, before and after bias correction (None: biases are to stay)."""

    recipe: Recipe
    observed: Observed
    ranges: ArraysRef
    quantized: ModelRef
    corrected: CorrectedModel | None

    @property
    def result(self) -> ModelRef:
        """The INT8 model that the recipe came to."""
        return self.corrected.model if self.corrected else self.quantized


def fit(steps: CalibrationSteps, model: ModelRef, recipe: Recipe) -> Fit:
    """The INT8 model that a recipe makes of a float model."""
    return fit_ranges(steps, observe(steps, model, recipe), recipe)


def fit_ranges(steps: CalibrationSteps, observed: Observed, recipe: Recipe) -> Fit:
    """The INT8 model with the ranges that a recipe takes from statistics."""
    ranges = steps.estimate_ranges(observed.aligned, observed.placement, observed.statistics, recipe)
    return quantize(steps, observed, recipe, ranges)


def observe(steps: CalibrationSteps, model: ModelRef, recipe: Recipe) -> Observed:
    """The float model as the recipe changes it, and what calibration samples tell of it."""
    if recipe.equalize:
        model = steps.equalize_layers(model)
    if recipe.smooth:
        placement = steps.place_quantizers(model, recipe.model_type)
        peaks = steps.collect_statistics(model, placement, placement.peaks())
        model = steps.smooth_activations(model, peaks)
    observed = _observe_ranged(steps, model, recipe)
    return _align(steps, observed, recipe) if recipe.align and observed.placement.alignable else observed


def leave_float(steps: CalibrationSteps, observed: Observed, recipe: Recipe, layers: LeftFloat) -> Observed:
    """The same with more layers left float. What is quantized instead, in front of their readers, is observed."""
    left_float = *observed.left_float, *layers
    placement = steps.place_quantizers(observed.model, recipe.model_type, left_float)
    known = steps.observations(observed.placement, align=False)
    fresh = tuple(each for each in steps.observations(placement, align=False) if each not in known)
    statistics = observed.statistics
    statistics += steps.collect_statistics(observed.model, placement, fresh) if fresh else ()
    execution = steps.find_unexecuted(observed.model, placement, statistics, recipe.scheme)
    return Observed(observed.aligned, placement, statistics, left_float, execution)


def quantize(steps: CalibrationSteps, observed: Observed, recipe: Recipe, ranges: ArraysRef) -> Fit:
    """The INT8 model with these ranges."""
    quantized = steps.insert_fake_quantize(observed.model, observed.placement, ranges)
    corrects = steps.config.quantization.bias_correction
    corrected = steps.correct_biases(observed.model, quantized, observed.statistics) if corrects else None
    return Fit(recipe, observed, ranges, quantized, corrected)


def _observe_ranged(steps: CalibrationSteps, model: ModelRef, recipe: Recipe) -> Observed:
    """Placement and statistics, and what stays float as no sample tells its range, or as it would run in floats.

    What is quantized instead follows anew.
    """
    aligns = steps.config.quantization.channel_alignment is not False
    left_float: LeftFloat = ()
    asked: tuple[Observation, ...] = ()
    statistics: Shards = ()
    while True:
        placement = steps.place_quantizers(model, recipe.model_type, left_float)
        fresh = tuple(each for each in steps.observations(placement, align=aligns) if each not in asked)
        statistics += steps.collect_statistics(model, placement, fresh) if fresh else ()
        asked += fresh
        found = steps.find_unranged(placement, statistics, recipe.scheme)
        execution = Execution() if found else steps.find_unexecuted(model, placement, statistics, recipe.scheme)
        found = found or execution.left_float
        if not found:
            return Observed(AlignedModel(model), placement, statistics, left_float, execution)
        left_float += found


def _align(steps: CalibrationSteps, observed: Observed, recipe: Recipe) -> Observed:
    """The same with aligned channels. Most statistics follow from those before, and the rest is collected."""
    statistics, left_float = observed.statistics, observed.left_float
    aligned = steps.align_channels(observed.model, statistics)
    placement = steps.place_quantizers(aligned.model, recipe.model_type, left_float)
    if aligned.statistics:
        statistics += ((aligned.statistics,),)
    # Neither quantiles of a whole tensor nor some sketches follow from those of its channels.
    lost = tuple(
        each
        for each in steps.observations(placement, align=False)
        if each.tensor in aligned.tensors and (each.quantiles or (each.values and each.tensor in aligned.unsketched))
    )
    if lost:
        statistics += steps.collect_statistics(aligned.model, placement, lost)
    return Observed(aligned, placement, statistics, left_float, observed.execution)
