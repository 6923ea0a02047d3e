"""What tests of the plumbing, the steps and the flows share."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.engine.artifact_store import Store
from tasks.records import Runtime
from tests.guard.sitecustomize import confine

GUARD = Path(__file__).with_name("guard")
# What this process, and those that the tests start, tried to reach beyond this machine; it is never there.
REACHED = Path(tempfile.gettempdir()) / f"reached-{os.getpid()}.txt"
REACHED.unlink(missing_ok=True)
confine(str(REACHED))


@pytest.fixture(scope="session", autouse=True)
def _nothing_was_reached() -> Iterator[None]:
    """No test, no command and none of their processes ever looks beyond this machine."""
    yield
    assert not REACHED.exists(), REACHED.read_text(encoding="utf-8")


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return Runtime(tmp_path / "home", threads=1, progress=False)


@pytest.fixture
def store(runtime: Runtime) -> Store:
    return Store(runtime.home)
