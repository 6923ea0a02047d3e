"""Locks for Prefect's serializable isolation: if several processes want the same step, one runs it and the others wait.

They are kernel locks on files. Prefect's own locks outlive a process that is killed, and the next process would wait
forever.
"""

import asyncio
import fcntl
import os
import threading
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from prefect.locking.protocol import LockManager
from prefect.settings import get_current_settings

from tasks.engine.atomic_folders import make_folder, remove

_POLL_SECONDS = 0.05


class FileLocks(LockManager):
    """One file per key, in ``locks`` beside the results of steps."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, int]] = {}
        self._mutex = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> "FileLocks":
        """Copies of a policy share the open files."""
        return FileLocks()

    def __reduce__(self) -> tuple[Any, ...]:
        """A policy can be sent to another process, without its open files."""
        return FileLocks, ()

    def acquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """Wait for the lock; returns False if the time is over first. The lock is held until its release or for life.

        Args:
            key: The cache key.
            holder: Who wants it.
            acquire_timeout: Most seconds to wait; None waits forever.
            hold_timeout: Not used: the kernel releases the lock of a dead process.
        """
        del hold_timeout
        if self.is_lock_holder(key, holder):
            return True
        file = self._open(key)
        if not _until(lambda: _locked(file), acquire_timeout):
            os.close(file)
            return False
        with self._mutex:
            self._held[key] = (holder, file)
        return True

    async def aacquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """The same as :meth:`acquire_lock`, from a coroutine.

        Args:
            key: The cache key.
            holder: Who wants it.
            acquire_timeout: Most seconds to wait; None waits forever.
            hold_timeout: Not used.
        """
        return await asyncio.to_thread(self.acquire_lock, key, holder, acquire_timeout, hold_timeout)

    def release_lock(self, key: str, holder: str) -> None:
        """Release the lock.

        Args:
            key: The cache key.
            holder: Who acquired it.

        Raises:
            ValueError: Somebody else holds it.
        """
        with self._mutex:
            if self._held.get(key, ("", 0))[0] != holder:
                msg = f"{holder} does not hold the lock {key}"
                raise ValueError(msg)
            _, file = self._held.pop(key)
        os.close(file)

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Whether this process holds the lock under that name.

        Args:
            key: The cache key.
            holder: The name.
        """
        with self._mutex:
            return self._held.get(key, ("", 0))[0] == holder

    def is_locked(self, key: str) -> bool:
        """Whether any process holds the lock.

        Args:
            key: The cache key.
        """
        with self._mutex:
            if key in self._held:
                return True
        file = self._open(key)
        try:
            return not _locked(file)
        finally:
            os.close(file)

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until nobody holds the lock; returns False if the time is over first.

        Args:
            key: The cache key.
            timeout: Most seconds to wait; None waits forever.
        """
        return _until(lambda: not self.is_locked(key), timeout)

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """The same as :meth:`wait_for_lock`, from a coroutine.

        Args:
            key: The cache key.
            timeout: Most seconds to wait; None waits forever.
        """
        return await asyncio.to_thread(self.wait_for_lock, key, timeout)

    def _open(self, key: str) -> int:
        folder = Path(get_current_settings().results.local_storage_path) / ".locks"
        file = make_folder(folder) / sha256(key.encode()).hexdigest()
        try:
            return os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            if not (file.is_symlink() or file.is_dir()):
                raise
            remove(file)
            return os.open(file, os.O_RDWR | os.O_CREAT, 0o644)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _until(done: Any, timeout: float | None) -> bool:
    end = None if timeout is None else time.monotonic() + timeout
    while not done():
        if end is not None and time.monotonic() > end:
            return False
        time.sleep(_POLL_SECONDS)
    return True
