"""Where commands start: files of the user's that hide ours, and versions."""

import os
import platform
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from flows.plugins import openvino_ptq_flow
from tests.flows.conftest import SCRIPTS, Outcome, own_environment

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
COMMANDS = tuple(PROJECT["scripts"])
FILES = ("tasks.py", "flows.py", "conf.py", "tasks/__init__.py", "flows/__init__.py", "hydra_plugins/__init__.py")
FIRST = dict(zip(COMMANDS, [*FILES, "conf/__init__.py"], strict=True))


def run(folder: Path, command: str, *arguments: str, path: str = ".") -> Outcome:
    environment = own_environment(folder) | {"PYTHONPATH": path}
    words = [str(SCRIPTS / command), *arguments]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


def put(folder: Path, file: str, text: str = "") -> Path:
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(text)
    return folder / file


@pytest.mark.parametrize(
    ("command", "file"), [*FIRST.items(), *(("ptq-plan", file) for file in FILES), ("ptq-quantize", "conf.py")]
)
def test_a_file_that_hides_a_package_is_named(tmp_path: Path, command: str, file: str) -> None:
    name = Path(file).parts[0].removesuffix(".py")
    hiding = put(tmp_path, file)
    line = f"'{hiding}' hides the module '{name}', which is needed: rename it, or change PYTHONPATH\n"
    assert run(tmp_path, command) == Outcome(2, "", line)


def test_each_file_has_its_line(tmp_path: Path) -> None:
    for file in ("conf.py", "tasks.py"):
        put(tmp_path, file)
    outcome = run(tmp_path, "ptq-pot", path=f"/nowhere:{tmp_path}")
    assert (outcome.code, outcome.out) == (2, "")
    assert [line.split("'")[3] for line in outcome.err.splitlines()] == ["tasks", "conf"]


@pytest.mark.parametrize("file", ["prefect.py", "queue.py"])
def test_a_file_that_hides_a_library_is_named_when_something_is_missing(tmp_path: Path, file: str) -> None:
    hiding = put(tmp_path, file)
    outcome = run(tmp_path, "ptq-quantize")
    line = f"'{hiding}' hides the module '{hiding.stem}', which is needed: rename it, or change PYTHONPATH"
    assert (outcome.code, outcome.complaints[-1:]) == (2, [line])
    assert "Traceback" not in outcome.err


def test_what_hides_nothing_does_no_harm(tmp_path: Path) -> None:
    """Folders without code, modules of the user's own, and a folder that PYTHONPATH does not name."""
    for file in ("tasks/a.txt", "conf/quantize.yaml", "hydra_plugins/mine.py", "my_data.py", "elsewhere/tasks.py"):
        put(tmp_path, file)
    assert run(tmp_path, "ptq-compare", "--help").code == 0
    put(tmp_path, "flows.py")
    assert run(tmp_path, "ptq-compare", "--help", path="elsewhere/nothing").code == 0


def test_processes_of_a_command_find_no_modules_where_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect's server and scheduled runs are started with ``python -m``, which would look there first."""
    put(tmp_path, "flows.py")
    monkeypatch.chdir(tmp_path)
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONSAFEPATH", "PYTHONPATH")}
    monkeypatch.setattr(os, "environ", kept)
    monkeypatch.setattr("sys.argv", ["ptq-compare", "--help"])
    with pytest.raises(SystemExit):
        openvino_ptq_flow.compare()
    found = [sys.executable, "-m", "flows.commands.ending"]
    assert subprocess.run(found, env=os.environ, check=False).returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_version(tmp_path: Path, command: str) -> None:
    put(tmp_path, "tasks.py")  # nothing of ours is imported for it
    lines = [f"openvino-ptq-flow {PROJECT['version']}", f"openvino {version('openvino')}"]
    lines += [f"Python {platform.python_version()}", ""]
    assert run(tmp_path, command, "model.path=M.xml", "--version") == Outcome(0, "\n".join(lines), "")


def test_every_command_starts_here() -> None:
    assert {place.partition(":")[0] for place in PROJECT["scripts"].values()} == {"openvino_ptq_flow"}
    assert all(callable(getattr(openvino_ptq_flow, place.partition(":")[2])) for place in PROJECT["scripts"].values())
