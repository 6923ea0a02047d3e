"""What tests of the plumbing, the steps and the flows share."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.engine.artifact_store import Store
from tasks.records import Runtime
from tests.guard.sitecustomize import confine

TESTS = Path(__file__).parent
GUARD = TESTS / "guard"
# What this process, and those that the tests start, tried to reach beyond this machine; it is never there.
REACHED = Path(tempfile.gettempdir()) / f"reached-{os.getpid()}.txt"
REACHED.unlink(missing_ok=True)
confine(str(REACHED))


# Rooms of whole runs: what is left in the end is short then, and the workers are done at the same time.
FIRST = ("tracking", "flows")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rooms in which a test takes seconds come first; the one that needs no server goes ahead of the other."""
    rooms = {room: place for place, room in enumerate(FIRST)}
    items.sort(key=lambda item: rooms.get(item.path.relative_to(TESTS).parts[0], len(rooms)))


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
