"""The report of a run, put together from what its steps returned."""

from dataclasses import asdict, replace
from typing import Any

from flows.calibrate import Calibrated
from flows.review import Review
from tasks.config import QuantizeConfig
from tasks.measure_speed import Speed
from tasks.metrics.differences import Error
from tasks.place_quantizers import Placement
from tasks.records import DatasetRef, Decision, Evaluation, ModelRef, Report, Stage
from tasks.release import judge
from tasks.write_output import file_sizes


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
    """Put together what the steps of a run returned; models and data sets by their role.

    ``lacking`` says what was not measured, what MLflow's model lacks and what is wrong with it. One that is ``broken``
    takes over from no other.
    """
    metrics: dict[str, dict[str, Any]] = {
        role: dict(evaluation.metrics) for role, evaluation in zip(models, evaluations, strict=True)
    }
    for role, speed in zip(models, speeds, strict=False):
        metrics[role] |= {"latency_ms": speed.latency_ms, "throughput_fps": speed.throughput_fps}
    errors = {each.name or each.type for each in config.evaluation.metrics or () if isinstance(each, Error)}
    promotion = judge(metrics, config.release, errors)
    if promotion and broken:
        promotion = replace(promotion, reasons=("the INT8 model is broken", *promotion.reasons))
    setup, decisions = calibrated.made_of.placement.setup, calibrated.decisions
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
            *_notes(config, datasets["calibration"], calibrated.made_of.placement),
            *calibrated.notes,
            *map(_decision, decisions),
            *dict.fromkeys(note for evaluation in evaluations for note in evaluation.notes),
            *review.notes,
            *lacking,
            *((promotion.note,) if promotion else ()),
        ),
        tuned_layers=tuple(asdict(layer) for layer in calibrated.tuned),
        layers=review.layers,
        quantizer_list=review.quantizers,
        promotion=promotion,
    )


def _notes(config: QuantizeConfig, calibration: DatasetRef, placement: Placement) -> tuple[str, ...]:
    """What a user should know about the run but could overlook."""
    notes = []
    asked = config.quantization.stat_subset_size
    if asked is not None and calibration.available < asked:
        notes.append(
            f"quantization.stat_subset_size is {asked}, the data set has {calibration.available} samples: all are used"
        )
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


def _decision(decision: Decision) -> str:
    """What the gate decided, in words."""
    if decision.before is None:
        text = f"{decision.step} was kept unseen: there was nothing to judge it by"
    elif decision.after is None:
        text = f"{decision.step} was dropped: output SQNR {decision.before:.2f} dB before, not a number after"
    else:
        change = f"output SQNR {decision.before:.2f} dB before, {decision.after:.2f} dB after, on samples set apart"
        text = f"{decision.step} was {'kept' if decision.kept else 'dropped'}: {change}"
        if decision.agreement and not decision.kept and decision.after >= decision.before:
            text += "; expected top-1 agreement {:.2f} % before, {:.2f} % after".format(*decision.agreement)
    if decision.skipped:
        text += f"; it left {len(decision.skipped)} layers alone, {decision.skipped[0]}"
    return text
