"""Locks for Prefect's serializable isolation: of processes that want the same step, one runs it, the others wait.

They are kernel locks on files. Prefect's own ones outlive a process that is killed, and whoever wants them next waits
for ever.
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
    """One file a key, in ``locks`` beside the results of steps."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, int]] = {}
        self._mutex = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> "FileLocks":
        """Policies are copied; open files are not."""
        return FileLocks()

    def __reduce__(self) -> tuple[Any, ...]:
        """Policies travel to other processes; open files do not."""
        return FileLocks, ()

    def acquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """Wait for the lock; False after ``acquire_timeout`` seconds. It is held until it is released, or for life."""
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
        """The same from a coroutine."""
        return await asyncio.to_thread(self.acquire_lock, key, holder, acquire_timeout, hold_timeout)

    def release_lock(self, key: str, holder: str) -> None:
        """Let go of the lock. Raises ValueError if somebody else holds it."""
        with self._mutex:
            if self._held.get(key, ("", 0))[0] != holder:
                msg = f"{holder} does not hold the lock {key}"
                raise ValueError(msg)
            _, file = self._held.pop(key)
        os.close(file)

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Whether this process holds the lock under that name."""
        with self._mutex:
            return self._held.get(key, ("", 0))[0] == holder

    def is_locked(self, key: str) -> bool:
        """Whether anybody holds the lock."""
        with self._mutex:
            if key in self._held:
                return True
        file = self._open(key)
        try:
            return not _locked(file)
        finally:
            os.close(file)

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until nobody holds the lock; False after ``timeout`` seconds."""
        return _until(lambda: not self.is_locked(key), timeout)

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """The same from a coroutine."""
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
