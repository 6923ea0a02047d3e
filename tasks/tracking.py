"""MLflow, in a process of its own: importing it takes seconds, which pass while the flow runs its first steps.

The only module that knows MLflow. ``start`` launches the process, ``log`` hands it a run; run as a script, the module
is that process: it reads runs from standard input, a line of JSON each, and answers each with a line: the identifier
that MLflow gave it, or why there is none. So the points of a sweep share one process.
"""

import atexit
import base64
import fcntl
import json
import math
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tasks.line_process import LineProcess
from tasks.monitoring import Monitor, Sample

# MLflow's limits: characters of a parameter's value, parameters in one call.
LONGEST_VALUE = 6000
LARGEST_BATCH = 100
_CUT = " ... (whole in manifest.json)"


class TrackingError(RuntimeError):
    """MLflow did not take a run; the message ends with its reason."""


@dataclass(frozen=True)
class Run:
    """What is logged: values by name, files by path, texts by file name. ``uri`` None stands for SQLite in ``home``.

    ``curves`` are metrics of several steps, which MLflow plots; ``images`` are PNG files in base64 by name;
    ``datasets`` have ``name``, ``digest``, ``source``, ``role`` and ``profile`` each. ``model`` is logged as one of
    MLflow's (see ``package_model.package_files``), and registered if there is a ``release`` (``records.Promotion``).
    ``started`` is a time of the clock in seconds. ``sweep`` names the sweep that the run is a point of: it becomes a
    child of the sweep's run, which is made by whoever needs it first. ``leads`` tells that it is the sweep's run.
    """

    uri: str | None
    home: str
    experiment: str
    name: str
    parameters: dict[str, Any]
    metrics: dict[str, float | None]
    tags: dict[str, str]
    files: Sequence[str]
    texts: dict[str, str]
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    datasets: Sequence[dict[str, str]] = ()
    model: dict[str, Any] | None = None
    release: dict[str, Any] | None = None
    started: float | None = None
    sweep: str | None = None
    leads: bool = False
    status: str = "FINISHED"


@dataclass(frozen=True)
class Logged:
    """The identifier of a run in MLflow, and in words what became of the registered model, if there is one."""

    run_id: str
    release: str = ""


# The process, and the homes of the runs that it logged: it works in there, so that one is all it can serve.
_waiting: list[tuple[LineProcess, set[str]]] = []


def start() -> None:
    """Launch the process, unless it waits already. Without a run to log it ends together with this one."""
    if not _waiting:
        atexit.register(_stop)
        # -P: the user's folder may hold a `tasks` or a `json.py` of its own.
        command = [sys.executable, "-P", "-m", "tasks.tracking"]
        # A server that does not answer is given up after 14 s instead of four minutes.
        settings = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"} | os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
        _waiting.append((LineProcess(command, settings), set()))


def _stop() -> None:
    while _waiting:
        _waiting.pop()[0].end()


def log(run: Run) -> Logged:
    """Log a run. Raises TrackingError when that fails."""
    if _waiting and _waiting[0][1] - {run.home}:
        _stop()
    start()
    process, homes = _waiting.pop()  # if this is interrupted, nobody takes its answer for another's
    answer = process.ask(asdict(run))
    if "error" not in answer:
        _waiting.append((process, homes | {run.home}))
        return Logged(**answer)
    process.end()
    where = f"tracking.uri '{run.uri}'" if run.uri else f"the database in '{run.home}'"
    written = "; the output is written" if run.status == "FINISHED" and not run.leads else ""
    msg = f"{where}: MLflow could not log the run: {answer['error']}{written}"
    raise TrackingError(msg)


