"""A sweep from its start to its end: one Prefect server, one parent in MLflow, and a table of all points."""

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
from flows.sweeps.ranking import describe_best, point_rows, print_points, short_names
from flows.sweeps.table import spelled
from flows.sweeps.trials import Point, Sweep, read_points, result_of, write_point, write_sweep
from tasks.config.schema import QuantizeConfig
from tasks.engine.atomic_folders import locked
from tasks.records import flatten
from tasks.redaction import redacted
from tasks.tracking.client import TrackingError, collect, handing_over
from tasks.tracking.log_sweep import lead_sweep, log_failed_point, log_sweep

Flow = Callable[[Any, tuple[str, ...]], object]
# The exit code and the line for an exception, as the commands tell it; None for a line where it needs a traceback.
ExplainFailure = Callable[[Exception], tuple[int, str | None]]


@contextmanager
def sweep_session(sweep: Sweep, config: QuantizeConfig, command: str) -> Iterator[None]:
    """Whatever launches the points does so in here. Afterwards the table is printed and the parent is logged.

    Points in other processes find the server by PREFECT_API_URL. After Ctrl-C that is done for the points that ended.
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
    collect()  # the points may learn now that MLflow did not take them
    points, console = read_points(sweep.folder), Console()
    print_points(console, sweep, points, command)
    failed = [point for point in points if point.failure]
    if not _is_logged(config):
        return
    try:
        run = log_sweep(
            options=config.tracking,
            home=config.runtime.home,
            sweep=sweep.name,
            name=_name(sweep),
            rows=point_rows(sweep, points, spelled),
            best=describe_best(sweep, points, command),
            failures={point.number: point.failure for point in failed},
            counts={"points": len(points) - len(failed), "failed": len(failed), "planned": sweep.total},
            status="FAILED" if failed and status == "FINISHED" else status,
        )
        console.print(f"MLflow run of the sweep: {run}", highlight=False)
    except TrackingError as failure:
        print(failure, file=sys.stderr)


def _is_logged(config: QuantizeConfig) -> bool:
    """Evaluations are not."""
    return not hasattr(config, "reference")


def _name(sweep: Sweep) -> str:
    return f"{sweep.model}: sweep of {', '.join(short_names(sweep.keys).values()) or 'one point'}"


def run_point(
    sweep: Sweep,
    number: int,
    overrides: tuple[str, ...],
    config: QuantizeConfig,
    run: Flow,
    explain_failure: ExplainFailure,
    *,
    hands_over: bool,
) -> Any:
    """Run one point, record how it went and return its metrics; None where it failed, which is no exception.

    A point that ``hands_over`` does not wait until MLflow has it; should MLflow refuse, its record tells later.
    """
    folder, keys = sweep.folder, sweep.keys
    point = Point(number, overrides, str(config.output_dir / str(number)), 0.0)
    varied = {short_names(keys)[key]: spelled(value, 24) for key, value in point.varied(keys).items() if value}
    values = ", ".join(f"{name}={value}" for name, value in varied.items())
    tracking = replace(config.tracking, sweep=sweep.name)
    if config.tracking.run_name is None and values:
        tracking = replace(tracking, run_name=f"{number}: {values}")
    # The points must not overwrite each other's output.
    config = replace(config, output_dir=Path(point.output), tracking=tracking)
    print(f"point {number} of {sweep.total}: {values}", file=sys.stderr, flush=True)
    started = time.perf_counter()
    try:
        with handing_over(partial(_refused, folder, number)) if hands_over else nullcontext():
            point = replace(point, **result_of(run(config, overrides)))
    except Exception as failure:  # noqa: BLE001 - the other points do not depend on this one
        code, line = explain_failure(failure)
        point = replace(point, failure=line or _with_traceback(failure, folder, number), code=code)
        print(f"point {number} failed: {point.failure}", file=sys.stderr, flush=True)
        if not isinstance(failure, TrackingError):
            _log_failure(config, point, folder)
    point = replace(point, seconds=time.perf_counter() - started)
    write_point(folder, point)
    return None if point.failure else point.metrics


def _refused(folder: Path, number: int, reason: str) -> None:
    """MLflow did not take a point that is done: it has failed after all."""
    for point in read_points(folder):
        if point.number == number:
            write_point(folder, replace(point, failure=reason, code=1))
    print(f"point {number} failed: {reason}", file=sys.stderr, flush=True)


def exit_code(folder: Path, bad_input: int, failed: int) -> int:
    """0 if all points are done, ``bad_input`` if that is all that failed, else ``failed``."""
    codes = {point.code for point in read_points(folder)} - {0}
    return 0 if not codes else bad_input if codes == {bad_input} else failed


def _with_traceback(failure: Exception, folder: Path, number: int) -> str:
    """The line for a failure whose traceback is kept in a file."""
    file = folder / "points" / f"{number}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(redacted("".join(traceback.format_exception(failure))), encoding="utf-8")
    first = (redacted(str(failure)).strip().splitlines() or ["no message"])[0]
    return f"{type(failure).__name__}: {first}; traceback in {file}"


def _log_failure(config: QuantizeConfig, point: Point, folder: Path) -> None:
    """A failed point is a run in MLflow too."""
    file = folder / "points" / f"{point.number}.txt"
    try:
        log_failed_point(
            config.tracking,
            config.runtime.home,
            name=config.tracking.run_name or config.model.name or Path(config.model.path).stem,
            parameters=flatten(config),
            failure=point.failure,
            files=(file,) if file.exists() else (),
        )
    except TrackingError as failure:
        print(failure, file=sys.stderr)
