"""MLflow, in a process of its own: importing it takes seconds, which pass while the flow runs its first steps.

``start`` launches the process (see ``tracking_process``), ``log`` hands it a run. The trials of a sweep share one.
"""

import atexit
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from tasks.engine.helper_process import LineProcess
from tasks.errors import unknown_message
from tasks.redaction import redacted, revealed
from tasks.tracking.database import created_once, explained, reason_line
from tasks.tracking.moved_home import ARTIFACTS

# -P: the user's folder may hold a `tasks` or a `json.py` of its own.
COMMAND = (sys.executable, "-P", "-m", "tasks.tracking.worker")
# Of addresses that MLflow keeps runs at; a plain path has none.
SCHEMES = (
    *("file", "sqlite", "postgresql", "mysql", "mssql"),
    *("http", "https", "databricks", "databricks-uc", "uc"),
)
# The status of a run that is completed later.
RUNNING = "RUNNING"
# The tag of a sweep's run that names the folder which is locked as long as the sweep runs.
SWEEP_FOLDER = "sweep.folder"
# The tag of each run by which a process finds what one before it has begun to log.
RUN_KEY = "run.key"


class TrackingError(RuntimeError):
    """MLflow did not take a run; the message ends with its reason."""


@dataclass(frozen=True)
class Run:
    """What is logged: values by name, files by path, texts by file name. ``uri`` None stands for SQLite in ``home``.

    ``curves`` are metrics of several steps, which MLflow plots; ``images`` are PNG files in base64 by name;
    ``datasets`` have ``name``, ``digest``, ``source``, ``role`` and ``profile`` each. ``model`` is logged as one of
    MLflow's (see ``package_model.package_files``), and registered if there is a ``release`` (``records.Promotion``);
    metrics called ``of_model`` become its own as well, found on the data set whose role is ``validation``.
    ``started`` is a time of the clock in seconds. ``sweep`` names the sweep that the run is a trial of: it becomes a
    child of the sweep's run, which is made by whoever needs it first. ``leads`` tells that it is the sweep's run, which
    is ``RUNNING`` until it is completed. However often it is logged, MLflow has one run of a ``key``, and no metric
    twice: they are of the time that the run was ``made``.
    """

    uri: str | None
    home: str
    experiment: str
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    files: Sequence[str] = ()
    texts: dict[str, str] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    datasets: Sequence[dict[str, str]] = ()
    model: dict[str, Any] | None = None
    of_model: Sequence[str] = ()
    release: dict[str, Any] | None = None
    started: float | None = None
    sweep: str | None = None
    leads: bool = False
    status: str = "FINISHED"
    key: str = field(default_factory=lambda: uuid4().hex)
    made: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Logged:
    """The identifier of a run in MLflow, and in words what became of the registered model, if there is one."""

    run_id: str
    release: str = ""


# The process, and the homes of the runs that it logged: it works in there, so that one is all it can serve.
_waiting: list[tuple[LineProcess, set[str]]] = []


# What to do when a run fails that was handed over; None where the caller waits.
_failed: ContextVar[Callable[[str], object] | None] = ContextVar("failed", default=None)


def start() -> None:
    """Launch the process, unless it waits already. Without a run to log it ends together with this one."""
    if not _waiting:
        atexit.register(_stop)
        # A server that does not answer is given up after 14 s instead of four minutes.
        settings = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"} | os.environ
        _waiting.append((LineProcess(COMMAND, settings, _started_anew), set()))


def _started_anew(how: str) -> None:
    sys.stderr.write(f"MLflow: {how}; a new one logs the run, without system metrics up to now\n")


def _stop() -> None:
    collect()
    while _waiting:
        _waiting.pop()[0].end()


@contextmanager
def handing_over(failed: Callable[[str], object]) -> Iterator[None]:
    """Runs logged in here are handed over, and the caller goes on: ``Logged`` is empty.

    ``failed`` is called with the reason if MLflow refuses one: when the next run is logged, or by :func:`collect`.
    """
    token = _failed.set(failed)
    try:
        yield
    finally:
        _failed.reset(token)


