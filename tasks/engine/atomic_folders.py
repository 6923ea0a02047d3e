"""Folders that are whole or not there at all: filled beside their place, then put into it by a single rename.

A folder that is being filled is locked. The kernel lets go of the lock when the process dies, however it dies, so what
a killed run left behind is told from what another run is filling right now.
"""

import ctypes
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# From the creation of a folder to its lock.
_GRACE_SECONDS = 2.0


@contextmanager
def staged(parent: Path, prefix: str) -> Iterator[Path]:
    """A new, empty folder in ``parent``. What still lies under its name at the end is removed."""
    folder = parent / f"{prefix}{token_hex(4)}"
    folder.mkdir()
    try:
        with locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let others see, by :func:`is_locked`, that a process works in a folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # a network file system that cannot lock folders
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def abandoned(parent: Path, prefix: str, seconds: float = _GRACE_SECONDS) -> list[Path]:
    """Folders of :func:`staged` whose process is gone and that nobody touched for so many seconds."""
    return [path for path in parent.glob(f"{prefix}*") if _is_untouched(path, seconds) and not is_locked(path)]


def _is_untouched(path: Path, seconds: float) -> bool:
    try:
        return path.is_dir() and time.time() - path.stat().st_mtime >= seconds
    except FileNotFoundError:  # its process has just finished
        return False


def make_folder(folder: Path) -> Path:
    """The folder, made unless it is there. Raises OSError, also for what stands in its place, which is left alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as failure:
        raise NotADirectoryError(
            errno.ENOTDIR, "a file or a link without target, not a folder", failure.filename
        ) from failure
    return folder


def remove(path: Path) -> None:
    """Remove what lies under a name, be it a file, a link or a folder of files, as far as that is allowed."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    with suppress(OSError):
        path.chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)


def exchange(first: Path, second: Path) -> None:
    """Let two folders change places in one step. Raises OSError where the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError("renameat2 is not there")
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(second))


def is_locked(folder: Path) -> bool:
    """Whether a process works in a folder; False where there is none."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)
