"""How quick the models of a run are, measured last."""

from flows.running.step_runner import StepRunner
from tasks.records import DatasetRef, ModelRef, Runtime
from tasks.steps.measure_speed import Speed, Speeds, UnmeasuredError, describe_machine, measure_speed


def compare_speed(
    runner: StepRunner, models: tuple[ModelRef, ...], samples: DatasetRef, seconds: float, runtime: Runtime
) -> tuple[tuple[Speed, ...], tuple[str, ...]]:
    """Speed of the models side by side, and why there is none; neither without ``seconds``."""
    if not seconds:
        return (), ()
    try:
        found: Speeds = runner.run(
            measure_speed,
            models=models,
            sample=samples.shards(1)[0],
            seconds=seconds,
            machine=describe_machine(),
            runtime=runtime,
        )
    except UnmeasuredError as failure:
        return (), (f"speed was not measured: {failure}",)
    return found.models, ()
