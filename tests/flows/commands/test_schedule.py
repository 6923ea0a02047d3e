"""Runs by the clock."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.commands.scheduled import scheduled, serve
from tasks.errors import InputError
from tests.flows.conftest import SCRIPTS, START_SECONDS, UNREVIEWED, Commands, Line, own_environment, prefect_settings

EVERY_MINUTE = "* * * * *"


@pytest.mark.parametrize(
    ("cron", "timezone", "complaint"),
    [
        ("3 o'clock", "UTC", "--cron: expected five fields like '0 3 \\* \\* \\*', got '3 o'clock'"),
        ("99 3 * * *", "UTC", "--cron: "),
        (EVERY_MINUTE, "Mars", "--timezone: expected a name like Europe/Berlin, got 'Mars'"),
        (EVERY_MINUTE, "../etc", "--timezone: "),
        (EVERY_MINUTE, "", "--timezone: "),
    ],
)
def test_a_time_that_never_comes(cron: str, timezone: str, complaint: str) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), pytest.raises(InputError, match=complaint):
        serve([], cron, timezone, "never")


def test_without_a_server_nothing_would_start_a_run() -> None:
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(InputError, match="needs a Prefect server"),
    ):
        serve([], EVERY_MINUTE, "UTC", "never")


# What operators look with, and start runs by hand.
LISTS = (("deployment", "ls"), ("flow-run", "ls"), ("work-pool", "ls"), ("flow", "ls"), ("work-queue", "ls"))
LOOK = f"""
import sys
from prefect.cli import app
for words in {(*LISTS, ("deployment", "inspect", "scheduled/listed"), ("deployment", "run", "scheduled/listed"))}:
    sys.argv[1:] = words
    try:
        app()
    except SystemExit as end:
        assert not end.code, words
    print("answered", *words)
