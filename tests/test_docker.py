"""What docker/ copies, starts and waits for is there."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(sys.executable).parent
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]


def test_what_the_image_copies_is_there_and_not_left_out() -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text()
    copied = [path for line in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.M) for path in line.split()]
    assert {"conf", "flows", "tasks", "requirements.lock"} <= set(copied)
    left_out = (ROOT / ".dockerignore").read_text().split()
    for path in copied:
        assert (ROOT / path).exists()
        assert path not in left_out


@pytest.mark.parametrize("name", SERVICES)
def test_services_start_commands_of_the_image_and_wait_for_each_other(name: str) -> None:
    service = SERVICES[name]
    assert (SCRIPTS / service["entrypoint"][0]).is_file()
    for other in service.get("depends_on", {}):
        assert "healthcheck" in SERVICES[other]
    addresses = re.findall(r"http://([a-z]+):", " ".join([*service["entrypoint"], *service["environment"].values()]))
    assert set(addresses) <= set(SERVICES)
    volumes = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["volumes"]
    assert {volume.split(":")[0] for volume in service["volumes"]} <= {*volumes, "${PWD}"}


@pytest.mark.parametrize(
    ("name", "silent"),
    [("mlflow", {"MLFLOW_DISABLE_TELEMETRY"}), ("prefect", {"PREFECT_SERVER_ANALYTICS_ENABLED", "DO_NOT_TRACK"})],
)
def test_servers_of_others_send_no_events(name: str, silent: set[str]) -> None:
    """Our own commands see to it by themselves."""
    assert silent <= set(SERVICES[name]["environment"])
    assert {service for service, each in SERVICES.items() if not each["entrypoint"][0].startswith("ptq-")} == {
        "mlflow",
        "prefect",
    }
