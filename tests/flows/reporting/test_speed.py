"""What is told of the speed of both models."""

import pytest

from flows.reporting.speed import tell_slower
from tasks.steps.measure_speed import Speed


def speed(samples_a_second: float, int8_kernels: int = 0) -> Speed:
    return Speed(1.0, samples_a_second, 9, int8_kernels)


def test_an_int8_model_that_is_slower_is_told() -> None:
    (note,) = tell_slower((speed(1000), speed(800, int8_kernels=4)))
    assert note.startswith("the INT8 model is slower than the float one: 0.80 x")
    assert "4 of 9 kernels" in note


@pytest.mark.parametrize("speeds", [(), (speed(1000), speed(960)), (speed(1000), speed(3000))])
def test_nothing_is_told_of_what_is_not_slower_beyond_noise_or_was_not_measured(speeds: tuple[Speed, ...]) -> None:
    assert tell_slower(speeds) == ()
