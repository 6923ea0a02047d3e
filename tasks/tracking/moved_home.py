"""Artifacts of a home that was moved or copied: MLflow keeps whole paths of them, which would lead into the old one."""

import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

ARTIFACTS = "mlartifacts"
# What MLflow calls a location in experiments that it made in a home: ours, and its own first one.
_LOCATION = re.compile(rf"(.+)/({ARTIFACTS}|mlruns/0)")
_COLUMNS = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def follow(home: Path) -> None:
    """Have ``mlflow.db`` in ``home`` name the artifacts there, if it still names those of where the home was before.

    A run whose artifacts lie there and not here keeps them: an earlier version wrote them into the old home. The caller
    holds the lock of the database. One that is damaged or in use is left alone: MLflow, which opens it next, says so.
    """
    root = home.resolve()
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(root / "mlflow.db")) as database, database:
        locations = database.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        found = {match[1] for (location,) in locations if location and (match := _LOCATION.fullmatch(location))}
        for old in found - {str(root), root.as_uri()}:
            _rename(database, old, root.as_uri() if old.startswith("file:") else str(root))


def _rename(database: sqlite3.Connection, old: str, new: str) -> None:
    """Let locations below ``old`` be below ``new``, but for those of runs and models that lie in the old place only."""
    for name in (f"/{ARTIFACTS}", "/mlruns/0"):
        change = "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?"
        database.execute(change, (new + name, old + name))
    for table, column in _COLUMNS:
        below = f"SELECT DISTINCT {column} FROM {table} WHERE substr({column}, 1, ?) = ?"  # noqa: S608 - names above
        for (location,) in database.execute(below, (len(old) + 1, f"{old}/")).fetchall():
            moved = new + location[len(old) :]
            if _path(moved).is_dir() or not _path(location).is_dir():
                change = f"UPDATE {table} SET {column} = ? WHERE {column} = ?"  # noqa: S608
                database.execute(change, (moved, location))


def _path(location: str) -> Path:
    return Path(unquote(urlsplit(location).path) if location.startswith("file:") else location)
