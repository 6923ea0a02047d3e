"""A home that was moved or copied: its artifacts are read and written where it is now."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tasks.tracking.client import Run
from tasks.tracking.moved_home import follow
from tests.tracking.test_worker import Logger, a_run, client, packed

pytestmark = pytest.mark.filterwarnings("ignore:.*")  # of MLflow's own database and of what it imports


def locations(home: Path) -> dict[str, list[str]]:
    """Everything in the database that says where artifacts lie."""
    columns = {
        "experiments": "artifact_location",
        "runs": "artifact_uri",
        "logged_models": "artifact_location",
        "model_versions": "storage_location",
    }
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        return {
            table: [row[0] for row in database.execute(f"SELECT {column} FROM {table}")]
            for table, column in columns.items()
        }


def logged_text(home: Path, text: str) -> str:
    """Log a run with a text; its identifier."""
    line = json.dumps(asdict(Run(None, str(home), "e", "name", texts={"text.txt": text}))) + "\n"
    return str(Logger(home.parent).answer(line)["run_id"])


def text_of(home: Path, run: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(home)
    return Path(client(home).download_artifacts(run, "text.txt", str(home.parent))).read_text()


def move(old: Path, new: Path) -> None:
    old.rename(new)


def copy(old: Path, new: Path) -> None:
    shutil.copytree(old, new)
    for file in (old / "mlartifacts").rglob("text.txt"):  # whoever reads it here reads in the wrong place
        file.write_text("of the old home")


@pytest.mark.slow
@pytest.mark.parametrize("transfer", [move, copy])
def test_artifacts_go_to_the_home_in_use_and_are_read_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transfer: Callable[[Path, Path], object]
) -> None:
    old, new = tmp_path / "old # home", tmp_path / "new % home"
    first = Logger(tmp_path).answer(a_run(old, packed(tmp_path)))["run_id"]
    earlier = logged_text(old, "earlier")
    transfer(old, new)
    before = sorted(old.rglob("*"))
    later = logged_text(new, "later")
    assert text_of(new, earlier, monkeypatch) == "earlier"
    assert text_of(new, later, monkeypatch) == "later"
    assert sorted(old.rglob("*")) == before
    found = locations(new)
    assert all(each.startswith((new.as_uri(), str(new))) for table in found.values() for each in table)
    assert {table: len(each) for table, each in found.items()} == {
        "experiments": 2,
        "runs": 3,
        "logged_models": 1,
        "model_versions": 1,
    }
    store: Any = client(new)
    model = store.get_logged_model(store.get_run(first).outputs.model_outputs[0].model_id)
    assert Path(new, "mlartifacts", "models", model.model_id, "artifacts", "MLmodel").is_file()
    assert model.artifact_location == Path(new, "mlartifacts", "models", model.model_id, "artifacts").as_uri()


def small_database(home: Path, experiment: str, *runs: str) -> None:
    home.mkdir()
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        database.execute("CREATE TABLE experiments (artifact_location)")
        database.execute("CREATE TABLE runs (artifact_uri)")
        database.execute("CREATE TABLE logged_models (artifact_location)")
        database.execute("CREATE TABLE model_versions (source, storage_location)")
        database.execute("INSERT INTO experiments VALUES (?)", (experiment,))
        database.executemany("INSERT INTO runs VALUES (?)", [(run,) for run in runs])


def test_what_does_not_lie_here_stays_where_it_is(tmp_path: Path) -> None:
    """What an earlier version wrote from the copy into the old home; and places of the user's own."""
    home = tmp_path / "home"
    old = [tmp_path / "old home" / "mlartifacts" / name / "artifacts" for name in ("copied", "left", "empty")]
    elsewhere = ["s3://bucket/3/artifacts", "file:///older/mlartifacts/1/artifacts"]
    small_database(home, old[0].parents[1].as_uri(), *(each.as_uri() for each in old), *elsewhere)
    for folder in (*old[:2], home / "mlartifacts" / "copied" / "artifacts"):
        folder.mkdir(parents=True)
    follow(home)
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        runs = [row[0] for row in database.execute("SELECT artifact_uri FROM runs")]
        (experiment,) = database.execute("SELECT artifact_location FROM experiments").fetchall()
    assert experiment == ((home / "mlartifacts").as_uri(),)
    copied, empty = ((home / "mlartifacts" / name / "artifacts").as_uri() for name in ("copied", "empty"))
    assert runs == [copied, old[1].as_uri(), empty, *elsewhere]


@pytest.mark.parametrize("location", ["s3://bucket/mine", "file:///data/artifacts", "/data/mlruns/7", ""])
def test_places_of_the_users_own_stay(tmp_path: Path, location: str) -> None:
    home = tmp_path / "home"
    small_database(home, location, f"{location}/1/artifacts")
    before = (home / "mlflow.db").read_bytes()
    follow(home)
    assert (home / "mlflow.db").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(100)])
def test_a_database_that_is_none_is_left_to_mlflow(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(content)
    follow(tmp_path)
    assert (tmp_path / "mlflow.db").read_bytes() == content
