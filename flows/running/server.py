"""The temporary Prefect server of a run: the one place where it is started, waited for and ended.

It listens on a port that the kernel chose, keeps its record in ``prefect.db``, and ends with this process, however that
ends. Only Prefect's record lies in there: a database that cannot be used is moved aside, and the run goes on.
"""

import atexit
import fcntl
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import prefect
from prefect.settings import get_current_settings

from flows.running.failures import ServerError
from flows.running.lifeline import tied
from tasks.engine.template_databases import PREFECT, begun, is_newest

HOST = "127.0.0.1"
# A process that used less processor time than this while it was waited for so long hangs; any other one is slow.
HANG_SECONDS, _IDLE_SECONDS = 10.0, 0.1
# After so long it is said that it is slow.
PATIENCE_SECONDS = 30.0
# Others that start in the same fresh home lock the database while they create it.
_LOCKED_SECONDS, _STOP_SECONDS, _LOOK_SECONDS = 25, 5, 0.05
# What nobody asks of a server that lasts as long as a flow; what the user sets stays. Schedules and automations are
# for the server of `ptq-ui`, which also lists the types of blocks.
_LEAN = {
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "False",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "False",  # it would note blocks as listed that are not
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "False",
}
_DAMAGE = re.compile("malformed|not a database|locate revision")


# Those of this process.
_running: list["Server"] = []


