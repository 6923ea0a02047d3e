"""MLflow's database of a home: made once and whole, and what to do about one that cannot be used."""

import fcntl
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tasks.tracking import moved_home

NAME = "mlflow.db"
_AGAIN = "then run again: every step comes from the cache"
_ANEW = f"move it away (the runs it lists are lost, files and models are not), {_AGAIN}"
# What SQLite and MLflow say, what it means, and the way out.
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
    """The last line that says why, in front of the statement and the link to a manual that SQLAlchemy adds."""
    text = traceback.format_exception_only(failure)[-1].strip()
    return re.split(r"\n\[SQL: |\n\(Background on this error", text)[0].splitlines()[-1]


def explained(reason: str, uri: str | None, home: Path) -> str:
    """Why MLflow refuses, with the way out where its database is to blame: that of ``home``, or an SQLite file."""
    file = Path(home) / NAME if uri is None else Path(urlsplit(uri).path[1:]) if uri.startswith("sqlite:") else None
    for pattern, (state, way) in _TROUBLES.items():
        if file and re.search(pattern, reason):
            return f"'{file}' {state}; {way}"
    return reason


@contextmanager
def created_once(uri: str | None, home: Path) -> Iterator[str]:
    """The tracking URI, under a lock: two processes that open a fresh SQLite database break its migrations."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if uri is None:
            # A relative path, because a home may hold characters that mean something else in a URI.
            os.chdir(home)
            _create()
            moved_home.follow(home)
        yield uri or f"sqlite:///{NAME}"


def _create() -> None:
    """Have the database whole or not at all: MLflow cannot go on with one whose creation was cut short.

    Raises OSError for one that cannot be opened, which MLflow would try for two minutes.
    """
    database, draft = Path(NAME), Path(".mlflow.db.incomplete")
    if database.exists():
        with database.open("r+b"):
            return
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - not in the process that only calls log()

    draft.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{draft}").search_experiments(max_results=1)
    draft.replace(database)
