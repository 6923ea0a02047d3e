"""Folders that are complete or absent: filled beside their place, then put into it by a single rename.

A process locks the folder that it fills. The kernel releases the lock when the process dies, so an unlocked folder is
the remains of a killed run, and a locked one belongs to a run that still works.
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
# The longest time between the creation of a folder and its lock.
_GRACE_SECONDS = 2.0


@contextmanager
def staged(parent: Path, prefix: str) -> Iterator[Path]:
    """A new, empty, locked folder. It is removed at the end unless it was renamed.

    Args:
        parent: Where to create it.
        prefix: How its name begins.
    """
    folder = parent / f"{prefix}{token_hex(4)}"
    folder.mkdir()
    try:
        with locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, so that :func:`is_locked` tells other processes that this one works in it.

    Args:
        folder: An existing folder.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # a network file system that cannot lock folders
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def abandoned(parent: Path, prefix: str, seconds: float = _GRACE_SECONDS) -> list[Path]:
    """Folders of :func:`staged` whose process has ended and that nobody touched lately.

    Args:
        parent: Where to look.
        prefix: How their names begin.
        seconds: How long nobody touched them, at least.
    """
    return [path for path in parent.glob(f"{prefix}*") if _is_untouched(path, seconds) and not is_locked(path)]


def _is_untouched(path: Path, seconds: float) -> bool:
    try:
        return path.is_dir() and time.time() - path.stat().st_mtime >= seconds
    except FileNotFoundError:  # its process has just finished
        return False


def make_folder(folder: Path) -> Path:
    """The folder, created unless it exists.

    Args:
        folder: Its path.

    Raises:
        OSError: It cannot be created, or a file of that name exists (NotADirectoryError); the file stays.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as failure:
        raise NotADirectoryError(
            errno.ENOTDIR, "a file or a link without target, not a folder", failure.filename
        ) from failure
    return folder


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, as far as permissions allow.

    Args:
        path: What to remove; it may be absent.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    with suppress(OSError):
        path.chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)


def exchange(first: Path, second: Path) -> None:
    """Exchange two folders in one step.

    Args:
        first: A folder.
        second: Another one on the same file system.

    Raises:
        OSError: The operating system or the file system cannot do it.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError("renameat2 is not there")
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(second))


def is_locked(folder: Path) -> bool:
    """Whether a process works in a folder; False if there is no folder.

    Args:
        folder: Its path.
    """
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