@dataclass
class Server:
    """A running server; ``log`` is what it complained of."""

    process: subprocess.Popen[bytes]
    url: str
    log: IO[str]
    _since: tuple[float, float] = (0.0, 0.0)

    def trouble(self) -> str | None:
        """Why it will not answer any more; None as long as it may."""
        code = self.process.poll()
        if code is not None:
            return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended: {self.last_words()}"
        began, before = self._since
        seconds, used = time.monotonic() - began, _processor_seconds(self.process.pid) - before
        if seconds < HANG_SECONDS:
            return None
        self.watch()
        return f"has done nothing for {seconds:.0f} s" if used < _IDLE_SECONDS else None

    def watch(self) -> None:
        """From now on it has something to do."""
        self._since = (time.monotonic(), _processor_seconds(self.process.pid))

    def restart(self) -> None:
        """Let another one take its place, at the same address. Raises ServerError."""
        print("starting the temporary Prefect server anew ...", file=sys.stderr)
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.process, self.url, self.log = _launch(urlsplit(self.url).port or 0)
        if reason := _wait(self):
            raise ServerError(f"the temporary Prefect server did not start again: it {reason}; run it again")

    def last_words(self) -> str:
        """The error that it logged last."""
        self.log.seek(0)
        lines = [line.strip() for line in self.log.read().splitlines() if line.strip()]
        errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
        last = (errors or lines or ["no reason given"])[-1]
        return re.sub(r"^[\w.]+: (\([\w.]+\) )?", "", last)[:200]

    def end(self) -> None:
        """End it, if it runs."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def start(home: Path, meanwhile: Callable[[], object] = lambda: None) -> Server:
    """A server that answers; it ends with this process. Raises ServerError.

    ``meanwhile`` is called while it starts, for what needs no server.
    """
    database = _database(home)
    # Two servers that create one database at once break its migrations.
    with (home / "prefect-server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if database and (damage := _require_usable(database)):
            _move_aside(database, damage)
        server, reason = _started(database, meanwhile)
        if reason and database and _DAMAGE.search(reason) and database.is_file():
            _move_aside(database, reason.removeprefix("ended: "))
            server, reason = _started(database)
        elif reason and reason.startswith("ended"):  # another one, of `ptq-ui`, may have been creating it
            server, reason = _started(database)
    if reason:
        cause = "the memory" if reason.startswith("was ended by") else f"space in '{home}'"
        raise ServerError(
            f"the temporary Prefect server did not start: it {reason}; does {cause} suffice? Run it again"
        )
    # At the very end: what waits to be sent is sent after the flow.
    atexit.register(server.end)
    _running.append(server)
    return server


def kill_all() -> None:
    """End those of this process at once, also one that hangs."""
    for server in _running:
        server.process.kill()


def is_temporary(url: str | None) -> bool:
    """Whether only this machine reaches the server at that address, because it is one of ours."""
    return url is None or any(server.url == url for server in _running)


def _started(database: Path | None, meanwhile: Callable[[], object] = lambda: None) -> tuple[Server, str | None]:
    """A server that answers, or one that was ended and the reason; ``database`` is its record, if that is ours."""
    with begun(PREFECT, database) if database else nullcontext():
        server = Server(*_launch())
        try:
            meanwhile()
            if reason := _wait(server):
                server.end()
        except BaseException:
            server.end()
            raise
    return server, reason


def _launch(port: int = 0) -> tuple[subprocess.Popen[bytes], str, IO[str]]:
    """The process, its address and its log; port 0 stands for a free one."""
    folder = str(Path(prefect.__file__).parent)
    database = _database(Path(get_current_settings().home))
    environment = {
        **_LEAN,
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": str(not (database and is_newest(PREFECT, database))),
        **os.environ,
        **get_current_settings().to_environment_variables(exclude_unset=True),
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",  # the terminal is not where it goes
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }
    environment.pop("PREFECT_API_URL", None)
    log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - as long as the process
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        words = ("--app-dir", folder, "--factory", "prefect.server.api.server:create_app", "--lifespan", "on")
        process = subprocess.Popen(  # noqa: S603 - our own words
            tied("uvicorn", *words, "--fd", str(listening.fileno()), "--log-level", "error"),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[listening.fileno()],
            start_new_session=True,  # Ctrl-C is for the flow, which still needs it when it ends
        )
        return process, f"http://{HOST}:{listening.getsockname()[1]}/api", log


def _wait(server: Server) -> str | None:
    """Wait until it answers; the reason if it does not."""
    server.watch()
    longest = get_current_settings().server.ephemeral.startup_timeout_seconds
    began, told = time.monotonic(), False
    while (waited := time.monotonic() - began) < longest:
        if waited > PATIENCE_SECONDS and not told:
            told = True
            print("the temporary Prefect server is slow to start, this machine is busy: waiting ...", file=sys.stderr)
        try:
            with urllib.request.urlopen(f"{server.url}/health", timeout=5):  # noqa: S310 - our own address
                return None
        except OSError:
            time.sleep(_LOOK_SECONDS)
        if trouble := server.trouble():
            return trouble
    return f"does not answer after {longest} s"


def _processor_seconds(process: int) -> float:
    """What a process used so far; 0 once it is gone."""
    try:
        values = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def _database(home: Path) -> Path | None:
    """The file of the record, if it lies in ``home``."""
    address = get_current_settings().server.database.connection_url
    scheme, _, path = address.get_secret_value().partition(":///") if address else ("", "", "")
    file = Path(path.partition("?")[0])
    return file if scheme.startswith("sqlite") and file.is_relative_to(home.resolve()) else None


def _require_usable(database: Path) -> str | None:
    """What is damaged of a database, if anything. Raises ServerError where nobody could write to it."""
    if not database.exists():
        return None
    try:
        with closing(sqlite3.connect(database, timeout=_LOCKED_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as failure:
        if _DAMAGE.search(str(failure)):
            return str(failure)
        msg = f"Prefect's record '{database}' cannot be used: {failure}; end what holds it, make it writable, or set"
        raise ServerError(f"{msg} PTQ_HOME to another folder") from failure
    except sqlite3.DatabaseError as failure:
        return str(failure)
    return None if found == "ok" else found.splitlines()[-1]


def _move_aside(database: Path, damage: str) -> None:
    """Give a database and what belongs to it other names, and say so."""
    ending = time.strftime("damaged-%Y%m%d-%H%M%S")
    for file in (database, *(database.with_name(database.name + part) for part in ("-wal", "-shm"))):
        if file.exists():
            file.rename(file.with_name(f"{file.name}.{ending}"))
    what = f"note: Prefect's record '{database}' cannot be used ({damage}) and is now called '{database.name}.{ending}'"
    print(f"{what}; a new one begins, results of steps are as they were", file=sys.stderr)
