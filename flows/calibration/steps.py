"""The steps of a calibration, each with the arguments that the configuration gives it."""

from dataclasses import dataclass

from flows.calibration.recipes import ModelType, Recipe
from flows.running.dask_workers import for_worker
from flows.running.step_runner import StepRunner
from tasks.config.schema import QuantizeConfig
from tasks.data.subset import spread_indices
from tasks.records import ArraysRef, DatasetRef, ModelRef
from tasks.steps.align_channels import AlignedModel, align_channels
from tasks.steps.choose_clipping_weight import MOST_SAMPLES as MOST_CLIPPING_SAMPLES
from tasks.steps.choose_clipping_weight import ClippingWeight, choose_clipping_weight
from tasks.steps.choose_ranges import MOST_SAMPLES as MOST_TRIAL_SAMPLES
from tasks.steps.choose_ranges import ChosenRanges, choose_ranges
from tasks.steps.collect_statistics import Observation, collect_statistics
from tasks.steps.correct_biases import CorrectedModel, correct_biases
from tasks.steps.correct_sequentially import MOST_PASSES, correct_sequentially
from tasks.steps.correct_sequentially import MOST_SAMPLES as MOST_SEQUENTIAL_SAMPLES
from tasks.steps.equalize_layers import EqualizedModel, equalize_layers
from tasks.steps.estimate_ranges import Scheme, estimate_ranges, smallest_scale, wanted_quantiles, wants_values
from tasks.steps.find_float_layers import MOST_SAMPLES as MOST_FLOAT_SAMPLES
from tasks.steps.find_float_layers import FloatChoice, find_float_layers
from tasks.steps.find_unexecuted import Execution, find_unexecuted
from tasks.steps.find_unranged import Unranged, find_unranged
from tasks.steps.insert_fake_quantize import insert_fake_quantize
from tasks.steps.place_quantizers import Placement, place_quantizers, require_points
from tasks.steps.smooth_activations import LevelsPerSide, SmoothedModel, smooth_activations

