"""One Prefect server for all tests of flows, the commands as a user runs them, and the flow inside this process."""

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_LEVEL,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_RESULTS_LOCAL_STORAGE_PATH,
    temporary_settings,
)

from flows.quantize import quantize
from tasks.config.schema import QuantizeConfig, from_hydra
from tasks.engine.atomic_folders import locked
from tasks.engine.caching import results_folder
from tasks.records import Report
from tasks.tracking.client import Logged
from tests.conftest import GUARD, REACHED

SCRIPTS = Path(sys.executable).parent
QUICK = ("evaluation.speed_seconds=0",)
# Layers analysed and plots drawn take longer than all else of a small model: for tests that look at neither.
UNREVIEWED = ("evaluation.page=false", "evaluation.analyze=false")
REVIEW = ("evaluation.page=true", "evaluation.analyze=true")
MEASURES = ("ptq-quantize", "ptq-evaluate", "ptq-plan", "ptq-pot")
FOREIGN = ("PREFECT_", "MLFLOW_", "PTQ_", "HYDRA_", "DO_NOT_TRACK", "NO_COLOR", "FORCE_COLOR")
START_SECONDS = 120


@dataclass(frozen=True)
class Outcome:
    """What a command did: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def complaints(self) -> list[str]:
        """The lines of standard error that are not about stages."""
        return [line for line in self.err.splitlines() if line and not line.startswith("  ")]


@dataclass(frozen=True)
class Commands:
    """The commands, run in ``folder`` with state in ``home``."""

    environment: dict[str, str]
    folder: Path
    home: Path

    def start(self, command: str, *arguments: str, home: Path | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [SCRIPTS / command, *(QUICK if command in MEASURES else ()), *arguments],
            cwd=self.folder,
            env=self.environment | {"PTQ_HOME": str(home or self.home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, command: str, *arguments: str, home: Path | None = None) -> Outcome:
        return finish(self.start(command, *arguments, home=home))


def finish(process: subprocess.Popen[str]) -> Outcome:
    out, err = process.communicate(timeout=START_SECONDS)
    return Outcome(process.returncode, out, err)


def own_environment(home: Path) -> dict[str, str]:
    """The environment without what would lead a test to the user's servers, databases, settings, or to the net."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {"HOME": str(home), "COLUMNS": "200", "PYTHONPATH": str(GUARD), "REACHED": str(REACHED)}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Prefect server of our own, one for all workers: a temporary one for each run would take 10 s each.

    Whoever needs it first starts it, and ends it when nobody needs it any more.
    """
    folder = server_folder(tmp_path_factory)
    folder.mkdir(exist_ok=True)
    process = None
    with (folder / "users").open("w") as users:
        with locked(folder):
            if not (folder / "url").exists():
                process, url = start_server(folder)
                (folder / "url").write_text(url)
            fcntl.flock(users, fcntl.LOCK_SH)
        yield (folder / "url").read_text()
        while process:
            with locked(folder), contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (folder / "url").unlink()
                process.terminate()
                process.wait(30)
                process = None
            time.sleep(0.1)


def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server has its database, whichever worker started it."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "server"


def start_server(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """The process of a server that answers, and its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [SCRIPTS / "prefect", "server", "start", "--host=127.0.0.1", f"--port={port}", "--no-services", "--no-ui"],
            env=own_environment(folder) | settings,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_up(f"http://127.0.0.1:{port}/api/health", process, folder / "log.txt")
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process, f"http://127.0.0.1:{port}/api"


def wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"the Prefect server did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def commands(server: str, tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """The commands with one home for the whole session: what one test computed, the next one finds."""
    folder = tmp_path_factory.mktemp("commands")
    environment = own_environment(folder) | {"PREFECT_API_URL": server}
    return Commands(environment, folder, folder / "home")


class Line:
    """A way to a server that can be cut."""

    def __init__(self, server: str) -> None:
        self._target = ("127.0.0.1", int(server.split(":")[2].split("/", maxsplit=1)[0]))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listening]
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/api"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, far = self._listening.accept()[0], socket.create_connection(self._target)
            except OSError:
                return
            self._sockets += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=pair, daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            return

    def cut(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.fixture
def line(server: str) -> Iterator[Line]:
    made = Line(server)
    yield made
    made.cut()


def prefect_settings(server: str, home: Path) -> AbstractContextManager[object]:
    """What the commands set through the environment, for a flow inside this process."""
    return temporary_settings(
        {
            PREFECT_API_URL: server,
            PREFECT_RESULTS_LOCAL_STORAGE_PATH: results_folder(home.resolve()),
            PREFECT_LOGGING_LEVEL: "CRITICAL",
            PREFECT_LOGGING_TO_API_ENABLED: False,  # what still waits to be sent would outlive the server
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # a second for each flow, as in flows/running/environment.py
        }
    )


RunFlow = Callable[..., Report]


@pytest.fixture
def run_flow(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFlow:
    """The flow inside this process, without MLflow: ``run_flow(home, *overrides)``; output in ``tmp_path``.

    It reviews nothing unless the overrides say so.
    """
    monkeypatch.setattr("flows.quantize.log_run", lambda **_: Logged("not logged"))

    def run(home: Path, *overrides: str) -> Report:
        places = [f"runtime.home='{home}'", f"output_dir='{tmp_path}/output'", "runtime.progress=false"]
        with initialize_config_module("conf", version_base="1.3"):
            config = from_hydra(
                compose("quantize", overrides=[*places, *QUICK, *UNREVIEWED, *overrides]), QuantizeConfig
            )
        with prefect_settings(server, home):
            return quantize(config)

    return run
