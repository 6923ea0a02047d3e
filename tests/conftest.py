"""What tests of the plumbing, the steps and the flows share."""

from pathlib import Path

import pytest

from tasks.records import Runtime
from tasks.store import Store


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return Runtime(tmp_path / "home", threads=1, progress=False)


@pytest.fixture
def store(runtime: Runtime) -> Store:
    return Store(runtime.home)
