"""Layer-wise tuning: group after group of layers, each a cached step, and the gate at the end."""

from flows.gate import Gate
from flows.stages import Stages
from tasks.config import QuantizeConfig
from tasks.data.subset import evenly_spread
from tasks.plan_tuning import plan_tuning
from tasks.records import DatasetRef, ModelRef
from tasks.tune_layers import TunedLayer, tune_layers


def tune(
    stages: Stages, config: QuantizeConfig, gate: Gate, model: ModelRef, quantized: ModelRef, samples: DatasetRef
) -> tuple[ModelRef, tuple[TunedLayer, ...]]:
    """Tune a quantized model on samples that do not judge; the better model, and what became of each layer.

    A run that is killed continues with the group of layers it was at.
    """
    options, run = config.quantization.layerwise_tuning, config.runtime
    chosen = samples.take(evenly_spread(len(samples), options.samples or len(samples)))
    plan = stages.run(
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
    done = stages.chain(
        tune_layers,
        [shared | {"layers": group} for group in plan.groups],
        [len(chosen)] * len(plan.groups),
        lambda value: {"quantized": value.model},
        seconds=options.time_budget,
    )
    late = [name for group in plan.groups[len(done) :] for name in group]
    skipped = *plan.skipped, *(f"{name}: time_budget, {options.time_budget} s, was over" for name in late)
    tuned = tuple(layer for value in done for layer in value.layers)
    return gate.choose("tune_layers", quantized, done[-1].model if done else quantized, skipped), tuned
