"""The flow that evaluates a model, float or quantized, alone or beside a reference."""

from contextlib import ExitStack
from dataclasses import asdict

from prefect import flow
from rich.console import Console
from rich.markup import escape

from flows.reporting.speed import compare_speed
from flows.reporting.summary import metrics_table, print_warnings
from flows.running.step_runner import StepRunner
from tasks.config.schema import EvaluateConfig
from tasks.output.files import require_writable, write_evaluation
from tasks.records import ModelRef
from tasks.steps.evaluate_model import Evaluation, evaluate_model, scoring_identity
from tasks.steps.load_dataset import load_dataset, source_identity
from tasks.steps.load_model import load_model
from tasks.tracking.fetch_model import fetched


@flow(name="evaluate", validate_parameters=False)
def evaluate(config: EvaluateConfig, overrides: tuple[str, ...] = ()) -> dict[str, dict[str, float | None]]:
    """Metrics by role of the model; writes ``evaluation.json``. ``overrides`` are for the record.

    Raises:
        InputError: Input cannot be used; nothing is written.
    """
    require_writable(config.output_dir)
    runner = StepRunner(Console(stderr=True), show_progress=config.runtime.progress)
    run, options = config.runtime, config.evaluation
    paths = {"reference": config.reference, "model": config.model.path}
    with ExitStack() as fetching:
        found = {
            role: fetching.enter_context(fetched(path, config.tracking.uri, run))
            for role, path in paths.items()
            if path
        }
        loaded = runner.map(
            load_model,
            [asdict(file) | {"runtime": run, "quantized": True} for file in found.values()],
        )
    models: dict[str, ModelRef] = dict(zip(found, loaded, strict=True))
    samples = runner.run(
        load_dataset,
        source=config.validation,
        identity=source_identity(config.validation),
        subset_size=options.subset_size,
        runtime=run,
    )

    metrics: dict[str, dict[str, float | None]] = {}
    reference: Evaluation | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    for role, model in models.items():
        evaluation = runner.run(
            evaluate_model,
            model=model,
            dataset=samples,
            reference=reference,
            scoring=options.scoring,
            identity=scoring_identity(options.scoring, samples),
            alone="reference" not in models,
            runtime=run,
            size=len(samples),
        )
        metrics[role], reference = dict(evaluation.metrics), evaluation
        notes += evaluation.notes
        warnings += evaluation.warnings
    speeds, unmeasured = compare_speed(runner, tuple(models.values()), samples, options.speed_seconds, run)
    for role, speed in zip(models, speeds, strict=False):
        metrics[role] |= {"latency_ms": speed.latency_ms, "throughput_fps": speed.throughput_fps}
    notes = (*dict.fromkeys(notes), *unmeasured)

    content = {
        "metrics": metrics,
        "samples": len(samples),
        "warnings": warnings,
        "notes": notes,
        "configuration": asdict(config),
        "overrides": overrides,
    }
    write_evaluation(config.output_dir, content)
    console = Console()
    print_warnings(console, warnings)
    console.print(metrics_table(f"{models['model'].name} on {len(samples)} samples", metrics))
    for note in notes:
        console.print(f"Note: {escape(note)}", highlight=False)
    console.print(f"output: {escape(str(config.output_dir / 'evaluation.json'))}", highlight=False, soft_wrap=True)
    return metrics
