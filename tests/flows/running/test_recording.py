"""Runs whose Prefect server dies, hangs or is slow: what is done counts, and the user is told."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import psutil
import pytest

from flows.running import recording
from flows.running.failures import ServerError
from flows.running.recording import Lasting
from tests.flows.conftest import START_SECONDS, Commands, Line, finish, own_environment

ADDRESS = "http://127.0.0.1:4200/api"
REFUSED, SLOW = httpx.ConnectError("refused"), httpx.ReadTimeout("slow")
Outcome = httpx.Response | httpx.TransportError


def ok() -> httpx.Response:
    return httpx.Response(200)


def broken() -> httpx.Response:
    return httpx.Response(500, text="database disk image is malformed")


@dataclass
class Inner(httpx.BaseTransport):
    """A server: what it does with the requests, the last one again and again."""

    script: list[Callable[[], httpx.Response] | httpx.TransportError]
    healthy: bool = False
    asked: list[str] = field(default_factory=list)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/health":
            assert "content-length" not in request.headers
            if self.healthy:
                return ok()
            raise SLOW
        self.asked.append(request.url.path)
        now = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(now, Exception):
            raise now
        return now()


@dataclass
class Own:
    """In place of a temporary server."""

    reason: str | None = None
    restarts: int = 0

    def restart(self) -> None:
        self.restarts += 1
        self.reason = None

    def trouble(self) -> str | None:
        return self.reason

    def watch(self) -> None:
        """Nothing."""


def proposal(state: str) -> httpx.Request:
    content = {"state": {"type": state, "name": state.title(), "message": "all well"}, "force": False}
    return httpx.Request("POST", f"{ADDRESS}/flow_runs/1/set_state", json=content)


READ = httpx.Request("GET", f"{ADDRESS}/flow_runs/1")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_lost", [])
    monkeypatch.setattr(recording, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(recording, "_AGAIN_SECONDS", 0.01)


def met(inner: Inner, own: Own | None = None) -> Lasting:
    """A server that has answered once."""
    inner.script.insert(0, ok)
    lasting = Lasting(inner, own)  # type: ignore[arg-type]
    assert lasting.handle_request(READ).status_code == 200
    return lasting


@pytest.mark.parametrize("own", [None, Own()], ids=["the user's", "ours"])
@pytest.mark.parametrize("failure", [REFUSED, SLOW, httpx.ReadError("reset"), httpx.RemoteProtocolError("cut"), broken])
def test_a_server_that_comes_back_is_waited_for(
    own: Own | None, failure: Callable[[], httpx.Response] | httpx.TransportError
) -> None:
    lasting = met(Inner([failure, failure, failure, ok]), own)
    assert lasting.handle_request(READ).status_code == 200
    assert not recording._lost


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])
@pytest.mark.parametrize(
    ("failure", "own", "told"),
    [
        (REFUSED, None, "the Prefect server at 'http://127.0.0.1:4200' is gone"),
        (SLOW, None, "the Prefect server at 'http://127.0.0.1:4200' does not answer"),
        (broken, None, "the Prefect server at 'http://127.0.0.1:4200' answers 500 Internal Server Error"),
        (REFUSED, Own("was ended by SIGKILL"), "the temporary Prefect server was ended by SIGKILL"),
        (SLOW, Own("has done nothing for 10 s"), "the temporary Prefect server has done nothing for 10 s"),
        (broken, Own(), "the temporary Prefect server answers 500 Internal Server Error"),
    ],
)
def test_the_end_of_a_flow_needs_no_server(
    failure: Callable[[], httpx.Response] | httpx.TransportError,
    own: Own | None,
    told: str,
    state: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    lasting = met(Inner([failure]), own)
    answer = lasting.handle_request(proposal(state)).json()
    assert (answer["status"], answer["state"]["type"], answer["state"]["message"]) == ("ACCEPT", state, "all well")
    assert capfd.readouterr().err == f"note: {told}; only Prefect's record of this run is incomplete\n"
    assert not own or not own.restarts


@pytest.mark.parametrize("request_", [READ, proposal("RUNNING"), proposal("PENDING")], ids=["read", "start", "pend"])
def test_nothing_begins_without_a_server(request_: httpx.Request) -> None:
    lasting = met(Inner([REFUSED]))
    with pytest.raises(ServerError, match="is gone: start it, or unset PREFECT_API_URL for a temporary one; what is"):
        lasting.handle_request(request_)
    began = time.monotonic()
    with pytest.raises(ServerError):  # what comes later does not wait again
        lasting.handle_request(request_)
    assert time.monotonic() - began < 0.1


@pytest.mark.parametrize("dies_first", ["at the end of the flow before", "when a flow begins"])
def test_a_flow_that_begins_gets_another_server(dies_first: str) -> None:
    own = Own("was ended by SIGKILL")
    lasting = met(Inner([REFUSED, ok]), own)
    if dies_first == "at the end of the flow before":
        assert lasting.handle_request(proposal("COMPLETED")).json()["status"] == "ACCEPT"
    assert lasting.handle_request(READ).status_code == 200
    assert own.restarts == 1
    assert not recording._lost


def test_a_server_that_dies_each_time_is_given_up() -> None:
    own = Own("ended: no reason given")
    own.restart = lambda: None  # type: ignore[method-assign]
    with pytest.raises(ServerError, match="the temporary Prefect server ended: no reason given: run it again; what is"):
        met(Inner([REFUSED]), own).handle_request(READ)


def test_where_there_never_was_a_server() -> None:
    with pytest.raises(httpx.ConnectError):
        Lasting(Inner([REFUSED]), None).handle_request(READ)
    with pytest.raises(ServerError, match="does not answer"):
        Lasting(Inner([SLOW]), None).handle_request(READ)


@pytest.mark.parametrize(("own", "healthy"), [(None, True), (Own(), False)], ids=["the user's", "ours"])
def test_a_slow_server_is_waited_for(own: Own | None, healthy: bool) -> None:
    """Each attempt takes as long as a server may be away; what counts is that it works meanwhile."""

    def slow() -> httpx.Response:
        time.sleep(0.3)
        raise SLOW

    lasting = met(Inner([slow, slow, slow, ok], healthy), own)
    assert lasting.handle_request(READ).status_code == 200


def test_proxies_of_the_user_stay(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    from prefect.context import SyncClientContext  # noqa: PLC0415
    from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with temporary_settings({PREFECT_API_URL: server}), recording.recorded(None):
        context = SyncClientContext.get()
        assert context is not None
        http = context.client._client
        assert isinstance(http._transport, Lasting)
        assert [type(mount) for key, mount in http._mounts.items() if key.pattern == "https://"] == [Lasting]
        assert context.client.hello().status_code == 200


# --- with Prefect, and a line to its server that is cut

FLOW = """
import logging, sys, time
from prefect import flow, task
from flows.running import recording

