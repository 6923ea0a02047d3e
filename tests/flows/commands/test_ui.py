"""Both servers on one state: their ports, and that nothing of them stays."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from flows.commands.ui import HOST, Server, _require_alive, _started, free_port
from tasks.errors import InputError
from tests.flows.conftest import SCRIPTS, own_environment


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port(port) < port + 100


@pytest.mark.parametrize("port", [65536, 70000])
def test_there_are_no_more_ports(port: int) -> None:
    with pytest.raises(InputError, match=f"no port is free from {port} on"):
        free_port(port)


def test_a_server_ends_with_all_that_it_started(tmp_path: Path) -> None:
    """Like those of MLflow, whose workers are processes of their own."""
    waiting = "import time; print(1, flush=True); time.sleep(99)"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {waiting!r}])"
    server = Server("Nested", ("timeit", "-n1", "-r1", script), {}, "", "")  # a module that runs what it is given
    with _started(server, tmp_path) as process:
        end = time.monotonic() + 30
        while "1" not in (tmp_path / "nested-ui.log").read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
        group = process.pid
        _require_alive(server, process, tmp_path)
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.killpg(group, 0)
            time.sleep(0.05)


def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    server = Server("Broken", ("no_such_module",), {}, "", "")
    with _started(server, tmp_path) as process:
        process.wait(30)
        with pytest.raises(RuntimeError, match=r"Broken ended: .*No module named no_such_module; see"):
            _require_alive(server, process, tmp_path)


@pytest.mark.slow
def test_both_are_up_until_they_are_stopped(tmp_path: Path) -> None:
    home = tmp_path / "hö me=[a]%20 #"
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = subprocess.Popen(
            [SCRIPTS / "ptq-ui", f"--mlflow-port={port}", "--prefect-port=24200"],
            cwd=tmp_path,
            env=own_environment(tmp_path) | {"PTQ_HOME": str(home), "PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        names, addresses = zip(*(process.stdout.readline().split() for _ in range(2)), strict=True)
    assert names == ("MLflow", "Prefect")
    assert f":{port}/" not in addresses[0]
    for address in addresses:
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.status == 200
    assert {"mlflow.db", "prefect"} <= {entry.name for entry in home.iterdir()}
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (0, "stopping both ...\n")
    for address in addresses:
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(address, timeout=5)
