"""Exit codes of the commands, whatever the flow does."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from prefect import flow as prefect_flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.commands.configured import run_configured
from flows.commands.ending import run_in_order
from flows.running.failures import ServerError, explain_failure
from flows.running.interruptions import INTERRUPTIONS
from tasks.config.schema import QuantizeConfig
from tasks.engine.atomic_folders import make_folder
from tasks.errors import InputError
from tasks.tracking.client import TrackingError


@pytest.fixture(autouse=True)
def no_interruptions() -> Iterator[None]:
    INTERRUPTIONS.clear()
    yield
    INTERRUPTIONS.clear()


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


def terminate_twice() -> None:
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.raise_signal(signal.SIGTERM)
        sys.stderr.write("in order\n")


def interrupt_that_becomes_an_error() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        msg = "Task run is not set"
        raise ValueError(msg) from None


def refuse() -> None:
    raise InputError("model.path: no such file")


def lose_tracking() -> None:
    raise TrackingError("tracking.uri 'x': MLflow could not log the run: reason; the output is written")


def fill_the_disk() -> None:
    raise OSError(28, "No space left on device", "from", None, "output/model.bin")


def exceed_a_limit() -> None:
    raise OSError(27, "File too large", "home/models")


def lose_a_file() -> None:
    Path("here").mkdir()
    Path("here/gone/model.xml").read_bytes()


def read_a_loop() -> None:
    Path("loop").symlink_to("loop")
    Path("loop").read_bytes()


def write_into_a_file() -> None:
    Path("file").touch()
    make_folder(Path("file/models"))


def ask_for_too_much() -> None:
    np.zeros((10**8, 10**8))


def lose_the_server() -> None:
    raise ServerError("the temporary Prefect server was ended by SIGKILL: run it again; what is done is kept")


def fail() -> None:
    msg = "a bug"
    raise ValueError(msg)


INTERRUPTED = "interrupted; what is done is kept, and the next run continues there\n"
ENDS: dict[str, tuple[Callable[[], None], int, str]] = {
    "Ctrl-C": (interrupt, 130, INTERRUPTED),
    "Ctrl-C that Prefect turns into another error": (interrupt_that_becomes_an_error, 130, INTERRUPTED),
    "SIGTERM": (terminate, 143, INTERRUPTED),
    "SIGTERM while it ends": (terminate_twice, 143, f"in order\n{INTERRUPTED}"),
    "bad input": (refuse, 2, "model.path: no such file\n"),
    "disk full": (
        fill_the_disk,
        1,
        "no space is left for 'output/model.bin'; an earlier output is as it was\n",
    ),
    "limit of file sizes": (
        exceed_a_limit,
        1,
        "files must not become as large (ulimit -f) as 'home/models'; an earlier output is as it was\n",
    ),
    "a folder that is gone": (lose_a_file, 1, "'{}/here/gone' is gone; an earlier output is as it was\n"),
    "a loop of links": (
        read_a_loop,
        1,
        "cannot use 'loop': Too many levels of symbolic links; an earlier output is as it was\n",
    ),
    "a file for a folder": (
        write_into_a_file,
        1,
        "cannot use 'file/models': Not a directory; an earlier output is as it was\n",
    ),
    "too much memory": (
        ask_for_too_much,
        1,
        "there is not enough memory: Unable to allocate 71.1 PiB for an array with shape (100000000, 100000000) and"
        " data type float64\n",
    ),
    "no temporary server": (
        lose_the_server,
        1,
        "the temporary Prefect server was ended by SIGKILL: run it again; what is done is kept\n",
    ),
    "MLflow refuses": (
        lose_tracking,
        1,
        "tracking.uri 'x': MLflow could not log the run: reason; the output is written\n",
    ),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command whose flow is a function; returns its code and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PTQ_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("flows.running.environment.run_environment", lambda *_, **__: nullcontext())
    monkeypatch.setattr("sys.argv", ["ptq-quantize"])

    def run(flow: Callable[[], None], code: int) -> str:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        with pytest.raises(SystemExit) as end:
            run_in_order(lambda: run_configured("quantize", QuantizeConfig, lambda: lambda *_: flow()))
        assert end.value.code == code
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        return capfd.readouterr().err

    return run


@pytest.mark.parametrize(("flow", "code", "message"), ENDS.values(), ids=ENDS.keys())
def test_end(run: Callable[..., str], flow: Callable[[], None], code: int, message: str) -> None:
    assert run(flow, code) == message.format(Path.cwd())


@pytest.mark.parametrize(
    "failure",
    [
        TrackingError(
            "the database in 'home': MLflow could not log the run: (sqlite3.OperationalError) disk I/O error"
        ),
        ServerError("the temporary Prefect server did not start: database or disk is full"),
    ],
    ids=["database", "server"],
)
def test_a_limit_of_file_sizes_is_named_beside_what_it_may_have_caused(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "ulimit" not in str(explain_failure(failure))
    monkeypatch.setattr("resource.getrlimit", lambda _: (700 * 1024, 700 * 1024))
    code, line = explain_failure(failure)
    assert code == 1
    assert line
    assert line.endswith("; files must not grow beyond 0.717 MB (ulimit -f)")
    assert explain_failure(TrackingError("refused")) == (1, "refused")


def test_ctrl_c_during_the_first_imports(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_in_order(interrupt)
    assert end.value.code == 130
    assert capfd.readouterr().err == INTERRUPTED


def test_server_that_does_not_answer(run: Callable[..., str]) -> None:
    @prefect_flow
    def flow() -> None:
        raise AssertionError

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        complaint = run(flow, 1)
    assert complaint.startswith("Failed to reach API at http://127.0.0.1:1/api")
    assert complaint.endswith("unset PREFECT_API_URL for a temporary one\n")
    assert complaint.count("\n") == 1


@contextmanager
def served(status: int, page: bytes) -> Iterator[str]:
    """The address of what answers every question with the same page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        do_POST = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "page", "told"),
    [
        (
            401,
            b'{"exception_message": "Unauthorized"}',
            "PREFECT_API_URL: the server at '{}' answers 401 Unauthorized; ",
        ),
        (404, b"no such page", "PREFECT_API_URL: the server at '{}' answers 404 Not Found; "),
        (200, b"<html>another service</html>", "Failed to reach API at {}/api/: start that Prefect server, "),
    ],
    ids=["who are you", "another path", "a page"],
)
def test_server_that_answers_otherwise(run: Callable[..., str], status: int, page: bytes, told: str) -> None:
    @prefect_flow
    def flow() -> None:
        raise AssertionError

    with served(status, page) as address, temporary_settings({PREFECT_API_URL: f"{address}/api"}):
        complaint = run(flow, 1)
    assert complaint.startswith(told.format(address))
    assert complaint.endswith("unset PREFECT_API_URL for a temporary one\n")
    assert complaint.count("\n") == 1


def test_our_error_tells_more_than_what_prefect_makes_of_it(run: Callable[..., str]) -> None:
    def flow() -> None:
        try:
            lose_the_server()
        except ServerError as failure:
            raise RuntimeError("Failed to reach API at http://127.0.0.1:1/api") from failure

    assert run(flow, 1) == ENDS["no temporary server"][2]


def test_failures_that_are_no_fault_of_the_user_show_where_they_are(run: Callable[..., str]) -> None:
    with pytest.raises(ValueError, match="a bug"):  # a traceback and exit code 1, as Python does it
        run(fail, 1)


def test_ignored_ctrl_c_stays_ignored(run: Callable[..., str]) -> None:
    """Shells start background jobs like this."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run(refuse, 2) == "model.path: no such file\n"
    finally:
        signal.signal(signal.SIGINT, before)