def _log_here(run: Run, samples: Sequence[Sample]) -> Logged:
    from mlflow.entities import Metric, Param  # noqa: PLC0415 - not in the process that only calls log()
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    from tasks import registry  # noqa: PLC0415

    with created_once(run.uri, Path(run.home)) as uri:
        client = MlflowClient(uri)
        experiment = _experiment(client, run.experiment, run.uri, Path(run.home))
        leader = _leader(client, experiment, run.sweep) if run.sweep else None
    now = int(1000 * time.time())
    started = now if run.started is None else int(1000 * run.started)
    if leader and run.leads:
        identifier = leader
        client.update_run(identifier, name=run.name)
        for name, text in run.tags.items():
            client.set_tag(identifier, name, text)
    else:
        parent = {"mlflow.parentRunId": leader} if leader else {}
        created = client.create_run(experiment, start_time=started, run_name=run.name, tags=run.tags | parent)
        identifier = str(created.info.run_id)
    finite = {name: value for name, value in run.metrics.items() if value is not None and math.isfinite(value)}
    client.log_batch(identifier, metrics=[Metric(name, value, now, 0) for name, value in finite.items()])
    points = [
        Metric(name, value, now, step)
        for name, values in run.curves.items()
        for step, value in enumerate(values)
        if math.isfinite(value)
    ]
    points += [
        Metric(name, value, int(1000 * sample.clock), step)
        for step, sample in enumerate(each for each in samples if 1000 * each.clock >= started)
        for name, value in sample.values.items()
    ]
    for begin in range(0, len(points), LARGEST_BATCH):
        client.log_batch(identifier, metrics=points[begin : begin + LARGEST_BATCH])
    _log_datasets(client, identifier, run)
    parameters = [Param(name, _fitting(str(value))) for name, value in run.parameters.items()]
    for begin in range(0, len(parameters), LARGEST_BATCH):
        client.log_batch(identifier, params=parameters[begin : begin + LARGEST_BATCH])
    for file in run.files:
        client.log_artifact(identifier, file)
    for name, text in run.texts.items():
        client.log_text(identifier, text, name)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in run.images.items():
            (Path(folder) / name).write_bytes(base64.b64decode(text))
        if run.images:
            client.log_artifacts(identifier, folder, "plots")
    released: dict[str, str] = {}
    if run.model is not None:
        # Under the lock again: of two runs that made the same model, one registers it.
        with created_once(run.uri, Path(run.home)) as uri:
            released = registry.publish(client, uri, identifier, run.model, run.release)
        for name, text in released.items():
            client.set_tag(identifier, name, text)
    client.set_terminated(identifier, run.status)
    return Logged(identifier, released.get("release", ""))


def _fitting(value: str) -> str:
    """A parameter's value, which says so where it had to be cut."""
    return value if len(value) <= LONGEST_VALUE else value[: LONGEST_VALUE - len(_CUT)] + _CUT


def _log_datasets(client: Any, identifier: str, run: Run) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag  # noqa: PLC0415 - see _log_here

    inputs = [
        DatasetInput(
            Dataset(each["name"], each["digest"], "local", each["source"], profile=each["profile"]),
            [InputTag("mlflow.data.context", each["role"])],
        )
        for each in run.datasets
    ]
    if inputs:
        client.log_inputs(identifier, inputs)


def create(home: Path, experiment: str) -> str:
    """Create the database in ``home`` and the experiment in it, unless they are there; the experiment's identifier.

    It imports MLflow into this process and changes to ``home``.
    """
    # It would tell of every table.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - see _log_here

    with created_once(None, home) as uri:
        return _experiment(MlflowClient(uri), experiment, None, home)


@contextmanager
def created_once(uri: str | None, home: Path) -> Iterator[str]:
    """The tracking URI, under a lock: two processes that open a fresh SQLite database break its migrations."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if uri is None:
            # A relative path, because a home may hold characters that mean something else in a URI.
            os.chdir(home)
        yield uri or "sqlite:///mlflow.db"


def _experiment(client: Any, name: str, uri: str | None, home: Path) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = None if uri else (home / "mlartifacts").as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def _leader(client: Any, experiment: str, sweep: str) -> str:
    """The run of a sweep. The caller holds the lock, so that points that end at once do not make one each."""
    tags = {"sweep": sweep}
    found = client.search_runs([experiment], f"tags.sweep = '{sweep}'", max_results=1)
    run = found[0] if found else client.create_run(experiment, run_name=f"sweep {sweep}", tags=tags)
    return str(run.info.run_id)


def _serve() -> None:
    monitor = Monitor(os.getppid())
    monitor.start()
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401, PLC0415 - loaded while nobody waits

    # What a library prints must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        samples = monitor.stop()
        try:
            answer = asdict(_log_here(Run(**json.loads(line)), samples))
        except Exception as failure:  # noqa: BLE001 - whatever MLflow says, the user is told
            answer = {"error": traceback.format_exception_only(failure)[-1].strip().splitlines()[-1]}
            traceback.print_exc()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        monitor = Monitor(os.getppid())
        monitor.start()
    # All is written: taking a thousand modules apart would keep the user waiting for most of a second.
    os._exit(0)


if __name__ == "__main__":
    _serve()