"""


def test_the_command_line_of_prefect_is_answered(server: str, tmp_path: Path) -> None:
    """Its filters have null fields, which the server refuses with some versions of fastapi."""
    with temporary_settings({PREFECT_API_URL: server}):
        Runner().add_flow(scheduled, name="listed", cron=EVERY_MINUTE, paused=True, parameters={"overrides": []})
    environment = own_environment(tmp_path) | {"PREFECT_API_URL": server, "PREFECT_HOME": str(tmp_path)}
    looked = subprocess.run([sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, check=False)
    assert looked.returncode == 0, looked.stdout + looked.stderr
    assert looked.stdout.count("answered") == len(LISTS) + 2
    assert "listed" in looked.stdout


def test_a_server_that_does_not_answer() -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}),
        pytest.raises(InputError, match=r"no Prefect server answers at 'http://127\.0\.0\.1:1/api'"),
    ):
        serve([], EVERY_MINUTE, "UTC", "never")


def test_settings_are_checked_before_they_are_scheduled(commands: Commands) -> None:
    outcome = commands.run("ptq-schedule", "--cron", EVERY_MINUTE, "quantization.preset=mixd")
    assert outcome.code == 2
    assert "Did you mean 'mixed'?" in outcome.err


def test_a_scheduled_run_does_what_the_command_does(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTQ_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with prefect_settings(server, tmp_path / "home"):
        scheduled(["output_dir=nightly", "evaluation.speed_seconds=0", "runtime.progress=false", *UNREVIEWED])
        with pytest.raises(InputError, match="mixd"):
            scheduled(["quantization.preset=mixd"])
    assert (tmp_path / "nightly" / "model.xml").is_file()
    assert (tmp_path / "home" / "mlflow.db").is_file()


def started(environment: dict[str, str], folder: Path, *words: str) -> subprocess.Popen[str]:
    """The command, waiting for its first run."""
    clock = subprocess.Popen(
        [str(SCRIPTS / "ptq-schedule"), *words, "evaluation.speed_seconds=0"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that a signal to its group is for it alone
    )
    assert clock.stdout is not None
    assert clock.stdout.readline().endswith("Ctrl-C pauses it\n")
    return clock


def states(address: str, name: str) -> Counter[str]:
    """How many runs of a schedule there are, by state; ``paused`` and ``on`` tell about the schedule itself."""
    with temporary_settings({PREFECT_API_URL: address}), get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"scheduled/{name}")
        chosen = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]))
        runs = Counter(str(run.state_name) for run in client.read_flow_runs(flow_run_filter=chosen))
        return runs + Counter({"paused" if deployment.paused else "on": 1})


def wait_for(address: str, name: str, state: str, seconds: float = START_SECONDS) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if states(address, name)[state]:
                return
        except ObjectNotFound:
            pass
        assert time.monotonic() < end, state
        time.sleep(0.3)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_an_idle_schedule_is_paused_by_a_signal(server: str, tmp_path: Path, number: signal.Signals) -> None:
    name = f"idle-{number.name}"
    environment = own_environment(tmp_path) | {"PTQ_HOME": str(tmp_path / "home"), "PREFECT_API_URL": server}
    clock = started(environment, tmp_path, "--cron", "0 3 1 1 *", "--name", name)
    wait_for(server, name, "on")
    clock.send_signal(number)
    out, err = clock.communicate(timeout=START_SECONDS)
    assert (clock.returncode, out, err) == (0, "", "")
    assert states(server, name) == {"paused": 1}


@pytest.mark.slow
def test_a_schedule_whose_server_is_gone_says_so(line: Line, tmp_path: Path) -> None:
    environment = own_environment(tmp_path) | {"PTQ_HOME": str(tmp_path / "home"), "PREFECT_API_URL": line.url}
    clock = started(environment, tmp_path, "--cron", "0 3 1 1 *", "--name", "alone")
    wait_for(line.url, "alone", "on")
    line.cut()
    clock.send_signal(signal.SIGTERM)
    out, err = clock.communicate(timeout=START_SECONDS)
    assert (clock.returncode, out) == (1, "")
    assert err.startswith("the Prefect server does not answer: schedule 'scheduled/alone' is not paused there")
    assert err.count("\n") == 1


@pytest.fixture(scope="module")
def scheduling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose schedulers run."""
    folder = tmp_path_factory.mktemp("scheduling")
    environment = own_environment(folder) | {"PTQ_HOME": str(folder / "home"), "PATH": os.environ["PATH"]}
    words = [str(SCRIPTS / "ptq-ui"), "--mlflow-port=25600", "--prefect-port=25700"]
    with subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as pages:
        assert pages.stdout is not None
        yield [pages.stdout.readline().split()[-1] for _ in range(2)][-1] + "/api"
        pages.send_signal(signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize("signal_", [os.kill, os.killpg], ids=["SIGTERM to it", "Ctrl-C to its group"])
def test_a_schedule_stopped_in_the_midst_of_a_run_is_paused(
    scheduling: str, tmp_path: Path, signal_: Callable[[int, int], None]
) -> None:
    name, home = signal_.__name__, str(tmp_path / "home")
    environment = own_environment(tmp_path) | {"PTQ_HOME": home, "PREFECT_API_URL": scheduling}
    clock = started(environment, tmp_path, "--cron", EVERY_MINUTE, "--name", name, "output_dir=out")
    wait_for(scheduling, name, "Running", 240)
    signal_(clock.pid, signal.SIGTERM if signal_ is os.kill else signal.SIGINT)
    _, err = clock.communicate(timeout=START_SECONDS)
    assert clock.returncode == 0
    assert "Traceback" not in err
    assert "Warning" not in err
    assert states(scheduling, name) == {"Crashed": 1, "paused": 1}


@pytest.mark.slow
def test_what_a_killed_schedule_missed_is_not_made_up_for(scheduling: str, tmp_path: Path) -> None:
    environment = own_environment(tmp_path) | {"PTQ_HOME": str(tmp_path / "home"), "PREFECT_API_URL": scheduling}
    clock = started(environment, tmp_path, "--cron", EVERY_MINUTE, "--name", "killed", "output_dir=out")
    wait_for(scheduling, "killed", "Running", 240)
    clock.kill()
    clock.communicate()
    wait_for(scheduling, "killed", "Late", 240)
    again = started(environment, tmp_path, "--cron", "0 3 1 1 *", "--name", "killed", "output_dir=out")
    end = time.monotonic() + 60
    while (left := states(scheduling, "killed"))["Late"]:
        assert time.monotonic() < end
        time.sleep(0.3)
    assert left["Running"] == 0, "the run that was under way has ended with the command"
    again.terminate()
    again.communicate(timeout=START_SECONDS)
    assert "Late" not in states(scheduling, "killed")
    assert "Scheduled" not in states(scheduling, "killed")


@pytest.mark.slow
def test_the_clock_starts_runs(tmp_path: Path) -> None:
    """With the schedulers of a real server, which refuses to start any with SQLAlchemy 2.1."""
    environment = own_environment(tmp_path) | {"PTQ_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    words = [str(SCRIPTS / "ptq-ui"), "--mlflow-port=25000", "--prefect-port=25200"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    pages = subprocess.Popen(words, cwd=tmp_path, env=environment, **pipes)  # type: ignore[call-overload]
    address = [pages.stdout.readline().split()[-1] for _ in range(2)][-1]
    words = [str(SCRIPTS / "ptq-schedule"), "--cron", EVERY_MINUTE, "output_dir=nightly", "evaluation.speed_seconds=0"]
    environment |= {"PREFECT_API_URL": f"{address}/api"}
    clock = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 240
        while not (tmp_path / "nightly" / "model.xml").is_file():
            assert time.monotonic() < end
            assert clock.poll() is None
            time.sleep(1)
    finally:
        for process in (clock, pages):
            process.send_signal(signal.SIGINT)
            process.wait(60)
        pages.stdout.close()
    assert pages.returncode == 0
