"""Empty databases of Prefect and MLflow, migrated once and kept in the user's cache folder; homes begin with a copy.

Migrations take several seconds, and their outcome depends on the version of the library alone. A template is used only
if it is whole and its revision is the newest one of the code that is installed; any other one is made anew. Where no
cache folder can be written, everything works without.
"""

import fcntl
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex

_REVISION = re.compile(r"^(revision|down_revision)\b[^=\n]*=\s*([^\n]+)", re.MULTILINE)
_NAME = re.compile(r"['\"](\w+)['\"]")


@dataclass(frozen=True)
class Kind:
    """A library's database: where its migrations are, and tables whose rows every new database has."""

    library: str
    migrations: str
    rows_of: tuple[str, ...] = ("alembic_version",)

    @property
    def template(self) -> Path:
        """Its file in the cache folder, by the version of the library."""
        return cache_folder() / f"{self.library}-{version(self.library)}.db"


PREFECT = Kind("prefect", "server/database/_migrations/versions/sqlite")
MLFLOW = Kind("mlflow", "store/db_migrations/versions", ("alembic_version", "experiments", "workspaces"))


def cache_folder() -> Path:
    """The folder of the user's cache that is ours; an address that is not absolute does not count, as XDG has it."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path("~/.cache").expanduser()) / "openvino-ptq-flow"


@cache
def newest_revision(kind: Kind) -> str | None:
    """The one revision of the installed code that no other one builds on; None where there is not just one.

    The files are read instead of imported, which would take longer than it saves.

    Args:
        kind: Whose database.
    """
    found = find_spec(kind.library)
    if found is None or found.origin is None:
        return None
    known, built_on = set[str](), set[str]()
    for file in (Path(found.origin).parent / kind.migrations).glob("*.py"):
        for word, value in _REVISION.findall(file.read_text(encoding="utf-8")):
            (known if word == "revision" else built_on).update(_NAME.findall(value))
    heads = known - built_on
    return heads.pop() if len(heads) == 1 else None


def is_newest(kind: Kind, database: Path) -> bool:
    """Whether a database has the tables that the installed code expects; False for none and for a damaged one.

    Args:
        kind: Whose database.
        database: Its file; nothing is written to it.
    """
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            revisions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error:
        return False
    return revisions == [(newest_revision(kind),)]


@contextmanager
def begun(kind: Kind, database: Path) -> Iterator[None]:
    """In here a database that was not there is a copy of the template, or the one to be made that becomes it.

    The caller holds the lock of the database. Of several that find no template, one makes it and the others wait.

    Args:
        kind: Whose database.
        database: Its file, which exists at the end unless the caller failed to make it.
    """
    if database.exists() or _copied(kind, database):
        yield
        return
    with _lock(kind) as writable:
        if not writable or _copied(kind, database):
            yield
            return
        yield
        with suppress(OSError, sqlite3.Error):  # the next home makes it
            _keep(kind, database)


def _copied(kind: Kind, database: Path) -> bool:
    """Whether there is a sound template, which ``database`` is a copy of now."""
    draft = database.with_name(f".{database.name}.{token_hex(4)}")
    try:
        shutil.copyfile(kind.template, draft)
        if not is_newest(kind, draft) or not _is_whole(draft):
            return False
        os.link(draft, database)  # unlike a rename never over one that came meanwhile
    except OSError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _is_whole(database: Path) -> bool:
    try:
        with closing(sqlite3.connect(database)) as connection:
            return connection.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
    except sqlite3.Error:
        return False


def _keep(kind: Kind, database: Path) -> None:
    """Make a new database the template: its tables alone, whatever was written into it meanwhile."""
    if not is_newest(kind, database):
        return
    draft = kind.template.with_name(f".{kind.template.name}.{token_hex(4)}")
    try:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(draft)) as copy:
            source.backup(copy)  # with what is still in the file -wal
            copy.execute("PRAGMA journal_mode=DELETE")
            for (table,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                if table not in kind.rows_of:
                    copy.execute(f'DELETE FROM "{table}"')  # noqa: S608 - the name is the database's own
            copy.commit()
            copy.execute("VACUUM")
        draft.replace(kind.template)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _lock(kind: Kind) -> Iterator[bool]:
    """Whether the template can be written, which nobody else does in here."""
    try:
        kind.template.parent.mkdir(parents=True, exist_ok=True)
        lock = kind.template.with_suffix(".lock").open("w")
    except OSError:
        yield False
        return
    with lock:
        with suppress(OSError):  # a network file system that cannot lock
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield True
