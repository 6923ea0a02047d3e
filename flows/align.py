"""The flow for parts of DefaultQuantization that leave the model float: it aligns channels or changes nothing."""

from dataclasses import asdict, replace

from prefect import flow
from prefect.runtime import flow_run
from rich.console import Console

from flows.calibration.fit import observe
from flows.calibration.recipes import find_recipes, traits_of
from flows.calibration.steps import CalibrationSteps
from flows.quantize import load_datasets, require_output
from flows.reporting.summary import print_summary
from flows.running.step_runner import StepRunner
from tasks.config.schema import QuantizeConfig
from tasks.output.files import describe_run, file_sizes, stored_files, write_output
from tasks.records import DatasetRef, ModelRef, Report, flatten
from tasks.steps.evaluate_model import evaluate_model, scoring_identity
from tasks.steps.load_model import find_model, load_model
from tasks.tracking.log_run import log_run


@flow(name="align", validate_parameters=False)
def align(config: QuantizeConfig, overrides: tuple[str, ...] = ()) -> Report:
    """The report of a run: the float model with aligned channels, if ``config`` says so, evaluated, written and logged.

    Args:
        config: The configuration.
        overrides: What the command line changed, for the record.

    Raises:
        InputError: Input cannot be used; nothing is written.
    """
    path, identity = find_model(config.model.path, config.model.weights)
    require_output(config, path)
    runner, run = StepRunner(Console(stderr=True), show_progress=config.runtime.progress), config.runtime
    model: ModelRef = runner.run(
        load_model, path=path, weights=config.model.weights, name=config.model.name, identity=identity, runtime=run
    )
    calibration, validation = load_datasets(runner, config)
    aligned, notes = _aligned(runner, config, model, calibration)

    scoring = config.evaluation.scoring
    evaluated = {"dataset": validation, "scoring": scoring, "identity": scoring_identity(scoring, validation)}
    before = runner.run(evaluate_model, model=model, reference=None, runtime=run, size=len(validation), **evaluated)
    after = runner.run(evaluate_model, model=aligned, reference=before, runtime=run, size=len(validation), **evaluated)
    report = Report(
        model=model.name,
        metrics={"float": dict(before.metrics), "aligned": dict(after.metrics)},
        sizes={role: file_sizes(ref, run) for role, ref in (("float", model), ("aligned", aligned))},
        stages=runner.done,
        quantizers={},
        float_operations=(),
        kernels={},
        samples={"calibration": len(calibration), "validation": len(validation)},
        decisions=(),
        notes=notes,
    )
    models, datasets = {"float": model, "aligned": aligned}, {"calibration": calibration, "validation": validation}
    written = write_output(config.output_dir, aligned, report, describe_run(asdict(config), models, datasets), run)
    logged = log_run(
        options=config.tracking,
        report=report,
        parameters=flatten(config),
        tags={"prefect.flow_run_id": str(flow_run.id), "model.digest": model.digest},
        files=stored_files(aligned, run),
        texts=written | {"overrides.txt": "".join(f"{override}\n" for override in overrides)},
        runtime=run,
        start=runner.start,
    )
    print_summary(Console(), report, {"output": str(config.output_dir), "MLflow run": logged.run_id})
    return report


def _aligned(
    runner: StepRunner, config: QuantizeConfig, model: ModelRef, samples: DatasetRef
) -> tuple[ModelRef, tuple[str, ...]]:
    if not config.quantization.channel_alignment:
        return model, ("nothing was asked for that changes the model",)
    options = config.quantization
    model_type = None if options.model_type == "auto" else options.model_type
    steps = CalibrationSteps(runner, config, replace(samples, labels=None), ())
    traits = traits_of(steps.place_quantizers(model, model_type), options.scheme)
    *_, last = find_recipes(options, traits, model_type, options.saturation_fix)
    aligned = observe(steps, model, last).aligned
    return aligned.model, (f"channels were aligned in front of {len(aligned.operations)} operations; all stay float",)
