"""Runs the steps of a run, prints a line for each and remembers how it went."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prefect.client.schemas.objects import State
from prefect.tasks import Task
from rich.console import Console

from tasks.engine.caching import step_key
from tasks.engine.progress import progress
from tasks.records import Stage
from tasks.tracking.resource_monitor import Start

CACHED = "Cached"


class StepRunner:
    """Runs the steps of one run in order; ``start`` is when the run began.

    Args:
        console: Where the lines and bars go.
        show_progress: Whether a step with several samples has a bar.
    """

    def __init__(self, console: Console, *, show_progress: bool) -> None:
        self._console = console
        self._show_progress = show_progress
        self._done: list[Stage] = []
        self._values: dict[str, Any] = {}
        self.start = Start()

    @property
    def done(self) -> tuple[Stage, ...]:
        """The stages so far, in order."""
        return tuple(self._done)

    def run(self, step: Task[..., Any], *, size: int = 1, **arguments: Any) -> Any:
        """Run a step once and return its value. What the step raises is raised as it is.

        Args:
            step: The step.
            size: How many samples it works on.
            arguments: Its arguments.
        """
        return self.map(step, [arguments], [size])[0]

    def map(
        self,
        step: Task[..., Any],
        calls: Sequence[dict[str, Any]],
        sizes: Sequence[int] = (),
        *,
        submit: bool = False,
    ) -> list[Any]:
        """Run a step for each of the calls, as one stage, and return the values in order.

        What this run computed before is answered from memory and is no stage of its own.

        Args:
            step: The step.
            calls: The arguments of each call.
            sizes: How many samples each call works on; a bar is shown where there is more than one in all.
            submit: Run all calls at once, where the flow's task runner has them run; else in turn, in this process.
        """
        keys = [step_key(step, call) for call in calls]
        if not keys or any(key not in self._values for key in keys):
            values = self._follow(step, _submitted(step, calls) if submit else _in_turn(step, calls), sizes)
            self._values |= zip(keys, values, strict=True)
        return [self._values[key] for key in keys]

    def chain(
        self,
        step: Task[..., Any],
        calls: Sequence[dict[str, Any]],
        sizes: Sequence[int],
        carry: Callable[[Any], dict[str, Any]],
        *,
        seconds: float | None = None,
    ) -> list[Any]:
        """Run a step for each of the calls in turn and return the values: fewer than calls where time ran out.

        Args:
            step: The step.
            calls: The arguments of each call.
            sizes: How many samples each call works on.
            carry: Makes arguments of the next call of a value.
            seconds: No call starts later than that, in seconds after the first; None for no limit.
        """
        return self._follow(step, _in_chain(step, calls, carry, seconds), sizes)

    def _follow(self, step: Task[..., Any], runs: Iterator[tuple[State[Any], Any]], sizes: Sequence[int]) -> list[Any]:
        """Wait for the runs of a step, with a bar, remember them as one stage and return their values."""
        started = time.perf_counter()
        states, values, shown = [], [], self._show_progress and sum(sizes) > 1
        with progress(self._console, step.name, sum(sizes), shown=shown) as set_done:
            for number, (state, value) in enumerate(runs, start=1):
                states.append(str(state.name))
                values.append(value)
                set_done(sum(sizes[:number]))
        cached = states.count(CACHED)
        last = states[-1] if states else "Skipped"
        name = CACHED if states and cached == len(states) else last if last != CACHED else "Completed"
        stage = Stage(step.name, time.perf_counter() - started, name, len(states), cached)
        self._done.append(stage)
        self._console.print(_line(stage), highlight=False)
        return values


def _in_turn(step: Task[..., Any], calls: Sequence[dict[str, Any]]) -> Iterator[tuple[State[Any], Any]]:
    for arguments in calls:
        state = step(**arguments, return_state=True)
        yield state, state.result()


def _in_chain(
    step: Task[..., Any], calls: Sequence[dict[str, Any]], carry: Callable[[Any], dict[str, Any]], seconds: float | None
) -> Iterator[tuple[State[Any], Any]]:
    started, carried = time.monotonic(), dict[str, Any]()
    for arguments in calls:
        if seconds is not None and time.monotonic() - started > seconds:
            return
        state = step(**arguments | carried, return_state=True)
        value = state.result()
        carried = carry(value)
        yield state, value


def _submitted(step: Task[..., Any], calls: Sequence[dict[str, Any]]) -> Iterator[tuple[State[Any], Any]]:
    futures = [step.submit(**arguments) for arguments in calls]
    for future in futures:
        value = future.result()
        yield future.state, value


def _line(stage: Stage) -> str:
    style = "dim" if stage.state == CACHED else "green"
    part = f" ({stage.cached} of {stage.runs} cached)" if 0 < stage.cached < stage.runs else ""
    return f"[{style}]{stage.name:>22}  {stage.state.lower():<9} {stage.seconds:7.2f} s{part}[/]"
