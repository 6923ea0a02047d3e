"""Artifacts of a home that was moved or copied: MLflow stores absolute paths, which would lead into the old home."""

import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

ARTIFACTS = "mlartifacts"
# Locations of experiments in a home: ours, and MLflow's own first one.
_LOCATION = re.compile(rf"(.+)/({ARTIFACTS}|mlruns/0)")
_COLUMNS = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def follow(home: Path) -> None:
    """Make ``mlflow.db`` in ``home`` name the artifacts there, if it still names the place where the home was before.

    A run whose artifacts exist only in the old place keeps its location: an earlier version wrote them there. The
    caller holds the lock of the database. A database that is damaged or in use stays as it is; MLflow, which opens it
    next, reports that.

    Args:
        home: Folder of the database.
    """
    root = home.resolve()
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(root / "mlflow.db")) as database, database:
        locations = database.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        found = {match[1] for (location,) in locations if location and (match := _LOCATION.fullmatch(location))}
        for old in found - {str(root), root.as_uri()}:
            _rename(database, old, root.as_uri() if old.startswith("file:") else str(root))


def _rename(database: sqlite3.Connection, old: str, new: str) -> None:
    """Replace ``old`` by ``new`` in locations, except for runs and models that exist only in the old place."""
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
