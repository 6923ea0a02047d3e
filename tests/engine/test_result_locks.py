"""Locks between processes: one holds, others wait, and death lets go."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.settings import PREFECT_RESULTS_LOCAL_STORAGE_PATH, temporary_settings

from tasks.engine.result_locks import FileLocks

HOLD = """
import sys, time
from prefect.settings import PREFECT_RESULTS_LOCAL_STORAGE_PATH, temporary_settings
from tasks.engine.result_locks import FileLocks
with temporary_settings({PREFECT_RESULTS_LOCAL_STORAGE_PATH: sys.argv[1]}):
    assert FileLocks().acquire_lock("key", "other")
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> object:
    with temporary_settings({PREFECT_RESULTS_LOCAL_STORAGE_PATH: tmp_path}):
        yield tmp_path


def test_one_holds_and_the_other_waits() -> None:
    first, second = FileLocks(), FileLocks()
    assert first.acquire_lock("key", "a")
    assert first.acquire_lock("key", "a"), "whoever holds it has it"
    assert second.is_locked("key")
    assert not second.acquire_lock("key", "b", acquire_timeout=0.1)
    assert not second.wait_for_lock("key", timeout=0.1)
    assert second.acquire_lock("another.key", "b")
    threading.Timer(0.2, first.release_lock, ("key", "a")).start()
    started = time.monotonic()
    assert second.acquire_lock("key", "b", acquire_timeout=10)
    assert time.monotonic() - started >= 0.15
    with pytest.raises(ValueError, match="a does not hold the lock key"):
        second.release_lock("key", "a")
    second.release_lock("key", "b")
    assert not first.is_locked("key")


def test_a_killed_holder_lets_go(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert FileLocks().is_locked("key")
        os.kill(process.pid, signal.SIGKILL)
    assert FileLocks().acquire_lock("key", "mine", acquire_timeout=5)


@pytest.mark.parametrize("travel", [copy.deepcopy, lambda locks: pickle.loads(pickle.dumps(locks))])
def test_a_copy_holds_nothing(travel: object) -> None:
    locks = FileLocks()
    assert locks.acquire_lock("key", "a")
    assert callable(travel)
    other = travel(locks)
    assert not other.is_lock_holder("key", "a")
    locks.release_lock("key", "a")


@pytest.mark.parametrize("place", [Path.mkdir, lambda file: file.symlink_to(file.name)], ids=["folder", "loop"])
def test_what_is_in_the_way_of_a_lock_gives_way(folder: Path, place: Callable[[Path], object]) -> None:
    locks = FileLocks()
    assert locks.acquire_lock("key", "me")
    locks.release_lock("key", "me")
    (file,) = (folder / ".locks").iterdir()
    file.unlink()
    place(file)
    assert locks.acquire_lock("key", "me")
    assert file.is_file()
    assert FileLocks().is_locked("key")
    locks.release_lock("key", "me")
