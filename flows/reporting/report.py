"""The report of a run, assembled from what its steps returned."""

from dataclasses import asdict, replace
from typing import Any

from flows.calibration.calibrate import Calibrated
from flows.reporting.review import Review
from tasks.config.schema import QuantizeConfig
from tasks.metrics.differences import Error
from tasks.output.files import file_sizes
from tasks.records import DatasetRef, ModelRef, Report, Stage
from tasks.steps.evaluate_model import Evaluation
from tasks.steps.find_unranged import NO_RANGE
from tasks.steps.measure_speed import Speed
from tasks.steps.place_quantizers import Placement
from tasks.tracking.promotion import decide_promotion


def make_report(
    config: QuantizeConfig,
    models: dict[str, ModelRef],
    datasets: dict[str, DatasetRef],
    calibrated: Calibrated,
    evaluations: tuple[Evaluation, Evaluation],
    speeds: tuple[Speed, ...],
    stages: tuple[Stage, ...],
    review: Review,
    lacking: tuple[str, ...] = (),
    *,
    broken: bool = False,
) -> Report:
    """The report of a run.

    Args:
        config: The configuration.
        models: Models by role.
        datasets: Data sets by role.
        calibrated: What the calibration made.
        evaluations: Of the float and of the INT8 model.
        speeds: Of the same models; empty if not measured.
        stages: What each step took.
        review: Errors of layers and quantizers.
        lacking: What was not measured, what MLflow's model lacks and what is wrong with it.
        broken: Whether the INT8 model computes something wrong; then the alias does not move to it.
    """
    metrics: dict[str, dict[str, Any]] = {
        role: dict(evaluation.metrics) for role, evaluation in zip(models, evaluations, strict=True)
    }
    for role, speed in zip(models, speeds, strict=False):
        metrics[role] |= {"latency_ms": speed.latency_ms, "throughput_fps": speed.throughput_fps}
    errors = {each.name or each.type for each in config.evaluation.metrics or () if isinstance(each, Error)}
    promotion = decide_promotion(metrics, config.release, errors)
    if promotion and broken:
        promotion = replace(promotion, reasons=("the INT8 model is broken", *promotion.reasons))
    setup, decisions = calibrated.observed.placement.setup, calibrated.decisions
    points = setup.points
    roles = [point.role for point in points]
    return Report(
        model=models["float"].name,
        metrics=metrics,
        sizes={role: file_sizes(ref, config.runtime) for role, ref in models.items()},
        stages=stages,
        quantizers={role: roles.count(role) for role in sorted(set(roles))},
        float_operations=tuple(asdict(operation) for operation in setup.float_operations),
        kernels={"all": speeds[-1].kernels, "int8": speeds[-1].int8_kernels} if speeds else {},
        samples={role: len(dataset) for role, dataset in datasets.items()},
        decisions=decisions,
        notes=(
            *_notes(config, datasets["calibration"], calibrated.observed.placement),
            *calibrated.notes,
            *(decision.reason for decision in decisions),
            *dict.fromkeys(note for evaluation in evaluations for note in evaluation.notes),
            *review.notes,
            *lacking,
            *((promotion.note,) if promotion else ()),
        ),
        tuned_layers=tuple(asdict(layer) for layer in calibrated.tuned),
        layers=review.layers,
        quantizer_list=review.quantizers,
        promotion=promotion,
        warnings=evaluations[0].warnings,
    )


def _notes(config: QuantizeConfig, calibration: DatasetRef, placement: Placement) -> tuple[str, ...]:
    """Facts about the run that a user might overlook."""
    notes = []
    asked = config.quantization.stat_subset_size
    if asked is not None and calibration.available < asked:
        notes.append(
            f"quantization.stat_subset_size is {asked}, the data set has {calibration.available} samples: all are used"
        )
    notes += [
        f"{each.type} '{each.name}' stays float: {each.reason}"
        for each in placement.setup.float_operations
        if each.reason.endswith(NO_RANGE)
    ]
    if not config.quantization.bias_correction:
        notes.append("biases were not corrected: quantization.bias_correction is false")
    if config.quantization.model_type is None and placement.attention:
        notes.append(
            f"'{placement.attention[0]}' multiplies computed matrices, as attention does, but quantization.model_type "
            "is null, as in POT: quantization=transformer may leave far less error"
        )
    if config.quantization.model_type == "transformer" and not config.quantization.smooth_quant:
        notes.append("outliers of features were not smoothed, as in POT: quantization.smooth_quant=auto tries it")
    if config.validation == config.dataset:
        notes.append("validation uses the calibration data; for figures that hold elsewhere set validation.path")
    if not config.evaluation.page:
        notes.append("there are no plots and no report.html: evaluation.page is false")
    if not config.evaluation.speed_seconds:
        notes.append("speed was not measured: evaluation.speed_seconds is 0")
    return tuple(notes)
