"""The flow: from a float model and samples to an INT8 model, evaluated, written and logged."""

from dataclasses import asdict
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run
from rich.console import Console

from flows.calibration.calibrate import calibrate
from flows.calibration.guard import guard
from flows.reporting.report import make_report
from flows.reporting.review import draw_report, find_layer_errors
from flows.reporting.speed import compare_speed, tell_slower
from flows.reporting.summary import print_summary, print_warnings
from flows.running.step_runner import StepRunner
from tasks.config.schema import QuantizeConfig
from tasks.data.source import source_files
from tasks.output.files import describe_run, require_apart, require_writable, stored_files, write_output
from tasks.output.page import plot_images, render_page
from tasks.records import DatasetRef, Report, flatten
from tasks.steps.evaluate_model import evaluate_model, scoring_identity
from tasks.steps.load_dataset import load_dataset, source_identity
from tasks.steps.load_model import find_model, input_files, load_model
from tasks.steps.package_model import package_files, package_model
from tasks.tracking.log_run import describe_datasets, describe_origin, log_run


@flow(name="quantize", validate_parameters=False)
def quantize(config: QuantizeConfig, overrides: tuple[str, ...] = ()) -> Report:
    """The report of a run: the model quantized, evaluated, written and logged; ``overrides`` are for the record.

    Raises:
        InputError: Input cannot be used; nothing is written.
        BrokenModelError: The INT8 model computes something wrong; nothing is written.
    """
    console = Console(stderr=True)
    path, identity = find_model(config.model.path, config.model.weights)
    require_output(config, path)
    runner = StepRunner(console, show_progress=config.runtime.progress)

    run = config.runtime
    model = runner.run(
        load_model, path=path, weights=config.model.weights, name=config.model.name, identity=identity, runtime=run
    )
    calibration, validation = load_datasets(runner, config)
    scoring = config.evaluation.scoring
    evaluated = {
        "dataset": validation,
        "scoring": scoring,
        "identity": scoring_identity(scoring, validation),
        "runtime": run,
    }
    calibrated = calibrate(runner, config, model, calibration)
    quantized = calibrated.model
    before = runner.run(evaluate_model, model=model, reference=None, size=len(validation), **evaluated)
    after = runner.run(evaluate_model, model=quantized, reference=before, check=True, size=len(validation), **evaluated)
    doubts, broken = guard(runner, config, calibrated, validation, after)
    review = find_layer_errors(runner, config, calibrated, calibration)
    speeds, unmeasured = compare_speed(
        runner, (model, quantized), validation, config.evaluation.speed_seconds, config.runtime
    )

    done = runner.done  # the rest is for MLflow and the page
    # A sweep has many trials; MLflow gets a model only from those to be released.
    packed = config.tracking.sweep is None or config.release.name is not None
    package = (
        runner.run(package_model, model=quantized, sample=validation.shards(1)[0], runtime=run) if packed else None
    )

    models, datasets = {"float": model, "int8": quantized}, {"calibration": calibration, "validation": validation}
    lacking = doubts + unmeasured + tell_slower(speeds) + (package.notes if package else ())
    evaluations = before, after
    report = make_report(
        config, models, datasets, calibrated, evaluations, speeds, done, review, lacking, broken=broken
    )
    plots = draw_report(runner, report, review, run) if config.evaluation.page else None
    manifest = describe_run(asdict(config), models, datasets)
    page = render_page(report, manifest, plots, run) if plots else None
    written = write_output(config.output_dir, quantized, report, manifest, run, page)
    logged = log_run(
        options=config.tracking,
        report=report,
        parameters=flatten(config),
        tags=describe_origin(manifest, str(flow_run.id), str(flow_run.ui_url)),
        files=() if package else stored_files(quantized, run),  # MLflow already has it as a model
        images=plot_images(plots, run) if plots else {},
        datasets=describe_datasets(datasets),
        texts=written | {"overrides.txt": "".join(f"{override}\n" for override in overrides)},
        model=package_files(quantized, package, run) if package else None,
        start=runner.start,
        runtime=run,
    )
    if not config.tracking.sweep:  # a sweep prints one table of all its trials
        places = {"output": str(config.output_dir), "MLflow run": logged.run_id, "release": logged.release}
        print_summary(Console(), report, places)
    else:
        print_warnings(console, report.warnings)
    return report


def require_output(config: QuantizeConfig, path: Path) -> None:
    """Check that the output can be written and replaces nothing that the run reads.

    Args:
        config: The configuration.
        path: The file of the float model.

    Raises:
        InputError: It cannot, or it does.
    """
    require_writable(config.output_dir)
    sources = (*source_files(config.dataset), *source_files(config.validation))
    require_apart(config.output_dir, (*input_files(path, config.model.weights), *sources))


def load_datasets(runner: StepRunner, config: QuantizeConfig) -> tuple[DatasetRef, DatasetRef]:
    """The calibration samples and the validation samples.

    Args:
        runner: Runs the steps.
        config: The configuration.
    """
    options = config.quantization
    calibration, validation = runner.map(
        load_dataset,
        [
            {
                "source": config.dataset,
                "identity": source_identity(config.dataset),
                "subset_size": options.stat_subset_size,
                "shuffle": options.shuffle_data,
                "seed": options.seed if options.shuffle_data else 0,  # an unused seed changes nothing
                "runtime": config.runtime,
            },
            {
                "source": config.validation,
                "identity": source_identity(config.validation),
                "subset_size": config.evaluation.subset_size,
                "runtime": config.runtime,
            },
        ],
    )
    return calibration, validation