@task
def step(number): return number

@flow
def work(fails):
    value = step(1)
    print("cut", flush=True)
    sys.stdin.readline()
    for number in range(5): value += step(number)
    if fails: raise KeyError("mine")
    return value

recording.PATIENCE_SECONDS = 1.0
with recording.recorded(None):
    try:
        print(work(sys.argv[1] == "fails"), flush=True)
    except KeyError as mine:
        print(repr(mine), flush=True)
recording.leave(0)
"""


@pytest.mark.parametrize(("ends", "value"), [("well", "11"), ("fails", "KeyError('mine')")])
def test_a_flow_outlives_its_server(line: Line, tmp_path: Path, ends: str, value: str) -> None:
    quiet = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL"}
    environment = own_environment(tmp_path) | quiet | {"PREFECT_API_URL": line.url, "PREFECT_HOME": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", FLOW, ends], env=environment, text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "cut\n"
        line.cut()
        began = time.monotonic()
        out, err = process.communicate("\n", timeout=START_SECONDS)
    assert time.monotonic() - began < 20, "Prefect itself waits for minutes"
    assert (process.returncode, out) == (0, f"{value}\n")
    where = line.url.removesuffix("/api")
    assert err == f"note: the Prefect server at '{where}' is gone; only Prefect's record of this run is incomplete\n"


# --- whole runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "after", "code"),
    [
        ("SIGKILL", "starting a temporary", 1),
        ("SIGKILL", "load_model", 0),
        ("SIGSTOP", "collect_statistics", 0),
        ("SIGKILL", "draw_plots", 0),
        ("SIGTERM", "draw_plots", 0),
    ],
)
def test_the_temporary_server_ends_in_the_midst(
    commands: Commands, tmp_path: Path, number: str, after: str, code: int
) -> None:
    environment = {name: value for name, value in commands.environment.items() if name != "PREFECT_API_URL"}
    alone = replace(commands, environment=environment, folder=tmp_path, home=tmp_path / "home")
    process = alone.start("ptq-quantize", "output_dir=out")
    assert process.stderr is not None
    seen = ""
    while after not in seen:
        seen = process.stderr.readline()
        assert seen
    servers: list[psutil.Process] = []
    while not servers:  # it is announced before it is there
        servers = [each for each in psutil.Process(process.pid).children() if "uvicorn" in each.cmdline()]
    servers[0].send_signal(getattr(signal, number))
    outcome = finish(process)
    assert outcome.code == code, outcome.err
    (told,) = outcome.complaints
    assert "Prefect server" in told
    assert (tmp_path / "out" / "model.xml").is_file() == (code == 0)
    if code == 0:
        assert told.startswith("note: the temporary Prefect server ")
        assert told.endswith("; only Prefect's record of this run is incomplete")
        assert "MLflow run: " in outcome.out
        assert json.loads((tmp_path / "out" / "report.json").read_text())["metrics"]
    assert not psutil.pid_exists(servers[0].pid) or servers[0].status() == psutil.STATUS_ZOMBIE


@pytest.mark.slow
def test_the_next_point_of_a_sweep_gets_another_server(commands: Commands, tmp_path: Path) -> None:
    environment = {name: value for name, value in commands.environment.items() if name != "PREFECT_API_URL"}
    alone = replace(commands, environment=environment, folder=tmp_path, home=tmp_path / "home")
    process = alone.start("ptq-quantize", "-m", "quantization.preset=performance,mixed,accuracy", "output_dir=out")
    assert process.stderr is not None
    while "load_model" not in process.stderr.readline():
        assert process.poll() is None
    (server,) = (each for each in psutil.Process(process.pid).children() if "uvicorn" in each.cmdline())
    server.kill()
    outcome = finish(process)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("only Prefect's record of this run is incomplete") == 1
    assert outcome.err.count("starting the temporary Prefect server anew") == 1
    flows = sqlite3.connect(alone.home / "prefect" / "prefect.db")
    assert flows.execute("select count(*) from flow_run where state_name = 'Completed'").fetchone() == (2,)
    flows.close()


@pytest.mark.slow
def test_a_server_of_the_user_ends_in_the_midst(commands: Commands, line: Line, tmp_path: Path) -> None:
    environment = commands.environment | {"PREFECT_API_URL": line.url}
    theirs = replace(commands, environment=environment, folder=tmp_path, home=tmp_path / "home")
    process = theirs.start("ptq-quantize", "output_dir=out")
    assert process.stderr is not None
    while "load_model" not in process.stderr.readline():
        assert process.poll() is None
    line.cut()
    outcome = finish(process)
    assert outcome.code == 0, outcome.err
    assert len(outcome.complaints) == 1
    assert outcome.complaints[0].endswith("is gone; only Prefect's record of this run is incomplete")
    assert (tmp_path / "out" / "model.xml").is_file()
