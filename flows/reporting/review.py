"""What people review after a run: the error of each layer after each step, the quantizers, and plots of them."""

from dataclasses import asdict, dataclass
from math import log10
from typing import Any

from flows.calibration.calibrate import Calibrated
from flows.running.step_runner import StepRunner
from tasks.config.schema import QuantizeConfig
from tasks.data.subset import holdout_indices, spread_indices
from tasks.records import ArraysRef, DatasetRef, Report, Runtime
from tasks.steps.analyze_model import MOST_SAMPLES, Analysis, analyze_model
from tasks.steps.describe_model import Description, describe_model
from tasks.steps.draw_plots import draw_plots

PARTS = ("noise", "weights", "activations", "inherited", "execution", "mean_shift")


@dataclass(frozen=True)
class Review:
    """Errors of layers by step, the quantizers, and notes on how they were found."""

    analyses: dict[str, Analysis]
    description: Description
    notes: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[dict[str, Any], ...]:
        """The report's entry of each layer."""
        found: dict[str, dict[str, Any]] = {}
        for step, analysis in self.analyses.items():
            for each in analysis.layers:
                row = found.setdefault(each.layer, {"name": each.layer, "type": each.type, "steps": {}})
                parts = {part: getattr(each, part) / each.signal if each.signal else None for part in PARTS}
                row["steps"][step] = {"sqnr_db": each.sqnr_db, **parts}
        return tuple(found.values())

    @property
    def quantizers(self) -> tuple[dict[str, Any], ...]:
        """The report's entry of each quantizer."""
        return tuple(asdict(each) for each in self.description.quantizers)


def find_layer_errors(
    runner: StepRunner, config: QuantizeConfig, calibrated: Calibrated, samples: DatasetRef
) -> Review:
    """Errors of layers after each step, on samples of the holdout, and the quantizers of the finished model.

    Args:
        runner: Runs the steps.
        config: The configuration.
        calibrated: What the calibration made.
        samples: The calibration samples.
    """
    observed, run, options = calibrated.observed, config.runtime, config.evaluation
    if not (options.analyze or options.page):
        note = "layers were not analysed and quantizers not described: evaluation.analyze and .page are false"
        return Review({}, Description((), {}), (note,))
    description: Description = runner.run(
        describe_model,
        model=observed.model,
        quantized=calibrated.model,
        setup=observed.placement.setup,
        statistics=observed.statistics,
        runtime=run,
    )
    if not options.analyze:
        return Review({}, description, ("layers were not analysed: evaluation.analyze is false",))
    holdout, notes = samples.take(holdout_indices(len(samples), config.quantization.gate_samples)), tuple[str, ...]()
    if not holdout:
        holdout = samples.take(range(len(samples)))
        notes = ("layers were analysed on calibration samples: quantization.gate_samples sets none apart",)
    chosen = holdout.take(spread_indices(len(holdout), MOST_SAMPLES))
    analyses: list[Analysis] = runner.map(
        analyze_model,
        [
            {"model": observed.model, "quantized": quantized, "samples": chosen, "runtime": run}
            for quantized in calibrated.path.values()
        ],
        [len(chosen)] * len(calibrated.path),
    )
    skipped = tuple(f"not analysed: {reason}" for reason in analyses[-1].skipped)
    notes = (*notes, *skipped, *_wrongly_executed(analyses[-1]))
    return Review(dict(zip(calibrated.path, analyses, strict=True)), description, notes)


def _wrongly_executed(analysis: Analysis) -> tuple[str, ...]:
    return tuple(
        f"{each.layer}: OpenVINO's integer kernel on this CPU does not compute what quantized weights and inputs give"
        f" ({10 * log10(each.signal / each.execution):.1f} dB); an entry of quantization.ignored.scope keeps it float"
        for each in analysis.layers
        if each.wrongly_executed
    )


def draw_report(runner: StepRunner, report: Report, review: Review, runtime: Runtime) -> ArraysRef:
    """Plots of the report, drawn by one step.

    Args:
        runner: Runs the step.
        report: The report.
        review: Errors of layers and quantizers.
        runtime: Where and how the run works.
    """
    plots: ArraysRef = runner.run(
        draw_plots,
        metrics=report.metrics,
        sizes=report.sizes,
        decisions=report.decisions,
        analyses=review.analyses,
        description=review.description,
        runtime=runtime,
    )
    return plots