Shards = tuple[tuple[ArraysRef, ...], ...]
# Operations by name, each with the reason why it stays float.
LeftFloat = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class CalibrationSteps:
    """The steps of one calibration. Each method runs the step of its name; a step asked for twice runs once.

    ``samples`` are the calibration samples, ``holdout`` the places of those among them that nothing is fitted to.
    """

    runner: StepRunner
    config: QuantizeConfig
    samples: DatasetRef
    holdout: tuple[int, ...]

    @property
    def fitted(self) -> tuple[int, ...]:
        """The places of the samples that models are fitted to."""
        return tuple(place for place in range(len(self.samples)) if place not in self.holdout)

    def fitted_samples(self, most: int) -> DatasetRef:
        """So many of the samples that models are fitted to, evenly spread."""
        return self.samples.take(self._some(most))

    def place_quantizers(self, model: ModelRef, model_type: ModelType, left_float: LeftFloat = ()) -> Placement:
        """Where FakeQuantize belongs; raises InputError where the device quantizes nothing of the model."""
        options = self.config.quantization
        placement: Placement = self.runner.run(
            place_quantizers,
            model=model,
            target_device=options.target_device,
            model_type=model_type,
            ignored=options.ignored.to_scope(),
            left_float=left_float,
            runtime=self.config.runtime,
        )
        return require_points(placement, model, options.target_device)

    def equalize_layers(self, model: ModelRef) -> ModelRef:
        """The float model with weights of like size in neighbouring layers."""
        equalized: EqualizedModel = self.runner.run(equalize_layers, model=model, runtime=self.config.runtime)
        return equalized.model

    def smooth_activations(self, model: ModelRef, peaks: Shards) -> ModelRef:
        """The float model without outliers of features, as far as that lowers the error."""
        options = self.config.quantization
        smoothed: SmoothedModel = self.runner.run(
            smooth_activations,
            model=model,
            statistics=peaks,
            steps=LevelsPerSide(options.weights.steps, options.activations.steps),
            runtime=self.config.runtime,
        )
        return smoothed.model

    def align_channels(self, model: ModelRef, statistics: Shards) -> AlignedModel:
        """The float model with channels of like ranges."""
        aligned: AlignedModel = self.runner.run(
            align_channels, model=model, statistics=statistics, runtime=self.config.runtime
        )
        return aligned

    def observations(self, placement: Placement, *, align: bool) -> tuple[Observation, ...]:
        """What the ranges of a placement need to know of each tensor, and, with ``align``, what alignment needs.

        The schemes that recipes have besides that of the options need extremes only, which are always observed.
        """
        scheme = self.config.quantization.scheme
        quantiles = wanted_quantiles(placement.setup, scheme)
        return placement.observations(quantiles, values=wants_values(scheme), aligned=align)

    def collect_statistics(
        self, model: ModelRef, placement: Placement, observations: tuple[Observation, ...]
    ) -> Shards:
        """Observe the samples shard by shard, in one pass or, under a limit of memory, in several."""
        run, execution = self.config.runtime, self.config.quantization.execution
        groups = placement.groups(observations, run.bytes_a_request(execution))
        shards = self.samples.shards(run.shard_size)
        calls = [
            {"model": model, "observations": group, "shard": shard, "execution": execution, "runtime": run}
            for group in groups
            for shard in shards
        ]
        found = self.runner.map(
            collect_statistics,
            [for_worker(call) for call in calls] if run.distributed else calls,
            [len(shard) for _ in groups for shard in shards],
            submit=run.distributed,
        )
        return tuple(tuple(found[start : start + len(shards)]) for start in range(0, len(found), len(shards)))

    def find_unranged(self, placement: Placement, statistics: Shards, scheme: Scheme) -> LeftFloat:
        """The operations that stay float, as no sample tells the range of what they would read."""
        found: Unranged = self.runner.run(
            find_unranged,
            setup=placement.setup,
            statistics=statistics,
            scheme=scheme,
            runtime=self.config.runtime,
        )
        return found.operations

    def find_unexecuted(self, model: ModelRef, placement: Placement, statistics: Shards, scheme: Scheme) -> Execution:
        """The quantized layers that OpenVINO computes in floats all the same."""
        found: Execution = self.runner.run(
            find_unexecuted,
            model=model,
            setup=placement.setup,
            statistics=statistics,
            scheme=scheme,
            target_device=self.config.quantization.target_device,
            runtime=self.config.runtime,
        )
        return found

    def estimate_ranges(
        self, aligned: AlignedModel, placement: Placement, statistics: Shards, recipe: Recipe
    ) -> ArraysRef:
        """The range of every FakeQuantize."""
        options = self.config.quantization
        ranges: ArraysRef = self.runner.run(
            estimate_ranges,
            model=aligned.model,
            setup=placement.setup,
            statistics=statistics,
            scheme=recipe.scheme,
            saturation_fix=recipe.saturation_fix,
            least_scale=smallest_scale(options.saturation_fix, options.target_device),
            target_device=options.target_device,
            aligned=aligned.operations,
            clipping_weight=recipe.clipping_weight,
            runtime=self.config.runtime,
        )
        return ranges

    def choose_clipping_weight(self, model: ModelRef, placement: Placement, statistics: Shards) -> ClippingWeight:
        """How much clipping counts beside rounding, tried on samples that set no range."""
        tried = self._some(MOST_CLIPPING_SAMPLES)
        found: ClippingWeight = self.runner.run(
            choose_clipping_weight,
            model=model,
            setup=placement.setup,
            statistics=statistics,
            scheme=self.config.quantization.scheme,
            places=self.fitted,
            tried=tried,
            samples=self.samples.take(tried),
            runtime=self.config.runtime,
            size=len(tried),
        )
        return found

    def choose_ranges(
        self, model: ModelRef, quantized: ModelRef, placement: Placement, ranges: ArraysRef, others: ArraysRef
    ) -> ChosenRanges:
        """Of two ranges of each tensor the one that leaves the model's output nearer to the float one."""
        samples = self.fitted_samples(MOST_TRIAL_SAMPLES)
        chosen: ChosenRanges = self.runner.run(
            choose_ranges,
            model=model,
            quantized=quantized,
            setup=placement.setup,
            parameters=ranges,
            others=others,
            samples=samples,
            runtime=self.config.runtime,
            size=len(samples) * (2 + len(placement.tensors)),
        )
        return chosen

    def find_float_layers(self, model: ModelRef, placement: Placement, ranges: ArraysRef) -> FloatChoice:
        """The layers that had better stay float."""
        samples = self.fitted_samples(MOST_FLOAT_SAMPLES)
        found: FloatChoice = self.runner.run(
            find_float_layers,
            model=model,
            setup=placement.setup,
            parameters=ranges,
            samples=samples,
            runtime=self.config.runtime,
            size=len(samples),
        )
        return found

    def insert_fake_quantize(self, model: ModelRef, placement: Placement, ranges: ArraysRef) -> ModelRef:
        """The model, quantized."""
        quantized: ModelRef = self.runner.run(
            insert_fake_quantize,
            model=model,
            setup=placement.setup,
            parameters=ranges,
            runtime=self.config.runtime,
        )
        return quantized

    def correct_biases(
        self,
        model: ModelRef,
        quantized: ModelRef,
        statistics: Shards,
        *,
        pooled: tuple[str, ...] = (),
        layers: tuple[str, ...] | None = None,
    ) -> CorrectedModel:
        """The quantized model with the means of its layers put right, of ``layers`` only or of all.

        ``pooled`` are the layers to give back what all samples lose alike in the activations in front of them.
        """
        corrected: CorrectedModel = self.runner.run(
            correct_biases,
            model=model,
            quantized=quantized,
            statistics=statistics,
            left_out=self.holdout,
            threshold=self.config.quantization.threshold,
            pooled=pooled,
            layers=layers,
            runtime=self.config.runtime,
        )
        return corrected

    def correct_sequentially(self, model: ModelRef, quantized: ModelRef) -> CorrectedModel:
        """The quantized model with biases corrected by inference, in topological order."""
        options, samples = self.config.quantization, self.fitted_samples(MOST_SEQUENTIAL_SAMPLES)
        corrected: CorrectedModel = self.runner.run(
            correct_sequentially,
            model=model,
            quantized=quantized,
            samples=samples,
            threshold=options.threshold,
            every_layer=options.apply_for_all_nodes,
            runtime=self.config.runtime,
            size=len(samples) * MOST_PASSES,
        )
        return corrected

    def _some(self, most: int) -> tuple[int, ...]:
        return tuple(self.fitted[place] for place in spread_indices(len(self.fitted), most))
