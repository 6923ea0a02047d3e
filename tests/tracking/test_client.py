"""MLflow's process killed, once or for good, and databases it cannot use: what MLflow has then and what is said."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.helper_process import how_it_ended
from tasks.tracking import client
from tasks.tracking.client import Run, TrackingError, handing_over
from tasks.tracking.database import explained
from tests.tracking.test_worker import DATASETS, packed
from tests.tracking.test_worker import client as store_client

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore:.*type hint"),
]

# The process that logs, which dies of a call of MLflow's client, as often as a file has bytes.
DIES = """
import os, signal, sys
from pathlib import Path
from mlflow.tracking import MlflowClient
from tasks.tracking.worker import _serve
name, when, lives, number = sys.argv[1:]
real = getattr(MlflowClient, name)
def fatal(*arguments, **named):
    if when == "after":
        found = real(*arguments, **named)
    if left := Path(lives).read_text():
        Path(lives).write_text(left[1:])
        os.kill(os.getpid(), int(number))
    return found if when == "after" else real(*arguments, **named)
setattr(MlflowClient, name, fatal)
_serve()
"""


@pytest.fixture(autouse=True)
def own_process() -> Iterator[None]:
    client._stop()
    yield
    client._stop()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    client.log(Run(None, str(home), "other", "name"))
    client._stop()
    return home / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, database: Path) -> Path:
    """A home with a database, because making one takes longer than all else."""
    (tmp_path / "home").mkdir()
    shutil.copy(database, tmp_path / "home")
    return tmp_path / "home"


def dying(
    monkeypatch: pytest.MonkeyPatch, folder: Path, call: str, when: str, times: int, number: int = signal.SIGSEGV
) -> None:
    lives = folder / "lives"
    lives.write_text("x" * times)
    words = (call, when, str(lives), str(int(number)))
    monkeypatch.setattr(client, "COMMAND", (sys.executable, "-P", "-c", DIES, *words))


def full_run(folder: Path) -> Run:
    """A run with everything that a run may have."""
    (folder / "file.txt").write_text("text")
    return Run(
        None,
        str(folder / "home"),
        "e",
        "name",
        parameters={f"key{n}": n for n in range(150)},
        metrics={"float/top1": 80.0, "int8/top1": 79.0},
        tags={"prefect.flow_run_id": "1", "mlflow.source.name": "ptq-quantize"},
        files=[str(folder / "file.txt")],
        texts={"report.json": "{}"},
        curves={"curve": [1.0, 2.0, 3.0]},
        datasets=DATASETS,
        model=packed(folder),
        of_model=["int8/top1"],
        release={"name": "ours", "alias": "champion", "reasons": []},
    )


def whole(store: Any) -> None:
    """One run, finished, that has everything once."""
    (run,) = store.search_runs(["2"])
    assert run.info.status == "FINISHED"
    assert len(run.data.params) == 150
    assert run.data.metrics == {"float/top1": 80.0, "int8/top1": 79.0, "curve": 3.0}
    assert [(each.step, each.value) for each in store.get_metric_history(run.info.run_id, "curve")] == [
        (0, 1.0),
        (1, 2.0),
        (2, 3.0),
    ]
    assert {file.path for file in store.list_artifacts(run.info.run_id)} == {"file.txt", "report.json"}
    assert len(run.inputs.dataset_inputs) == 2
    states = {each.model_id: str(each.status) for each in store.search_logged_models(["2"])}
    assert sorted({*states.values()} - {"FAILED"}) == ["READY"]  # one that was half logged has failed
    assert sorted(each.model_id for each in run.outputs.model_outputs) == sorted(states)
    assert store.get_registered_model("ours").aliases == {"champion": 1}


CALLS = [
    ("create_run", "before"),
    ("create_run", "after"),
    ("log_inputs", "after"),
    ("log_batch", "after"),
    ("finalize_logged_model", "before"),
    ("log_artifact", "after"),
    ("log_text", "before"),
    ("set_registered_model_alias", "after"),
    ("set_terminated", "before"),
    ("set_terminated", "after"),
]


@pytest.mark.parametrize(
    ("call", "when"), [pytest.param(*each, marks=() if each == CALLS[3] else pytest.mark.slow) for each in CALLS]
)
def test_a_process_killed_while_it_logs_leaves_one_whole_run(
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    call: str,
    when: str,
) -> None:
    dying(monkeypatch, tmp_path, call, when, 1)
    logged = client.log(full_run(tmp_path))
    store = store_client(home)
    whole(store)
    assert store.get_run(logged.run_id).data.tags["release.version"] == "1"
    said = "MLflow: the process was ended by SIGSEGV; a new one logs the run, without system metrics up to now\n"
    assert capfd.readouterr().err == said


@pytest.mark.slow
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_process_that_dies_twice_is_told_and_leaves_a_run_that_ended(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, waits: bool, number: signal.Signals
) -> None:
    dying(monkeypatch, tmp_path, "log_batch", "before", 2, number)
    reasons: list[str] = []
    if waits:
        with pytest.raises(TrackingError) as told:
            client.log(full_run(tmp_path))
        reasons.append(str(told.value))
    else:
        with handing_over(reasons.append):
            client.log(full_run(tmp_path))
        client.collect()
    memory = ", as for want of memory" if number == signal.SIGKILL else ""
    assert reasons == [
        f"the database in '{home}': MLflow could not log the run: the process was ended by {number.name}"
        f"{memory}; the output is written"
    ]
    (run,) = store_client(home).search_runs(["2"])
    assert run.info.status == "FAILED"
    assert run.data.tags["failure"] == reasons[0]


COMPILES_NOTHING = """
import os, signal
import openvino
openvino.Core.compile_model = lambda *_: os.kill(os.getpid(), signal.SIGSEGV)
from tasks.tracking.worker import _serve
_serve()
"""


@pytest.mark.slow
def test_a_model_that_openvino_does_not_survive_is_logged(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its example, and without a trial of it."""
    monkeypatch.setattr(client, "COMMAND", (sys.executable, "-P", "-c", COMPILES_NOTHING))
    logged = client.log(full_run(tmp_path))
    store = store_client(home)
    whole(store)
    (output,) = store.get_run(logged.run_id).outputs.model_outputs
    files = {file.path for file in store.list_logged_model_artifacts(output.model_id)}
    assert {"serving_input_example.json", "input_example.json", "MLmodel"} <= files


