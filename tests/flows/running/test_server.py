"""The temporary server: it starts or says why not, loses nothing, and ends with whoever started it."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flows.running import server
from flows.running.failures import TEMPORARY_SERVER, ServerError, explain_failure
from flows.running.server import Server
from tests.flows.conftest import SCRIPTS, Commands, own_environment

LONGEST = 30


def ended(process: int) -> bool:
    """Whether a process that is not our child is gone; nobody may wait for a zombie in a container."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until_ended(*processes: int) -> None:
    end = time.monotonic() + LONGEST
    while not all(ended(process) for process in processes):
        assert time.monotonic() < end
        time.sleep(0.05)


# --- it ends with its parent

NESTED = "import os, subprocess; child = subprocess.Popen(['sleep', '99']); print(os.getpid(), child.pid, flush=True)"
PARENT = f"""
import subprocess, sys, threading, time
from flows.running.lifeline import tied
command = tied("timeit", "-n1", "-r1", {NESTED + "; child.wait()"!r})
start = lambda: subprocess.Popen(command, start_new_session=True)
thread = threading.Thread(target=start)
thread.start()
thread.join()
time.sleep(99)
"""


@pytest.fixture
def family() -> Iterator[tuple[subprocess.Popen[str], tuple[int, int]]]:
    """A process, and what it started: a process that is tied to it, and one that this one started in turn."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        tied, nested = map(int, parent.stdout.readline().split())
        yield parent, (tied, nested)
        parent.kill()
        for process in (tied, nested):
            if not ended(process):
                os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_what_is_tied_ends_with_its_parent(
    family: tuple[subprocess.Popen[str], tuple[int, int]], number: signal.Signals
) -> None:
    parent, children = family
    time.sleep(1)
    assert not any(map(ended, children)), "the thread that started it has ended, which harms nobody"
    parent.send_signal(number)
    wait_until_ended(*children)


# --- it does not start


@contextmanager
def fake(*command: str) -> Iterator[Server]:
    """A process in place of a server."""
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115
    with socket.socket() as unused:
        unused.bind((server.HOST, 0))
        process = subprocess.Popen(command, stdout=log, stderr=log)
        faked = Server(process, f"http://{server.HOST}:{unused.getsockname()[1]}/api", log)
        yield faked
        if not log.closed:
            faked.end()


COMPLAINT = (
    "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) no such table: flow\n(Background on ...)\nExiting."
)


@pytest.mark.parametrize(
    ("command", "number", "reason"),
    [
        (("sh", "-c", f"echo '{COMPLAINT}'; exit 3"), None, "ended: no such table: flow"),
        (("sh", "-c", "exit 3"), None, "ended: no reason given"),
        (("sleep", "99"), signal.SIGKILL, "was ended by SIGKILL"),
        (("sleep", "99"), signal.SIGSTOP, "has done nothing for 1 s"),
    ],
)
def test_a_server_that_does_not_start_says_why(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], number: signal.Signals | None, reason: str
) -> None:
    monkeypatch.setattr(server, "HANG_SECONDS", 1.0)
    monkeypatch.setattr(server, "_STOP_SECONDS", 0.2)  # one that hangs is killed
    with fake(*command) as faked:
        if number:
            faked.process.send_signal(number)
        assert server._wait(faked) == reason


def test_a_server_that_is_slow_to_start_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HANG_SECONDS", 1.5)
    busy = "import time; end = time.time() + 3\nwhile time.time() < end: pass"
    with fake(sys.executable, "-c", busy) as faked:
        assert server._wait(faked) == "ended: no reason given"


def test_a_slow_start_is_told_once(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(server, "PATIENCE_SECONDS", 0.1)
    with fake("sh", "-c", "sleep 0.5") as faked:
        assert server._wait(faked) == "ended: no reason given"
    assert (
        capfd.readouterr().err == "the temporary Prefect server is slow to start, this machine is busy: waiting ...\n"
    )


def test_nobody_is_told_to_start_a_server_that_a_command_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not in a trial in a process of its own, which knows the server by its address alone."""
    own = "http://127.0.0.1:4711/api"
    monkeypatch.setenv(TEMPORARY_SERVER, own)
    (_, line), (_, other) = (
        explain_failure(RuntimeError(f"Failed to reach API at {address}/")) for address in (own, "http://there/api")
    )
    assert line == f"the temporary Prefect server at '{own}' does not answer: run it again; what is done is kept"
    assert other
    assert "start that Prefect server" in other


