"""Settings that the commands make, and those of the user, which stay."""

import os
from contextlib import nullcontext
from pathlib import Path

import pytest
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)

from flows.running.environment import run_environment


@pytest.mark.parametrize(("set_by_user", "expected"), [({}, None), ({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 45}, 45)])
def test_flows_have_no_heartbeat_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_by_user: dict[object, int], expected: int | None
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr("flows.running.recording.recorded", nullcontext)  # nobody is there
    address = {PREFECT_API_URL: "http://127.0.0.1:1/api"}
    with temporary_settings(address | set_by_user), run_environment(tmp_path / "home"):
        assert get_current_settings().flows.heartbeat_frequency == expected
        assert (tmp_path / "home").is_dir()
    assert get_current_settings().flows.heartbeat_frequency is not None


def test_what_the_user_set_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"HOME": str(tmp_path), "PREFECT_HOME": "mine"})
    with run_environment(tmp_path, serves=False):
        assert os.environ["PREFECT_HOME"] == "mine"
        assert os.environ["PREFECT_RESULTS_LOCAL_STORAGE_PATH"] == str(tmp_path / "results")
