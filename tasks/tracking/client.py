"""MLflow, in a process of its own: importing it takes seconds, which pass while the flow runs its first steps.

``start`` launches the process (see ``worker``), ``log`` gives it a run. The trials of a sweep share one process.
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
# Schemes of addresses at which MLflow keeps runs; a plain path has none.
SCHEMES = (
    *("file", "sqlite", "postgresql", "mysql", "mssql"),
    *("http", "https", "databricks", "databricks-uc", "uc"),
)
# The status of a run that is completed later.
RUNNING = "RUNNING"
# The tag of a sweep's run: the folder that is locked as long as the sweep runs.
SWEEP_FOLDER = "sweep.folder"
# The tag by which a process finds a run that an earlier process began to log.
RUN_KEY = "run.key"


class TrackingError(RuntimeError):
    """MLflow did not accept a run; the message ends with its reason."""


@dataclass(frozen=True)
class Run:
    """A run to log: values by name, files by path, texts by file name.

    Attributes:
        uri: Tracking URI; None stands for SQLite in ``home``.
        curves: Metrics of several steps, which MLflow plots.
        images: PNG files in base64 by name.
        datasets: ``name``, ``digest``, ``source``, ``role`` and ``profile`` of each.
        model: The model to log (see ``package_model.package_files``); it is registered if there is a ``release``.
        of_model: Metrics that also become the logged model's, on the data set whose role is ``validation``.
        release: ``records.Promotion`` as a dictionary.
        started: Unix time in seconds.
        sweep: The sweep of a trial; the trial becomes a child of the sweep's run, which whoever needs it first makes.
        leads: Whether this is the sweep's run, which is ``RUNNING`` until it is completed.
        key: MLflow has one run per key, however often it is logged.
        made: Unix time of all metrics, so that none is logged twice.
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
    """The identifier of a run in MLflow, and what became of the registered model, in words, if there is one."""

    run_id: str
    release: str = ""


# The process, and the homes of its runs. It works inside the home, so it can serve only one.
_waiting: list[tuple[LineProcess, set[str]]] = []


# Called if a run that was handed over fails; None where the caller waits.
_failed: ContextVar[Callable[[str], object] | None] = ContextVar("failed", default=None)


def start() -> None:
    """Launch the process, unless one waits already. If it gets no run to log, it ends together with this process."""
    if not _waiting:
        atexit.register(_stop)
        # Give up on a server that does not answer after 14 s, not four minutes.
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
    """Runs logged inside this context are handed over without waiting: ``Logged`` is empty.

    Args:
        failed: Called with the reason if MLflow refuses a run: when the next one is logged, or by :func:`collect`.
    """
    token = _failed.set(failed)
    try:
        yield
    finally:
        _failed.reset(token)


def collect() -> None:
    """Wait until MLflow has every run that was handed over."""
    for process, _ in _waiting:
        process.collect()


def log(run: Run) -> Logged:
    """The identifier of a run that MLflow has logged.

    Args:
        run: What to log.

    Raises:
        TrackingError: MLflow refuses it.
    """
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
    """Why MLflow has not logged the run. If the process died of it twice, another process ends the run."""
    reason = _reason(run, answer)
    if process.died:
        bare = Run(run.uri, run.home, run.experiment, run.name, key=run.key, sweep=run.sweep, leads=run.leads)
        process.ask(_question(replace(bare, tags=run.tags | {"failure": reason}, started=run.started, status="FAILED")))
    return reason


def _question(run: Run) -> dict[str, Any]:
    """The run as the process needs it, with the secrets of its address, which are never stored."""
    return asdict(run) | {"uri": revealed(run.uri)}


def _reason(run: Run, answer: Mapping[str, str]) -> str:
    where = f"tracking.uri '{run.uri}'" if run.uri else f"the database in '{run.home}'"
    written = "; the output is written" if run.status == "FINISHED" and not run.leads else ""
    reason = redacted(explained(answer["error"], run.uri, Path(run.home)))
    return f"{where}: MLflow could not log the run: {reason}{written}"


def unknown_scheme(uri: str) -> str | None:
    """The problem with a tracking address that MLflow would refuse only at the end of the run; None if there is none.

    Args:
        uri: The address; plugins of MLflow may add schemes.
    """
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if not scheme or scheme in SCHEMES:
        return None
    known = (*SCHEMES, *(plugin.name for plugin in entry_points(group="mlflow.tracking_store")))
    return None if scheme in known else unknown_message("scheme", scheme, known)


def fitting(text: str, longest: int, ending: str) -> str:
    """A text of at most ``longest`` characters; a longer text is cut and gets the ending.

    Args:
        text: Any text.
        longest: Largest number of characters, the ending included.
        ending: Says that the text was cut.
    """
    return text if len(text) <= longest else text[: longest - len(ending)] + ending


def create(home: Path, experiment: str) -> str:
    """The identifier of the experiment; database and experiment are created unless they exist.

    It imports MLflow into this process and changes the working directory to ``home``.

    Args:
        home: Folder of the database.
        experiment: Name of the experiment.

    Raises:
        TrackingError: MLflow refuses.
    """
    # MLflow would report every table.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - not in the process that only calls log()

    try:
        with created_once(None, home) as uri:
            return open_experiment(MlflowClient(uri), experiment, None, home)
    except Exception as failure:
        raise TrackingError(f"runtime.home: {explained(reason_line(failure), None, home)}") from failure


def open_experiment(client: Any, name: str, uri: str | None, home: Path) -> str:
    """The identifier of the experiment, which is created unless it exists.

    Args:
        client: MLflow's client.
        name: Name of the experiment.
        uri: Tracking URI; None stands for SQLite in ``home``.
        home: Folder of the database.
    """

    def open_it() -> Any:
        found = client.get_experiment_by_name(name)
        location = None if uri else (home / ARTIFACTS).as_uri()
        return found.experiment_id if found else client.create_experiment(name, artifact_location=location)

    return str(asked_again(open_it))


def asked_again(action: Callable[[], Any]) -> Any:
    """The result of an action that is tried twice.

    If two machines add the same thing at once, MLflow refuses one of them; the second attempt finds it.

    Args:
        action: Gets or creates something in MLflow.
    """
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - not in the process that only calls log()

    try:
        return action()
    except MlflowException:
        return action()


def open_sweep(client: Any, experiment: str, sweep: str) -> str:
    """The identifier of a sweep's run. The caller holds the lock, so that two trials never create one each.

    Args:
        client: MLflow's client.
        experiment: Identifier of the experiment.
        sweep: Name of the sweep.
    """
    tags = {"sweep": sweep}
    found = client.search_runs([experiment], f"tags.sweep = '{sweep}'", max_results=1)
    run = found[0] if found else client.create_run(experiment, run_name=f"sweep {sweep}", tags=tags)
    return str(run.info.run_id)
