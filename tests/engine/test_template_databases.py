"""Databases of new homes: copies of a template that is whole, empty and of the installed version, or made as ever."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from tasks.engine import template_databases
from tasks.engine.template_databases import MLFLOW, PREFECT, Kind, begun, is_newest, newest_revision
from tasks.tracking.database import created_once


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino-ptq-flow"


def migrated(database: Path, rows: int = 3) -> None:
    """A database as a server leaves it: the end of it is in the file -wal yet."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("create table alembic_version (version_num text)")
        connection.execute("insert into alembic_version values (?)", (newest_revision(PREFECT),))
        connection.execute("create table runs (name text)")
        connection.executemany("insert into runs values (?)", [("mine",)] * rows)
        connection.commit()


def begin(database: Path) -> bool:
    """Whether the database had to be made."""
    with begun(PREFECT, database):
        made = not database.exists()
        if made:
            migrated(database)
    return made


def tables(database: Path) -> dict[str, list[tuple[str, ...]]]:
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        return {table: connection.execute(f"select * from {table}").fetchall() for table in ("alembic_version", "runs")}


@pytest.mark.parametrize(("kind", "folder"), [(PREFECT, "prefect.server.database"), (MLFLOW, "mlflow.store")])
def test_the_newest_revision_is_that_of_alembic(kind: Kind, folder: str) -> None:
    base = Path(str(import_module(kind.library).__file__)).parent
    place = base / kind.migrations
    scripts = ScriptDirectory(str(place.parents[0]), version_locations=[str(place)])
    assert newest_revision(kind) == scripts.get_current_head()


def test_the_second_home_begins_with_an_empty_copy(tmp_path: Path, cache: Path) -> None:
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    assert begin(first)
    assert not begin(second)
    assert tables(second) == {"alembic_version": [(newest_revision(PREFECT),)], "runs": []}
    assert len(tables(first)["runs"]) == 3
    left = {path.name for path in (*tmp_path.iterdir(), *cache.iterdir())}
    assert left == {"cache", "first.db", "second.db", PREFECT.template.name, f"{PREFECT.template.stem}.lock"}


def test_a_database_that_is_there_is_left_alone(tmp_path: Path) -> None:
    begin(tmp_path / "first.db")
    mine = tmp_path / "mine.db"
    mine.write_bytes(b"mine")
    with begun(PREFECT, mine):
        assert mine.read_bytes() == b"mine"
    assert mine.read_bytes() == b"mine"


def older(content: bytes) -> bytes:
    return content.replace(str(newest_revision(PREFECT)).encode(), b"0" * len(str(newest_revision(PREFECT))))


@pytest.mark.parametrize(
    "damage",
    [lambda _: b"", lambda _: b"garbage" * 999, lambda content: content[:-4096], older],
    ids=["empty", "garbage", "cut off", "of an older version"],
)
def test_a_template_that_is_broken_is_made_anew(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    begin(tmp_path / "first.db")
    sound = PREFECT.template.read_bytes()
    PREFECT.template.write_bytes(damage(sound))
    assert begin(tmp_path / "second.db")
    assert not begin(tmp_path / "third.db")
    assert is_newest(PREFECT, PREFECT.template)


def test_what_was_not_migrated_to_its_end_is_no_template(tmp_path: Path) -> None:
    with begun(PREFECT, tmp_path / "first.db"), closing(sqlite3.connect(tmp_path / "first.db")) as connection:
        connection.execute("create table alembic_version (version_num text)")
    assert not PREFECT.template.exists()


def test_without_a_cache_folder_each_home_makes_its_own(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert begin(tmp_path / "first.db")
    assert begin(tmp_path / "second.db")


def test_of_several_that_find_no_template_one_makes_it(tmp_path: Path) -> None:
    made = list[bool]()
    threads = [
        threading.Thread(target=lambda name=name: made.append(begin(tmp_path / f"{name}.db"))) for name in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False, False, False, True]


@pytest.mark.parametrize("named", ["", "relative/folder"])
def test_a_cache_folder_that_is_not_absolute_does_not_count(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", named)
    monkeypatch.setenv("HOME", "/home/me")
    assert template_databases.cache_folder() == Path("/home/me/.cache/openvino-ptq-flow")


@pytest.mark.slow
def test_a_copy_of_mlflow_s_names_its_own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for name in ("first", "second"):
        monkeypatch.chdir(tmp_path)
        with created_once(None, tmp_path / name), closing(sqlite3.connect("mlflow.db")) as connection:
            made.append(MLFLOW.template.stat().st_mtime_ns)
            places = connection.execute("select artifact_location from experiments").fetchall()
            assert places == [(str(tmp_path / name / "mlruns" / "0"),)]
    assert made[0] == made[1]
    assert is_newest(MLFLOW, tmp_path / "second" / "mlflow.db")
