"""``ptq-ui``: the pages of MLflow and Prefect for the state in ``PTQ_HOME``, until Ctrl-C."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from flows.commands.ending import fail, failures_told
from flows.commands.flags import parse_with_settings
from flows.commands.preflight import settings
from flows.running.environment import run_environment
from flows.running.failures import FAILED
from flows.running.lifeline import tied
from tasks.engine.helper_process import how_it_ended
from tasks.errors import InputError
from tasks.tracking import client

HOST = "127.0.0.1"
_START_SECONDS, _STOP_SECONDS = 120, 15


@dataclass(frozen=True)
class Server:
    """A server: ``health`` is the address that answers once it is up, ``page`` what people open."""

    name: str
    words: tuple[str, ...]
    environment: Mapping[str, str]
    health: str
    page: str


def parse(arguments: Sequence[str]) -> Namespace:
    """The ports, and settings of ``ptq-quantize``. Exits with 2 for other flags."""
    parser = ArgumentParser("ptq-ui", description="Open the pages of MLflow and Prefect; Ctrl-C ends both.")
    parser.add_argument("--mlflow-port", type=int, default=5000, help="5000, or the next free one")
    parser.add_argument("--prefect-port", type=int, default=4200, help="4200, or the next free one")
    return parse_with_settings(parser, arguments, "settings of ptq-quantize: runtime.home=...")


def main() -> None:
    """Serve the pages: exit code 0 after Ctrl-C, 2 for bad input, 1 when one of the servers ends by itself."""
    arguments = parse(sys.argv[1:])
    try:
        with failures_told():
            ui(arguments)
    except RuntimeError as failure:
        fail(str(failure), FAILED)


def ui(arguments: Namespace) -> None:
    """Start both servers, print where they are, and wait for Ctrl-C.

    Raises InputError where no port is free, RuntimeError when one of the servers ends by itself.
    """
    config = settings(arguments.overrides)
    home = config.runtime.home.resolve()
    with run_environment(home, serves=False), ExitStack() as running:
        experiment = client.create(home, config.tracking.experiment)
        servers = (
            _mlflow(free_port(arguments.mlflow_port), experiment),
            _prefect(free_port(arguments.prefect_port)),
        )
        _interruptible()
        try:
            processes = [running.enter_context(_started(server, home)) for server in servers]
            for server, process in zip(servers, processes, strict=True):
                _wait_until_up(server, process, home)
                print(f"{server.name:<8} {server.page}", flush=True)
            print(f"Runs are quicker with this server: export PREFECT_API_URL={servers[1].page}/api; Ctrl-C ends both.")
            sys.stdout.flush()
            while True:
                for server, process in zip(servers, processes, strict=True):
                    _require_alive(server, process, home)
                time.sleep(0.5)
        except KeyboardInterrupt:
            print("stopping both ...", file=sys.stderr)


def free_port(wanted: int) -> int:
    """The wanted port, or the next one that is free. Raises InputError if none of the next 100 is."""
    for port in range(wanted, min(wanted + 100, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except (OSError, OverflowError):
                continue
            return port
    raise InputError(f"no port is free from {wanted} on")


def _mlflow(port: int, experiment: str) -> Server:
    # A relative path, as in `tasks.tracking.client`; the servers run in the home folder.
    store = ("--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "mlartifacts")
    return Server(
        "MLflow",
        ("mlflow", "server", *store, "--workers", "1", "--host", HOST, "--port", str(port)),
        {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        f"http://{HOST}:{port}/health",
        f"http://{HOST}:{port}/#/experiments/{experiment}/runs?workflowType=machine_learning",
    )


def _prefect(port: int) -> Server:
    return Server(
        "Prefect",
        ("prefect", "server", "start", "--host", HOST, "--port", str(port)),
        # Its pages would ask port 4200 otherwise.
        {"PREFECT_UI_API_URL": f"http://{HOST}:{port}/api"},
        f"http://{HOST}:{port}/api/health",
        f"http://{HOST}:{port}",
    )


@contextmanager
def _started(server: Server, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process of a server. It ends with the body or with this process, and all that it started ends with it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with _log(server, home).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own words
            tied(*server.words),
            cwd=home,
            env=os.environ | dict(server.environment) | {"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us
        )
    try:
        yield process
    finally:
        _signal_all(process, signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _signal_all(process, signal.SIGKILL)
            process.wait()


def _signal_all(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _interruptible() -> None:
    """Let SIGTERM end the command like Ctrl-C, with exit code 0, as both are how it is meant to end."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)


def _wait_until_up(server: Server, process: subprocess.Popen[bytes], home: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        _require_alive(server, process, home)
        try:
            with urllib.request.urlopen(server.health, timeout=5):  # noqa: S310 - our own address
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"{server.name} did not start within {_START_SECONDS} s; see '{_log(server, home)}'")


def _require_alive(server: Server, process: subprocess.Popen[bytes], home: Path) -> None:
    if process.poll() is not None:
        how = how_it_ended(process.returncode, _log(server, home).read_text(errors="replace"))
        raise RuntimeError(f"{server.name} ended: {how}; see '{_log(server, home)}'")


def _log(server: Server, home: Path) -> Path:
    return home / f"{server.name.lower()}-ui.log"
