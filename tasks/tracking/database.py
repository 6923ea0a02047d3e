"""MLflow's database in a home: created completely or not at all, and the way out if one cannot be used."""

import fcntl
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tasks.engine.template_databases import MLFLOW, begun
from tasks.tracking import moved_home

NAME = "mlflow.db"
_AGAIN = "then run again: every step comes from the cache"
_ANEW = f"move it away (the runs it lists are lost, files and models are not), {_AGAIN}"
# What SQLite and MLflow say, what it means, and what to do.
_TROUBLES = {
    "not a database|malformed|DDL|no such (table|column)": ("is damaged", _ANEW),
    "database is locked": ("is locked by another process", f"end that one (`fuser` names it), {_AGAIN}"),
    "readonly database": ("must not be written", f"give yourself the right to write it and its folder, {_AGAIN}"),
    "unable to open database|(Permission denied|Is a directory): 'mlflow.db'": (
        "cannot be opened",
        f"give yourself the right to, or {_ANEW}",
    ),
    "out-of-date database schema|locate revision": ("is of another version of MLflow", f"take that one, or {_ANEW}"),
}


def reason_line(failure: Exception) -> str:
    """The last line of the reason, without the statement and the link that SQLAlchemy appends.

    Args:
        failure: What MLflow raised.
    """
    text = traceback.format_exception_only(failure)[-1].strip()
    return re.split(r"\n\[SQL: |\n\(Background on this error", text)[0].splitlines()[-1]


def explained(reason: str, uri: str | None, home: Path) -> str:
    """MLflow's reason, with advice if its database is to blame: that of ``home``, or an SQLite file.

    Args:
        reason: MLflow's reason.
        uri: Tracking URI; None stands for SQLite in ``home``.
        home: Folder of the database.
    """
    file = Path(home) / NAME if uri is None else Path(urlsplit(uri).path[1:]) if uri.startswith("sqlite:") else None
    for pattern, (state, way) in _TROUBLES.items():
        if file and re.search(pattern, reason):
            return f"'{file}' {state}; {way}"
    return reason


@contextmanager
def created_once(uri: str | None, home: Path) -> Iterator[str]:
    """Yields the tracking URI under a lock: two processes that open a fresh SQLite database would break its migrations.

    Args:
        uri: Tracking URI; None stands for SQLite in ``home``.
        home: Folder of the database.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if uri is None:
            # A relative path, because a home may contain characters with a meaning in URIs.
            os.chdir(home)
            _create()
            moved_home.follow(home)
        yield uri or f"sqlite:///{NAME}"


def _create() -> None:
    """Create the database completely or not at all, as MLflow cannot continue a creation that was cut short.

    Raises:
        OSError: It cannot be opened; MLflow would try for two minutes.
    """
    database, draft = Path(NAME), Path(".mlflow.db.incomplete")
    if database.exists():
        with database.open("r+b"):
            return
    draft.unlink(missing_ok=True)
    with begun(MLFLOW, draft):
        if not draft.exists():
            from mlflow.tracking import MlflowClient  # noqa: PLC0415 - not in the process that only calls log()

            MlflowClient(f"sqlite:///{draft}").search_experiments(max_results=1)
    draft.replace(database)