def test_a_process_killed_before_it_is_asked_costs_nothing(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    client.start()
    process = client._waiting[0][0]._process
    process.kill()
    process.wait()
    run = client.log(Run(None, str(home), "e", "name", {"key": 1}))
    assert store_client(home).get_run(run.run_id).info.status == "FINISHED"
    assert "MLflow: the process was ended by SIGKILL" in capfd.readouterr().err


@pytest.mark.slow
def test_a_run_cut_short_with_its_command_is_ended_by_the_next_one(home: Path) -> None:
    client.log(Run(None, str(home), "e", "first", status=client.RUNNING))
    client._stop()
    client.log(Run(None, str(home), "e", "second"))
    states = {run.info.run_name: run.info.status for run in store_client(home).search_runs(["2"])}
    assert states == {"first": "KILLED", "second": "FINISHED"}


# --- databases


def damage(file: Path) -> None:
    file.write_bytes(bytes(range(256)) * 40)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def age(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("update alembic_version set version_num = 'ffffffffffff'")
    database.close()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        pytest.param(damage, "is damaged; move it away", marks=pytest.mark.slow),
        pytest.param(truncate, "is damaged; move it away", marks=pytest.mark.slow),
        pytest.param(
            replace_by_folder, "cannot be opened; give yourself the right to, or move", marks=pytest.mark.slow
        ),
        pytest.param(age, "is of another version of MLflow; take that one, or move", marks=pytest.mark.slow),
    ],
)
def test_the_way_out_of_a_broken_database_is_told_and_leads_out(
    home: Path, harm: Callable[[Path], None], said: str
) -> None:
    file = home / "mlflow.db"
    harm(file)
    run = Run(None, str(home), "e", "name")
    with pytest.raises(TrackingError) as told:
        client.log(run)
    line = str(told.value)
    assert f"could not log the run: '{file}' {said}" in line
    assert line.endswith("every step comes from the cache; the output is written")
    assert len(line) < 300 + 2 * len(str(home))
    file.rename(home / "away")
    assert client.log(run).run_id


@pytest.mark.slow
def test_a_locked_database_is_told(home: Path) -> None:
    holder = sqlite3.connect(home / "mlflow.db")
    try:
        holder.execute("begin exclusive")
        with pytest.raises(TrackingError, match=r"mlflow.db' is locked by another process; end that one"):
            client.log(Run(None, str(home), "e", "name"))
    finally:
        holder.close()


@pytest.mark.slow
def test_a_damaged_database_is_told(home: Path) -> None:
    damage(home / "mlflow.db")
    with pytest.raises(TrackingError, match=r"mlflow.db' is damaged; move it away"):
        client.log(Run(None, str(home), "e", "name"))


def test_only_an_sqlite_file_is_explained() -> None:
    assert explained("database is locked", "http://host", Path("/h")) == "database is locked"
    assert explained("attempt to write a readonly database", "sqlite:////a/b.db", Path("/h")).startswith("'/a/b.db' ")
    assert explained("something else", None, Path("/h")) == "something else"


# --- ends with its parent

STARTS = """
import sys, time
from tasks.tracking import client
client.start()
print(client._waiting[0][0]._process.pid, flush=True)
time.sleep(60)
"""
MEASURES = """
import sys
from tasks.engine.helper_process import ask_once
answers = "from tasks.engine.helper_process import answer_once; import os, time;" \\
    "answer_once(lambda _: open(sys.argv[1], 'w').write(str(os.getpid())) and time.sleep(60))"
ask_once((sys.executable, "-c", "import sys;" + answers, sys.argv[1]), {}, 1)
"""


@pytest.mark.parametrize("script", [STARTS, MEASURES])
def test_helpers_end_when_their_parent_is_killed(tmp_path: Path, script: str) -> None:
    note = tmp_path / "note"
    parent = subprocess.Popen(
        [sys.executable, "-P", "-c", script, str(note)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout
    with parent.stdout:
        if script == STARTS:
            helper = int(parent.stdout.readline())
        else:
            wait_for(lambda: note.exists() and note.read_text() != "")
            helper = int(note.read_text())
        parent.kill()
        parent.wait()
    wait_for(lambda: not alive(helper))


def alive(process: int) -> bool:
    """Whether it runs; one that nobody waited for is no more than a name."""
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    assert how_it_ended(-int(signal.SIGRTMIN) - 1, "") == f"the process was ended by signal {int(signal.SIGRTMIN) + 1}"
    assert how_it_ended(3, " ") == "the process ended with exit code 3, no reason given"
