"""Runs by the clock."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.scheduled import scheduled, serve
from tasks.errors import InputError
from tests.flows.conftest import SCRIPTS, Commands, own_environment, prefect_settings

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
        scheduled(["output_dir=nightly", "evaluation.speed_seconds=0", "runtime.progress=false"])
        with pytest.raises(InputError, match="mixd"):
            scheduled(["quantization.preset=mixd"])
    assert (tmp_path / "nightly" / "model.xml").is_file()
    assert (tmp_path / "home" / "mlflow.db").is_file()


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
