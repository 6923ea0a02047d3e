"""The process that logs runs: the only place that writes a run to MLflow.

It reads runs from standard input, one line of JSON each (``client.Run``), and answers each with a line: the identifier
that MLflow gave it (``client.Logged``), or the reason of a failure.
"""

import base64
import fcntl
import json
import math
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from tasks.engine.atomic_folders import is_locked
from tasks.tracking.client import (
    RUN_KEY,
    RUNNING,
    SWEEP_FOLDER,
    Logged,
    Run,
    asked_again,
    fitting,
    open_experiment,
    open_sweep,
)
from tasks.tracking.database import created_once, reason_line
from tasks.tracking.resource_monitor import Monitor, Sample

# MLflow's limits: characters of a parameter's value, items in one call.
LONGEST_VALUE = 6000
LARGEST_BATCH = 100
_CUT = " ... (whole in manifest.json)"


def _log(run: Run, samples: Sequence[Sample], lock: IO[str]) -> Logged:
    """Log a run, holding ``lock`` as long as that takes."""
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - not in every process that knows this module

    with created_once(run.uri, Path(run.home)) as uri:
        client = MlflowClient(uri)
        experiment = open_experiment(client, run.experiment, run.uri, Path(run.home))
        if _joined(lock) and run.uri is None:
            _end_killed(client, experiment)
        leader = open_sweep(client, experiment, run.sweep) if run.sweep else None
    now = int(1000 * run.made)
    started = now if run.started is None else int(1000 * run.started)
    tags = run.tags | {RUN_KEY: run.key}
    if leader and run.leads:
        identifier = leader
        client.update_run(identifier, name=run.name)
    elif begun := client.search_runs([experiment], f"tags.`{RUN_KEY}` = '{run.key}'", max_results=1):
        identifier = str(begun[0].info.run_id)
    else:
        tags |= {"mlflow.parentRunId": leader} if leader else {}
        identifier = str(client.create_run(experiment, start_time=started, run_name=run.name, tags=tags).info.run_id)
        tags = {}
    try:
        for name, text in tags.items():
            client.set_tag(identifier, name, text)
        released = _fill(client, identifier, run, _points(run, samples if run.started else (), now, started), now)
    except Exception:
        with suppress(Exception):  # it cannot be ended for the reason for which it failed
            client.set_terminated(identifier, "FAILED")
        raise
    if run.status != RUNNING:
        client.set_terminated(identifier, run.status)
    return Logged(identifier, released.get("release", ""))


def _fill(client: Any, identifier: str, run: Run, points: list[Any], now: int) -> dict[str, str]:
    """Log the contents of the run; returns what became of the registered model, as tags."""
    from mlflow.entities import Param  # noqa: PLC0415 - see _log

    from tasks.tracking import registry  # noqa: PLC0415

    _log_datasets(client, identifier, run)
    parameters = [Param(name, fitting(str(value), LONGEST_VALUE, _CUT)) for name, value in run.parameters.items()]
    for begin in range(0, len(parameters), LARGEST_BATCH):
        client.log_batch(identifier, params=parameters[begin : begin + LARGEST_BATCH])
    model = None
    if run.model is not None:
        # Under the lock again: of two runs that made the same model, one logs it. Before the metrics, or MLflow
        # would count all of them as the model's, those of the float model too.
        with created_once(run.uri, Path(run.home)) as uri:
            model = registry.log_model(client, uri, identifier, run.model, alone=run.uri is None)
    points = [*_metrics(run, now, model), *points]
    for begin in range(0, len(points), LARGEST_BATCH):
        client.log_batch(identifier, metrics=points[begin : begin + LARGEST_BATCH])
    _log_files(client, identifier, run)
    released: dict[str, str] = {}
    if run.model is not None and model and run.release:
        with created_once(run.uri, Path(run.home)):
            released = registry.release(client, identifier, model, run.model["digest"], run.release)
        for name, text in released.items():
            client.set_tag(identifier, name, text)
    return released


def _log_files(client: Any, identifier: str, run: Run) -> None:
    for file in run.files:
        client.log_artifact(identifier, file)
    for name, text in run.texts.items():
        client.log_text(identifier, text, name)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in run.images.items():
            (Path(folder) / name).write_bytes(base64.b64decode(text))
        if run.images:
            client.log_artifacts(identifier, folder, "plots")


def _joined(lock: IO[str]) -> bool:
    """Whether no other process logs runs of this home; others now see that this one does. The caller holds the lock."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        alone = False
    else:
        alone = True
    fcntl.flock(lock, fcntl.LOCK_SH)
    return alone


def _end_killed(client: Any, experiment: str) -> None:
    """End the runs that a killed process left: they would seem to run forever."""
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        folder = run.data.tags.get(SWEEP_FOLDER)
        ours = {"prefect.flow_run_id", RUN_KEY} & run.data.tags.keys()
        if not is_locked(Path(folder)) if folder else ours:
            client.set_terminated(run.info.run_id, "KILLED")


def _metrics(run: Run, now: int, model: str | None) -> list[Any]:
    """The finite metrics; those of the logged model together with the data set on which they were measured."""
    from mlflow.entities import Metric  # noqa: PLC0415 - see _log

    judged = next((each for each in run.datasets if each["role"] == "validation"), {})
    owned = {"model_id": model, "dataset_name": judged.get("name"), "dataset_digest": judged.get("digest")}
    finite = {name: value for name, value in run.metrics.items() if value is not None and math.isfinite(value)}
    return [
        Metric(name, value, now, 0, **(owned if model and name in run.of_model else {}))
        for name, value in finite.items()
    ]


def _points(run: Run, samples: Sequence[Sample], now: int, started: int) -> list[Any]:
    """The curves, and the machine's samples since ``started``; times are in milliseconds."""
    from mlflow.entities import Metric  # noqa: PLC0415 - see _log

    points = [
        Metric(name, value, now, step)
        for name, values in run.curves.items()
        for step, value in enumerate(values)
        if math.isfinite(value)
    ]
    return points + [
        Metric(name, value, int(1000 * sample.clock), step)
        for step, sample in enumerate(each for each in samples if 1000 * each.clock >= started)
        for name, value in sample.values.items()
    ]


def _log_datasets(client: Any, identifier: str, run: Run) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag  # noqa: PLC0415 - see _log

    inputs = [
        DatasetInput(
            Dataset(each["name"], each["digest"], "local", each["source"], profile=each["profile"]),
            [InputTag("mlflow.data.context", each["role"])],
        )
        for each in run.datasets
    ]
    if inputs:
        asked_again(lambda: client.log_inputs(identifier, inputs))


def _serve() -> None:
    monitor = Monitor(os.getppid())
    monitor.start()
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401, PLC0415 - loaded while nobody waits

    # What a library prints must not be read as an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        run = Run(**json.loads(line))
        # The run of a sweep has no samples: they belong to the trial that runs.
        samples = [] if run.leads else monitor.stop()
        try:
            Path(run.home).mkdir(parents=True, exist_ok=True)
            with (Path(run.home) / "mlflow.runs.lock").open("w") as lock:
                answer = asdict(_log(run, samples, lock))
        except Exception as failure:  # noqa: BLE001 - the user gets any reason of MLflow's
            answer = {"error": reason_line(failure)}
            traceback.print_exc()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if not run.leads:
            monitor = Monitor(os.getppid())
            monitor.start()
    # Everything is written: a regular exit would unload a thousand modules for most of a second.
    os._exit(0)


if __name__ == "__main__":
    _serve()
