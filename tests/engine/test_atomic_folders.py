"""Folders that are whole or not there, and what killed runs left of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.engine.atomic_folders import abandoned, exchange, staged

LEFT = """
import os, signal, sys
from pathlib import Path
from tasks.engine.atomic_folders import staged
with staged(Path(sys.argv[1]), ".x-") as folder:
    (folder / "file").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_folder_is_gone_at_the_end(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), staged(tmp_path, ".x-") as folder:
        (folder / "file").write_text("half")
        _ = 1 / 0
    assert not list(tmp_path.iterdir())


def test_folder_that_was_moved_away_stays(tmp_path: Path) -> None:
    with staged(tmp_path, ".x-") as folder:
        folder.rename(tmp_path / "final")
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_a_killed_process_abandons_its_folder_and_a_living_one_does_not(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", LEFT, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    time.sleep(0.3)  # the kernel takes its time to take a process apart
    with staged(tmp_path, ".x-"), staged(tmp_path, ".y-"):
        assert abandoned(tmp_path, ".x-", 0) == [left]
        assert abandoned(tmp_path, ".x-", 1000) == []
        os.utime(left, (0, 0))
        assert abandoned(tmp_path, ".x-") == [left]


def test_exchange(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("")
    exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "b").is_file()
    assert (tmp_path / "b" / "a").is_file()
    with pytest.raises(OSError, match="No such file"):
        exchange(tmp_path / "a", tmp_path / "nowhere")
