"""The flow: from a float model and samples to an INT8 model, evaluated, written and logged."""

from dataclasses import asdict, replace
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.tasks import Task
from rich.console import Console

from flows.gate import Gate
from flows.report import make_report
from flows.stages import Stages
from flows.summary import print_summary
from flows.workers import for_worker
from tasks.align_channels import AlignedModel, align_channels
from tasks.collect_quantiles import collect_quantiles, wanted_quantiles
from tasks.collect_statistics import collect_statistics
from tasks.config import QuantizeConfig, flatten
from tasks.correct_biases import correct_biases
from tasks.correct_sequentially import MOST_PASSES, MOST_SAMPLES, correct_sequentially
from tasks.data.subset import evenly_spread, set_apart
from tasks.estimate_ranges import estimate_ranges
from tasks.evaluate_model import evaluate_model
from tasks.insert_fake_quantize import insert_fake_quantize
from tasks.load_dataset import load_dataset, source_identity
from tasks.load_model import find_model, load_model
from tasks.log_run import log_run
from tasks.measure_speed import Speed, describe_machine, measure_speed
from tasks.place_quantizers import Placement, place_quantizers
from tasks.records import ArraysRef, DatasetRef, ModelRef, Report
from tasks.write_output import describe_run, require_writable, write_output


@flow(name="quantize", validate_parameters=False)
def quantize(config: QuantizeConfig, overrides: tuple[str, ...] = ()) -> Report:
    """Quantize a model as ``config`` says. ``overrides`` are what the command line changed, for the record.

    Raises InputError for input that cannot be used; nothing is written then.
    """
    console = Console(stderr=True)
    path, identity = find_model(config.model.path)
    require_writable(config.output_dir)
    stages = Stages(console, show_progress=config.runtime.progress)

    run = config.runtime
    model = stages.run(load_model, path=path, identity=identity, runtime=run)
    calibration, validation = _load_datasets(stages, config)
    placement, quantized, gate = _quantize(stages, config, model, calibration)
    evaluated = {"dataset": validation, "runtime": run}
    before = stages.run(evaluate_model, model=model, reference=None, size=len(validation), **evaluated)
    after = stages.run(evaluate_model, model=quantized, reference=before, size=len(validation), **evaluated)
    speeds = _measure(stages, config, (model, quantized), validation)

    models, datasets = {"float": model, "int8": quantized}, {"calibration": calibration, "validation": validation}
    report = make_report(config, models, datasets, placement, (before, after), speeds, stages.done, gate.decisions)
    manifest = describe_run(asdict(config), models, datasets)
    files = write_output(config.output_dir, quantized, report, manifest, config.runtime)
    logged = log_run(
        options=config.tracking,
        report=report,
        parameters=flatten(config),
        tags={"prefect.flow_run_id": str(flow_run.id), "model.digest": model.digest},
        files=files,
        texts={"overrides.txt": "".join(f"{override}\n" for override in overrides)},
        runtime=run,
    )
    print_summary(Console(), report, {"output": str(config.output_dir), "MLflow run": logged})
    return report


