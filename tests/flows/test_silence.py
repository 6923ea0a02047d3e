"""Nothing that our processes import tells anybody that it is used, or leaves files in the user's home."""

import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.flows.conftest import Commands, Outcome, own_environment

ROOT = Path(__file__).parents[2]
IMPORTS = ("import tasks.engine.artifact_store", "import flows.quantize", "import tests.support.models", "import flows")


@pytest.fixture
def alone(commands: Commands, tmp_path: Path) -> Commands:
    """The commands with a user's home of their own, and a file of their own that says what they tried to reach."""
    places = {"HOME": str(tmp_path / "user"), "REACHED": str(tmp_path / "reached.txt")}
    (tmp_path / "user").mkdir()
    return replace(commands, environment=commands.environment | places, folder=tmp_path)


def require_silence(folder: Path) -> None:
    assert not (folder / "reached.txt").exists(), (folder / "reached.txt").read_text()
    # Databases that new homes begin with lie in the user's cache, and nothing else does.
    files = [path for path in (folder / "user").rglob("*") if path.is_file()]
    assert {path.parent for path in files} <= {folder / "user" / ".cache" / "openvino-ptq-flow"}
    assert all(re.fullmatch(r"(prefect|mlflow)-[\d.]+\.(db|lock)", path.name) for path in files)


def python(folder: Path, code: str, **environment: str) -> Outcome:
    places = {"HOME": str(folder), "REACHED": str(folder / "reached.txt")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=own_environment(folder) | places | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_a_run_reaches_nobody_and_leaves_nothing_in_the_home(alone: Commands, tmp_path: Path) -> None:
    assert alone.run("ptq-quantize", "runtime.progress=false").code == 0
    assert alone.run("ptq-plan").code == 0
    require_silence(tmp_path)


@pytest.mark.slow
def test_no_command_reaches_anybody(alone: Commands, tmp_path: Path) -> None:
    """With a server of their own, which is a process of ours too, and trials at once in other processes."""
    environment = {name: value for name, value in alone.environment.items() if name != "PREFECT_API_URL"}
    apart = replace(alone, environment=environment, home=tmp_path / "home")
    sweep = ("quantization.preset=performance,mixed", "hydra/launcher=joblib")
    assert apart.run("ptq-quantize", "tracking.run_name=first").code == 0
    assert apart.run("ptq-quantize", "-m", *sweep).code == 0
    assert apart.run("ptq-evaluate", "model.path=outputs/model.xml", "output_dir=evaluated").code == 0
    assert apart.run("ptq-compare", "first", "first").code == 0
    samples = ("--engine", "simplified", "--data-source", str(ROOT / "tests" / "shapes"))
    assert apart.run("ptq-pot", "-q", "default", "-m", str(ROOT / "tests/shapes/shapes.xml"), *samples).code in (0, 2)
    ui = apart.start("ptq-ui", "--mlflow-port=26000", "--prefect-port=26200")
    assert ui.stdout is not None
    address = [ui.stdout.readline().split()[-1] for _ in range(2)][-1]
    served = replace(apart, environment=apart.environment | {"PREFECT_API_URL": f"{address}/api"})
    clock = served.start("ptq-schedule", "--cron", "0 3 * * *")
    time.sleep(20)  # both have done what they do by themselves
    for process in (clock, ui):
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    require_silence(tmp_path)


@pytest.mark.slow
def test_a_logged_model_that_mlflow_serves_reaches_nobody(tmp_path: Path) -> None:
    """It stands alone: nothing else of ours is imported there."""
    (tmp_path / "user").mkdir()
    file = str(ROOT / "tasks" / "tracking" / "pyfunc_model.py")
    code = f"import runpy, sys; runpy.run_path({file!r}); print('tasks' in sys.modules)"
    places = {"HOME": str(tmp_path / "user"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = python(tmp_path, code, **places)
    assert (done.code, done.out) == (0, "False\n"), done.err
    require_silence(tmp_path)


@pytest.mark.parametrize("first", IMPORTS)
def test_openvino_has_no_telemetry_whatever_is_imported_first(tmp_path: Path, first: str) -> None:
    code = f"{first}\nimport openvino.tools.ovc as ovc\nprint(type(ovc.telemetry).__module__)"
    done = python(tmp_path, code)
    assert (done.code, done.out, done.err) == (0, "openvino.tools.ovc.telemetry_stub\n", "")
    assert not (tmp_path / "intel").exists()
    assert not (tmp_path / "reached.txt").exists()


def test_who_asks_for_telemetry_gets_it(tmp_path: Path) -> None:
    """So the guard would notice it as well: the child that OpenVINO forks, and files in the home."""
    code = "import os, tasks, openvino; print('DO_NOT_TRACK' in os.environ)"
    done = python(tmp_path, code, PTQ_TELEMETRY="1", CI="")
    assert (done.code, done.out, done.err) == (0, "False\n", "")
    assert "google-analytics" in (tmp_path / "reached.txt").read_text()
    assert (tmp_path / "intel").is_dir()


def test_what_the_user_says_about_a_library_stays(tmp_path: Path) -> None:
    code = "import os, tasks; print(os.environ['MLFLOW_DISABLE_TELEMETRY'], os.environ['DO_NOT_TRACK'])"
    assert python(tmp_path, code, MLFLOW_DISABLE_TELEMETRY="false").out == "false 1\n"


FORKED = """
import multiprocessing, sys, threading, time
from flows.commands.ending import run_in_order

def body():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    sender = threading.Thread(target=child.start)  # OpenVINO's telemetry has a thread for this
    sender.start()
    sender.join()
    child.{end}()
    child.join()
    print(child.exitcode)

run_in_order(body)
"""


@pytest.mark.parametrize(("end", "code"), [("terminate", -signal.SIGTERM), ("kill", -signal.SIGKILL)])
def test_a_child_that_a_library_forks_ends_without_a_word(tmp_path: Path, end: str, code: int) -> None:
    done = python(tmp_path, FORKED.format(end=end))
    assert (done.code, done.out, done.err) == (0, f"{code}\n", "")


def test_the_guard_refuses_names_and_addresses(tmp_path: Path) -> None:
    code = """
import socket
for reach in (
    lambda: socket.create_connection(("192.0.2.1", 80), 5),
    lambda: socket.getaddrinfo("example.invalid", 80),
    lambda: socket.gethostbyname("example.invalid"),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", ("192.0.2.1", 53)),
    lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)),
):
    try:
        reach()
    except OSError as failure:
        print(failure.strerror)
"""
    assert python(tmp_path, code).out == "refused by the tests\n" * 5
    assert len((tmp_path / "reached.txt").read_text().splitlines()) == 5
