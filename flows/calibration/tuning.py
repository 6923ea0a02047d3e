"""Layer-wise tuning: group after group of layers, each a cached step; the result is accepted or not."""

from flows.calibration.acceptance import Acceptance
from flows.calibration.steps import CalibrationSteps
from tasks.data.subset import spread_indices
from tasks.records import ModelRef
from tasks.steps.plan_tuning import plan_tuning
from tasks.steps.tune_layers import TunedLayer, tune_layers


def tune(
    steps: CalibrationSteps, acceptance: Acceptance, model: ModelRef, quantized: ModelRef
) -> tuple[ModelRef, tuple[TunedLayer, ...]]:
    """Tune a quantized model on samples outside the holdout; the better model, and what became of each layer.

    A run that is killed continues with the group of layers it was at.
    """
    options, run = steps.config.quantization.layerwise_tuning, steps.config.runtime
    samples = steps.fitted_samples(len(steps.samples))
    chosen = samples.take(spread_indices(len(samples), options.samples or len(samples)))
    plan = steps.runner.run(
        plan_tuning,
        model=model,
        quantized=quantized,
        ignored=options.ignored.to_scope(),
        passes=options.passes,
        runtime=run,
    )
    shared = {
        "model": model,
        "quantized": quantized,
        "samples": chosen,
        "parameters": options.parameters,
        "seed": options.seed,
        "runtime": run,
    }
    done = steps.runner.chain(
        tune_layers,
        [shared | {"layers": group} for group in plan.groups],
        [len(chosen)] * len(plan.groups),
        lambda value: {"quantized": value.model},
        seconds=options.time_budget,
    )
    late = [name for group in plan.groups[len(done) :] for name in group]
    skipped = *plan.skipped, *(f"{name}: time_budget, {options.time_budget} s, was over" for name in late)
    tuned = tuple(layer for value in done for layer in value.layers)
    result = done[-1].model if done else quantized
    kept = acceptance.judge("tune_layers", quantized, result, skipped).kept
    return (result if kept else quantized), tuned
