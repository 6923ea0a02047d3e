"""A sweep from start to end: one Prefect server, one parent run in MLflow, and a table of all trials."""

import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from flows.running.environment import run_environment
from flows.sweeps.ranking import describe_best, print_trials, short_names, trial_rows
from flows.sweeps.table import spelled
from flows.sweeps.trials import Sweep, Trial, read_trials, result_of, write_sweep, write_trial
from tasks.config.schema import QuantizeConfig
from tasks.engine.atomic_folders import locked
from tasks.records import flatten
from tasks.redaction import redacted
from tasks.tracking.client import TrackingError, collect, handing_over
from tasks.tracking.log_sweep import lead_sweep, log_failed_trial, log_sweep

Flow = Callable[[Any, tuple[str, ...]], object]
# From an exception to the exit code and line of the commands; no line where a traceback is needed.
ExplainFailure = Callable[[Exception], tuple[int, str | None]]


@contextmanager
def sweep_session(sweep: Sweep, config: QuantizeConfig, command: str) -> Iterator[None]:
    """Trials run inside this context. At its end the table is printed and the parent run is logged.

    Trials in other processes find the server by PREFECT_API_URL. After Ctrl-C the trials that ended are kept.

    Args:
        sweep: The sweep.
        config: The configuration that the trials start from.
        command: Name of the command.
    """
    write_sweep(sweep)
    with locked(sweep.folder), run_environment(config.runtime.home):
        if _is_logged(config):
            lead_sweep(config.tracking, config.runtime.home, sweep=sweep.name, name=_name(sweep), folder=sweep.folder)
        status = "FAILED"
        try:
            yield
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            _conclude(sweep, config, command, status)


def _conclude(sweep: Sweep, config: QuantizeConfig, command: str, status: str) -> None:
    collect()  # may mark trials as failed that MLflow refused
    trials, console = read_trials(sweep.folder), Console()
    print_trials(console, sweep, trials, command)
    failed = [trial for trial in trials if trial.failure]
    if not _is_logged(config):
        return
    try:
        run = log_sweep(
            options=config.tracking,
            home=config.runtime.home,
            sweep=sweep.name,
            name=_name(sweep),
            rows=trial_rows(sweep, trials, spelled),
            best=describe_best(sweep, trials, command),
            failures={trial.number: trial.failure for trial in failed},
            counts={"trials": len(trials) - len(failed), "failed": len(failed), "planned": sweep.total},
            status="FAILED" if failed and status == "FINISHED" else status,
        )
        console.print(f"MLflow run of the sweep: {run}", highlight=False)
    except TrackingError as failure:
        print(failure, file=sys.stderr)


def _is_logged(config: QuantizeConfig) -> bool:
    """Whether MLflow gets the trials; evaluations are not logged."""
    return not hasattr(config, "reference")


def _name(sweep: Sweep) -> str:
    return f"{sweep.model}: sweep of {', '.join(short_names(sweep.keys).values()) or 'one trial'}"


def run_trial(
    sweep: Sweep,
    number: int,
    overrides: tuple[str, ...],
    config: QuantizeConfig,
    run: Flow,
    explain_failure: ExplainFailure,
    *,
    hands_over: bool,
) -> Any:
    """Run one trial and record it; returns its metrics, or None if it failed, which raises nothing.

    Args:
        sweep: The sweep.
        number: Number of the trial.
        overrides: The trial's overrides.
        config: The trial's configuration.
        run: The flow to run.
        explain_failure: From an exception to the exit code and line.
        hands_over: Whether the trial does not wait for MLflow; if MLflow refuses it later, its record says so.
    """
    folder, keys = sweep.folder, sweep.keys
    trial = Trial(number, overrides, str(config.output_dir / str(number)), 0.0)
    varied = {short_names(keys)[key]: spelled(value, 24) for key, value in trial.varied(keys).items() if value}
    values = ", ".join(f"{name}={value}" for name, value in varied.items())
    tracking = replace(config.tracking, sweep=sweep.name)
    if config.tracking.run_name is None and values:
        tracking = replace(tracking, run_name=f"{number}: {values}")
    # Trials must not overwrite each other's output.
    config = replace(config, output_dir=Path(trial.output), tracking=tracking)
    print(f"trial {number} of {sweep.total}: {values}", file=sys.stderr, flush=True)
    started = time.perf_counter()
    try:
        with handing_over(partial(_refused, folder, number)) if hands_over else nullcontext():
            trial = replace(trial, **result_of(run(config, overrides)))
    except Exception as failure:  # noqa: BLE001 - the other trials do not depend on this one
        code, line = explain_failure(failure)
        trial = replace(trial, failure=line or _with_traceback(failure, folder, number), code=code)
        print(f"trial {number} failed: {trial.failure}", file=sys.stderr, flush=True)
        if not isinstance(failure, TrackingError):
            _log_failure(config, trial, folder)
    trial = replace(trial, seconds=time.perf_counter() - started)
    write_trial(folder, trial)
    return None if trial.failure else trial.metrics


def _refused(folder: Path, number: int, reason: str) -> None:
    """Record that a finished trial failed because MLflow refused it."""
    for trial in read_trials(folder):
        if trial.number == number:
            write_trial(folder, replace(trial, failure=reason, code=1))
    print(f"trial {number} failed: {reason}", file=sys.stderr, flush=True)


def exit_code(folder: Path, bad_input: int, failed: int) -> int:
    """0 if all trials are done, ``bad_input`` if all failures are bad input, else ``failed``.

    Args:
        folder: Folder of the sweep's records.
        bad_input: Exit code for bad input.
        failed: Exit code for other failures.
    """
    codes = {trial.code for trial in read_trials(folder)} - {0}
    return 0 if not codes else bad_input if codes == {bad_input} else failed


def _with_traceback(failure: Exception, folder: Path, number: int) -> str:
    """The line for a failure, whose traceback is written to a file."""
    file = folder / "trials" / f"{number}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(redacted("".join(traceback.format_exception(failure))), encoding="utf-8")
    first = (redacted(str(failure)).strip().splitlines() or ["no message"])[0]
    return f"{type(failure).__name__}: {first}; traceback in {file}"


def _log_failure(config: QuantizeConfig, trial: Trial, folder: Path) -> None:
    """Log a failed trial as a run in MLflow."""
    file = folder / "trials" / f"{trial.number}.txt"
    try:
        log_failed_trial(
            config.tracking,
            config.runtime.home,
            name=config.tracking.run_name or config.model.name or Path(config.model.path).stem,
            parameters=flatten(config),
            failure=trial.failure,
            files=(file,) if file.exists() else (),
        )
    except TrackingError as failure:
        print(failure, file=sys.stderr)