def collect() -> None:
    """Wait until MLflow has all runs that were handed over."""
    for process, _ in _waiting:
        process.collect()


def log(run: Run) -> Logged:
    """Log a run. Raises TrackingError when that fails."""
    if _waiting and _waiting[0][1] - {run.home}:
        _stop()
    start()
    process, homes = _waiting[0]
    homes.add(run.home)
    if failed := _failed.get():
        process.tell(
            _question(run), lambda answer: failed(_refusal(process, run, answer)) if "error" in answer else None
        )
        return Logged("")
    answer = process.ask(_question(run))
    if "error" not in answer:
        return Logged(**answer)
    reason = _refusal(process, run, answer)
    _stop()
    raise TrackingError(reason)


def _refusal(process: LineProcess, run: Run, answer: Mapping[str, str]) -> str:
    """Why MLflow has not got the run. One that the process died of, twice, is ended by another process."""
    reason = _reason(run, answer)
    if process.died:
        bare = Run(run.uri, run.home, run.experiment, run.name, key=run.key, sweep=run.sweep, leads=run.leads)
        process.ask(_question(replace(bare, tags=run.tags | {"failure": reason}, started=run.started, status="FAILED")))
    return reason


def _question(run: Run) -> dict[str, Any]:
    """The run as the process needs it: the address alone is more than may be kept."""
    return asdict(run) | {"uri": revealed(run.uri)}


def _reason(run: Run, answer: Mapping[str, str]) -> str:
    where = f"tracking.uri '{run.uri}'" if run.uri else f"the database in '{run.home}'"
    written = "; the output is written" if run.status == "FINISHED" and not run.leads else ""
    reason = redacted(explained(answer["error"], run.uri, Path(run.home)))
    return f"{where}: MLflow could not log the run: {reason}{written}"


def unknown_scheme(uri: str) -> str | None:
    """What is wrong with an address that MLflow would refuse when all is done; its plugins may know more."""
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if not scheme or scheme in SCHEMES:
        return None
    known = (*SCHEMES, *(plugin.name for plugin in entry_points(group="mlflow.tracking_store")))
    return None if scheme in known else unknown_message("scheme", scheme, known)


def fitting(text: str, longest: int, ending: str) -> str:
    """At most so many characters of a text, with an ending that says so where it had to be cut."""
    return text if len(text) <= longest else text[: longest - len(ending)] + ending


def create(home: Path, experiment: str) -> str:
    """Create the database in ``home`` and the experiment in it, unless they are there; the experiment's identifier.

    It imports MLflow into this process and changes to ``home``. Raises TrackingError where MLflow refuses.
    """
    # It would tell of every table.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - not in the process that only calls log()

    try:
        with created_once(None, home) as uri:
            return open_experiment(MlflowClient(uri), experiment, None, home)
    except Exception as failure:
        raise TrackingError(f"runtime.home: {explained(reason_line(failure), None, home)}") from failure


def open_experiment(client: Any, name: str, uri: str | None, home: Path) -> str:
    """The identifier of the experiment, which is made if it is not there."""

    def open_it() -> Any:
        found = client.get_experiment_by_name(name)
        location = None if uri else (home / ARTIFACTS).as_uri()
        return found.experiment_id if found else client.create_experiment(name, artifact_location=location)

    return str(asked_again(open_it))


def asked_again(action: Callable[[], Any]) -> Any:
    """What the action returns. Of two machines that add the same thing at once MLflow refuses one: now it is there."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - not in the process that only calls log()

    try:
        return action()
    except MlflowException:
        return action()


def open_sweep(client: Any, experiment: str, sweep: str) -> str:
    """The run of a sweep. The caller holds the lock, so that trials that end at once do not make one each."""
    tags = {"sweep": sweep}
    found = client.search_runs([experiment], f"tags.sweep = '{sweep}'", max_results=1)
    run = found[0] if found else client.create_run(experiment, run_name=f"sweep {sweep}", tags=tags)
    return str(run.info.run_id)
