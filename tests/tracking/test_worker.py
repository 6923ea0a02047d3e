"""Runs logged by real processes: killed in the middle, several at once, with a server and without."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.data.arrays import Arrays
from tasks.engine.artifact_store import Store
from tasks.engine.atomic_folders import locked
from tasks.records import Runtime
from tasks.steps.load_dataset import load_dataset
from tasks.steps.package_model import package_files, package_model
from tasks.tracking import registry
from tasks.tracking.client import RUNNING, SWEEP_FOLDER, Run
from tasks.tracking.database import reason_line
from tests.flows.conftest import own_environment, wait_until_up
from tests.support import models as m

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore:.*type hint"),
]
DATASETS = (
    {"name": "a", "digest": "1", "source": "{}", "role": "calibration", "profile": "{}"},
    {"name": "b", "digest": "2", "source": "{}", "role": "validation", "profile": "{}"},
)


def packed(folder: Path, name: str = "relu") -> dict[str, Any]:
    """The files of a model; another name of its layer, another digest."""
    runtime = Runtime(folder / "made", threads=1, progress=False)
    model = Store(runtime.home).put_model(m.build(m.relu(m.image("x"), name)), "model")
    np.savez(folder / "data.npz", x=np.ones((1, 4, 8, 8), np.float32))
    samples = load_dataset.fn(Arrays(folder / "data.npz"), "", 1, runtime)
    return package_files(model, package_model.fn(model, samples, runtime), runtime)


def a_run(home: Path, model: dict[str, Any], uri: str | None = None, reasons: Sequence[str] = ()) -> str:
    metrics: dict[str, float | None] = {
        "float/top1": 80.0,
        "int8/top1": 79.0,
        "difference/top1": -1.0,
        "int8/none": None,
    }
    release = {"name": "ours", "alias": "champion", "reasons": list(reasons)}
    tags = {"prefect.flow_run_id": "1", "mlflow.source.name": "ptq-quantize"}
    run = Run(uri, str(home), "e", "name", {"key": 1}, metrics, tags, [], {}, {"curve": [1.0, 2.0]})
    mine = {"datasets": DATASETS, "model": model, "release": release, "of_model": ["int8/top1", "difference/top1"]}
    return json.dumps(asdict(run) | mine) + "\n"


class Logger:
    """The process that logs, in its own environment."""

    def __init__(self, folder: Path, *words: str) -> None:
        command = [sys.executable, "-P", *(words or ("-m", "tasks.tracking.worker"))]
        environment = own_environment(folder) | {"MLFLOW_DISABLE_TELEMETRY": "true"}
        streams: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=environment, text=True, **streams)

    def answer(self, line: str = "") -> dict[str, Any]:
        out, err = self.process.communicate(line or None, timeout=120)
        assert out, err
        found: dict[str, Any] = json.loads(out)
        assert "error" not in found, err
        return found


def client(uri: str | Path) -> Any:
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - a second that no other test waits for

    return MlflowClient(uri if isinstance(uri, str) else f"sqlite:///{uri}/mlflow.db")


def statuses(store: Any) -> list[str]:
    """How the runs ended, the first one first."""
    return [run.info.status for run in store.search_runs(["1"], order_by=["start_time", "end_time"])]


def test_metrics_belong_to_the_model_and_its_data(tmp_path: Path) -> None:
    home = tmp_path / "home"
    answer = Logger(tmp_path).answer(a_run(home, packed(tmp_path)))
    store = client(home)
    run = store.get_run(answer["run_id"])
    assert run.data.metrics == {"float/top1": 80.0, "int8/top1": 79.0, "difference/top1": -1.0, "curve": 2.0}
    model = store.get_logged_model(run.outputs.model_outputs[0].model_id)
    found = {each.key: (each.value, each.dataset_name, each.dataset_digest) for each in model.metrics}
    assert found == {"int8/top1": (79.0, "b", "2"), "difference/top1": (-1.0, "b", "2")}
    assert model.params["key"] == "1"
    assert model.tags["mlflow.source.name"] == "ptq-quantize"


# --- killed

KILLED = """
import os, signal, sys
from mlflow.tracking import MlflowClient
from tasks.tracking.worker import _serve
name, when = sys.argv[1:]
real = getattr(MlflowClient, name)
def fatal(*arguments, **named):
    if when == "after":
        real(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(MlflowClient, name, fatal)
_serve()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "when", "end"),
    [
        ("finalize_logged_model", "before", "moved here"),
        ("create_registered_model", "after", "moved here"),
        ("_create_model_version", "after", "moved here"),
        ("set_model_version_tag", "after", "moved here"),
        ("set_registered_model_alias", "before", "moved here"),
        ("set_registered_model_alias", "after", "is here already"),
        ("set_terminated", "before", "is here already"),
    ],
)
def test_after_a_killed_run_the_next_one_finds_order(tmp_path: Path, call: str, when: str, end: str) -> None:
    home, model = tmp_path / "home", packed(tmp_path)
    killed = Logger(tmp_path, "-c", KILLED, call, when).process
    killed.communicate(a_run(home, model), timeout=120)
    assert killed.returncode == -9
    store = client(home)
    assert statuses(store) == ["RUNNING"]
    # Whatever has the alias is whole.
    for name in [each.name for each in store.search_registered_models()]:
        for version in store.get_registered_model(name).aliases.values():
            tags = store.get_model_version(name, str(version)).tags
            assert set(tags) == {"digest", "source_run"}
    answer = Logger(tmp_path).answer(a_run(home, model))
    assert answer["release"] == f"ours version 1, alias champion {end}"
    versions = store.search_model_versions("name = 'ours'")
    assert [(version.version, version.status, version.tags["digest"]) for version in versions] == [
        (1, "READY", model["digest"])
    ]
    assert store.get_registered_model("ours").aliases == {"champion": 1}
    assert statuses(store) == ["KILLED", "FINISHED"]
    logged = [str(each.status) for each in store.search_logged_models(["1"])]
    assert sorted(logged) == (["FAILED", "READY"] if call == "finalize_logged_model" else ["READY"])