def test_one_line_where_the_memory_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with fake("sh", "-c", "kill -9 $$") as faked:
        monkeypatch.setattr(server, "_launch", lambda: (faked.process, faked.url, faked.log))
        with pytest.raises(ServerError, match=r"it was ended by SIGKILL; does the memory suffice\? Run it again"):
            server.start(tmp_path)


# --- its database


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "prefect.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table runs (name text)")
        connection.executemany("insert into runs values (?)", [("x" * 500,)] * 200)
        connection.commit()
    return path


def test_a_sound_database_is_left_alone(database: Path) -> None:
    before = database.read_bytes()
    assert server._require_usable(database) is None
    assert database.read_bytes() == before
    assert server._require_usable(database.with_name("none.db")) is None


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda content: b"no database" + content[11:], "file is not a database"),
        (lambda content: content[: len(content) // 2], "malformed|not|missing|invalid"),
        (lambda content: content[:8192] + bytes(4096) + content[12288:], "malformed|btree|page|Tree"),
    ],
    ids=["garbage", "cut off", "a page of zeros"],
)
def test_a_damaged_database_is_moved_aside_as_it_is(
    database: Path, capfd: pytest.CaptureFixture[str], damage: Callable[[bytes], bytes], complaint: str
) -> None:
    content = damage(database.read_bytes())
    database.write_bytes(content)
    found = server._require_usable(database)
    assert found
    assert re.search(complaint, found)
    server._move_aside(database, found)
    (aside,) = database.parent.iterdir()
    assert aside.read_bytes() == content
    told = capfd.readouterr().err
    assert told.startswith(
        f"note: Prefect's record '{database}' cannot be used ({found}) and is now called '{aside.name}'"
    )
    assert told.count("\n") == 1


def test_a_locked_database_is_told_and_stays(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LOCKED_SECONDS", 0.2)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("begin exclusive")
        with pytest.raises(ServerError, match=r"'.*prefect\.db' cannot be used: database is locked; end what holds it"):
            server._require_usable(database)
    assert server._require_usable(database) is None


def test_a_database_that_cannot_be_opened_is_told_and_stays(tmp_path: Path) -> None:
    (tmp_path / "prefect.db").mkdir()
    with pytest.raises(ServerError, match="cannot be used: unable to open database file"):
        server._require_usable(tmp_path / "prefect.db")


def test_a_database_of_the_user_is_not_ours_to_move(tmp_path: Path) -> None:
    """What PREFECT_HOME or a connection URL of the user's names lies elsewhere."""
    assert server._database(tmp_path) is None


# --- the real one


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"garbage" * 1000, None], ids=["garbage", "of a newer Prefect"])
def test_a_run_goes_on_with_a_new_database(commands: Commands, tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "home" / "prefect"
    folder.mkdir(parents=True)
    if content is None:
        with closing(sqlite3.connect(folder / "prefect.db")) as connection:
            connection.execute("create table alembic_version (version_num text)")
            connection.execute("insert into alembic_version values ('of tomorrow')")
            connection.commit()
    else:
        (folder / "prefect.db").write_bytes(content)
    environment = {name: value for name, value in commands.environment.items() if name != "PREFECT_API_URL"}
    alone = Commands(environment, tmp_path, tmp_path / "home")
    outcome = alone.run("ptq-quantize", "output_dir=out")
    assert outcome.code == 0, outcome.err
    start, note = outcome.complaints
    assert start == "starting a temporary Prefect server ..."
    assert note.startswith("note: Prefect's record ")
    (aside,) = folder.glob("prefect.db.damaged-*")
    assert content in (None, aside.read_bytes())
    assert (tmp_path / "out" / "model.xml").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("command", "line"), [("ptq-quantize", "load_model"), ("ptq-ui", "Prefect")])
def test_nothing_outlives_a_killed_command(tmp_path: Path, command: str, line: str) -> None:
    environment = own_environment(tmp_path) | {"PTQ_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    words = [str(SCRIPTS / command), *(("--mlflow-port=25300", "--prefect-port=25400") if command == "ptq-ui" else ())]
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        assert any(line in written for written in process.stdout)
        children = [int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        assert len(children) >= 2
        process.kill()
        wait_until_ended(*children)
