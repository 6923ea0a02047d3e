"""The speed of a run's models, measured last."""

from collections.abc import Sequence

from flows.running.step_runner import StepRunner
from tasks.records import DatasetRef, ModelRef, Runtime
from tasks.steps.measure_speed import Speed, Speeds, UnmeasuredError, describe_machine, measure_speed

# Two measurements of one model differ by as much.
NOISE = 0.95


def compare_speed(
    runner: StepRunner, models: tuple[ModelRef, ...], samples: DatasetRef, seconds: float, runtime: Runtime
) -> tuple[tuple[Speed, ...], tuple[str, ...]]:
    """The speed of models side by side, and notes if there is none; both empty if ``seconds`` is 0.

    Args:
        runner: Runs the step.
        models: The models.
        samples: Data set with the sample to infer.
        seconds: How long to measure each model.
        runtime: Where and how the run works.
    """
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


def tell_slower(speeds: Sequence[Speed]) -> tuple[str, ...]:
    """A note if the INT8 model is slower than the float one.

    Args:
        speeds: Those of the float and of the INT8 model, or none.
    """
    if len(speeds) < 2 or speeds[1].throughput_fps >= NOISE * speeds[0].throughput_fps:
        return ()
    quantized, ratio = speeds[1], speeds[1].throughput_fps / speeds[0].throughput_fps
    return (
        f"the INT8 model is slower than the float one: {ratio:.2f} x its throughput, with {quantized.int8_kernels} of"
        f" {quantized.kernels} kernels in INT8",
    )