def _load_datasets(stages: Stages, config: QuantizeConfig) -> tuple[DatasetRef, DatasetRef]:
    """The samples to calibrate on and those to evaluate on."""
    options = config.quantization
    calibration, validation = stages.map(
        load_dataset,
        [
            {
                "source": config.dataset,
                "identity": source_identity(config.dataset),
                "subset_size": options.stat_subset_size,
                "shuffle": options.shuffle_data,
                "seed": options.seed,
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


def _quantize(
    stages: Stages, config: QuantizeConfig, model: ModelRef, samples: DatasetRef
) -> tuple[Placement, ModelRef, Gate]:
    """Where the model is quantized, the quantized model, and what was decided on the way to it."""
    options, run = config.quantization, config.runtime
    samples = replace(samples, labels=None)  # which no statistic depends on
    judges = set_apart(len(samples), options.gate_samples)
    aligned = AlignedModel(model, ())
    if options.channel_alignment:
        aligned = stages.run(align_channels, model=model, samples=samples, runtime=run, size=len(samples))
        model = aligned.model
    placement: Placement = stages.run(
        place_quantizers,
        model=model,
        target_device=options.target_device,
        model_type=options.model_type,
        ignored=options.ignored.to_scope(),
        runtime=run,
    )
    setup = placement.setup
    shared = {"model": model, "execution": options.execution, "runtime": run}
    groups = placement.groups(run.bytes_a_request(options.execution))
    observed = [shared | {"tensors": group, "means": placement.means_of(group)} for group in groups]
    statistics = _collect(stages, collect_statistics, samples, observed)
    wanted = wanted_quantiles(setup, options.scheme)
    quantiles = _collect(stages, collect_quantiles, samples, [shared | {"wanted": wanted}]) if wanted else ((),)
    parameters = stages.run(
        estimate_ranges,
        model=model,
        setup=setup,
        statistics=statistics,
        quantiles=quantiles[0],
        scheme=options.scheme,
        saturation_fix=options.saturation_fix,
        target_device=options.target_device,
        aligned=aligned.operations,
        runtime=run,
    )
    quantized = stages.run(insert_fake_quantize, model=model, setup=setup, parameters=parameters, runtime=run)
    gate = Gate(stages, model, samples.take(judges), run)
    if options.bias_correction:
        others = [place for place in range(len(samples)) if place not in judges]
        corrected = stages.run(
            correct_biases,
            model=model,
            quantized=quantized,
            statistics=statistics,
            left_out=judges,
            threshold=options.threshold,
            runtime=run,
        )
        quantized = gate.choose("correct_biases", quantized, corrected.model, corrected.skipped)
        if not options.use_fast_bias:
            quantized = _correct_sequentially(stages, config, gate, model, quantized, samples.take(others))
    return placement, quantized, gate


def _correct_sequentially(
    stages: Stages, config: QuantizeConfig, gate: Gate, model: ModelRef, quantized: ModelRef, samples: DatasetRef
) -> ModelRef:
    """The quantized model with biases corrected by inference of some of the samples, if that is better."""
    options = config.quantization
    chosen = samples.take(evenly_spread(len(samples), MOST_SAMPLES))
    corrected = stages.run(
        correct_sequentially,
        model=model,
        quantized=quantized,
        samples=chosen,
        threshold=options.threshold,
        every_layer=options.apply_for_all_nodes,
        runtime=config.runtime,
        size=len(chosen) * MOST_PASSES,
    )
    return gate.choose("correct_sequentially", quantized, corrected.model, corrected.skipped)


def _collect(
    stages: Stages, step: Task[..., Any], samples: DatasetRef, groups: list[dict[str, Any]]
) -> tuple[tuple[ArraysRef, ...], ...]:
    """Run a step for each shard of the samples, in order, with the arguments of each group."""
    shards = samples.shards(groups[0]["runtime"].shard_size)
    calls = [group | {"shard": shard} for group in groups for shard in shards]
    distributed = groups[0]["runtime"].distributed
    found = stages.map(
        step,
        [for_worker(call) for call in calls] if distributed else calls,
        [len(call["shard"]) for call in calls],
        submit=distributed,
    )
    return tuple(tuple(found[start : start + len(shards)]) for start in range(0, len(found), len(shards)))


def _measure(
    stages: Stages, config: QuantizeConfig, models: tuple[ModelRef, ...], samples: DatasetRef
) -> tuple[Speed, ...]:
    """Speed of the models side by side, unless it was switched off."""
    if not config.evaluation.speed_seconds:
        return ()
    speeds: tuple[Speed, ...] = stages.run(
        measure_speed,
        models=models,
        sample=samples.shards(1)[0],
        seconds=config.evaluation.speed_seconds,
        machine=describe_machine(),
        runtime=config.runtime,
    )
    return speeds