def test_only_the_run_of_a_sweep_that_is_gone_is_ended(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    for name in ("gone", "here"):
        (tmp_path / name).mkdir()
    sweeps = [
        Run(None, home, "e", name, tags={SWEEP_FOLDER: str(tmp_path / name)}, sweep=name, leads=True, status=RUNNING)
        for name in ("gone", "here")
    ]
    with locked(tmp_path / "here"):
        for run in sweeps:  # a process each, as of commands that were killed
            Logger(tmp_path).answer(json.dumps(asdict(run)) + "\n")
        Logger(tmp_path).answer(json.dumps(asdict(Run(None, home, "e", "next"))) + "\n")
    found = {run.info.run_name: run.info.status for run in client(tmp_path / "home").search_runs(["1"])}
    assert found == {"gone": "KILLED", "here": "RUNNING", "next": "FINISHED"}


KILLED_IN_A_MIGRATION = """
import os, signal
from alembic.runtime.migration import HeadMaintainer
from tasks.tracking.worker import _serve
HeadMaintainer.update_to_step = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
_serve()
"""


def test_a_database_whose_creation_was_cut_short_is_made_again(tmp_path: Path) -> None:
    line = json.dumps(asdict(Run(None, str(tmp_path / "home"), "e", "name"))) + "\n"
    killed = Logger(tmp_path, "-c", KILLED_IN_A_MIGRATION).process
    killed.communicate(line, timeout=120)
    assert killed.returncode == -9
    run = Logger(tmp_path).answer(line)["run_id"]
    assert client(tmp_path / "home").get_run(run).info.status == "FINISHED"


# --- at once


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a tracking server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["server", "--workers=2", f"--port={port}", "--backend-store-uri=sqlite:///t.db"]
    environment = own_environment(tmp_path) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (tmp_path / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            cwd=tmp_path,
            env=environment | {"PATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_up(f"http://127.0.0.1:{port}/health", process, tmp_path / "log.txt")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def at_once(folder: Path, lines: Sequence[str]) -> list[dict[str, Any]]:
    """The answers of as many processes, which wait for their run with everything imported."""
    loggers = [Logger(folder) for _ in lines]
    time.sleep(10)
    with ThreadPoolExecutor(len(lines)) as pool:
        return list(pool.map(lambda pair: pair[0].answer(pair[1]), zip(loggers, lines, strict=True)))


@pytest.mark.slow
def test_machines_that_register_the_same_model_at_once_share_a_version(tmp_path: Path, server: str) -> None:
    model = packed(tmp_path)
    answers = at_once(tmp_path, [a_run(tmp_path / f"home{place}", model, server) for place in range(4)])
    store = client(server)
    versions = [version.version for version in store.search_model_versions("name = 'ours'")]
    assert len(versions) == 1
    assert {str(version) for version in store.get_registered_model("ours").aliases.values()} == {str(versions[0])}
    for answer in answers:
        assert answer["release"].startswith(f"ours version {versions[0]}, alias champion ")


@pytest.mark.slow
@pytest.mark.parametrize("with_server", [True, False])
def test_of_models_released_at_once_each_has_a_version_and_one_the_alias(
    tmp_path: Path, request: pytest.FixtureRequest, with_server: bool
) -> None:
    uri = request.getfixturevalue("server") if with_server else None
    lines = [
        a_run(tmp_path / (f"home{place}" if with_server else "home"), packed(tmp_path, f"relu {place}"), uri)
        for place in range(4)
    ]
    answers = at_once(tmp_path, lines)
    store = client(uri or tmp_path / "home")
    assert sorted(int(version.version) for version in store.search_model_versions("name = 'ours'")) == [1, 2, 3, 4]
    told = {answer["release"].split()[2].rstrip(","): answer["release"] for answer in answers}
    assert sorted(told) == ["1", "2", "3", "4"]
    last = str(store.get_registered_model("ours").aliases["champion"])
    assert "moved here" in told[last]
    assert "another run" not in told[last]
    assert set(statuses(store)) == {"FINISHED"}


def test_the_earlier_of_two_versions_of_one_model_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine registers the model between our search and our registration."""
    import mlflow  # noqa: PLC0415 - a second that no other test waits for

    home, model = tmp_path / "home", packed(tmp_path)
    run = Logger(tmp_path).answer(a_run(home, model, reasons=["too slow"]))
    assert run["release"] == "ours version 1, alias champion is given to no version; too slow"
    store = client(home)
    identifier = store.get_run(run["run_id"]).outputs.model_outputs[0].model_id
    monkeypatch.setattr(registry, "_versions", hidden_once(registry._versions))
    mlflow.set_tracking_uri(f"sqlite:///{home}/mlflow.db")
    rule = {"name": "ours", "alias": "champion", "reasons": []}
    told = registry.release(store, run["run_id"], identifier, model["digest"], rule)
    assert told["release"] == "ours version 1, alias champion moved here"
    assert "refused" not in store.get_model_version("ours", "1").tags
    assert [version.version for version in store.search_model_versions("name = 'ours'")] == [1]


def hidden_once(real: Any) -> Any:
    calls: list[int] = []

    def versions(*arguments: Any) -> Any:
        calls.append(1)
        return [] if len(calls) == 1 else real(*arguments)

    return versions


@pytest.mark.parametrize(
    "added",
    [
        "",
        "\n[SQL: SELECT a\nFROM b\n WHERE a = ?]\n[parameters: (1,)]\n(Background on this error at: https://x)",
        "\n(Background on this error at: https://x)",
    ],
)
def test_the_reason_is_the_last_line_in_front_of_what_sqlalchemy_adds(added: str) -> None:
    failure = OSError(f"first\n(sqlite3.OperationalError) database or disk is full{added}")
    assert reason_line(failure) == "(sqlite3.OperationalError) database or disk is full"


def test_an_alias_that_another_run_moves_on_is_told() -> None:
    expected = "moved here from version 1; another run has moved it on to version 3"
    assert registry._whereabouts("2", "1", "3", ()) == expected
    assert registry._whereabouts("2", "1", "2", ()) == "moved here from version 1"
    assert registry._whereabouts("2", "2", "2", ()) == "is here already"
    assert registry._whereabouts("2", "1", "1", ("slow",)) == "stays at version 1"
