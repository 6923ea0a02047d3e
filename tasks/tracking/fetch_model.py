"""The file of a model, on the disk or in MLflow's registry. No task."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.engine.artifact_store import Store
from tasks.errors import InputError
from tasks.records import ModelRef, Runtime
from tasks.steps.load_model import find_model
from tasks.tracking.registry import SCHEME, Found, find


@dataclass(frozen=True)
class ModelFile:
    """A model's file, a text that changes with it, and the model's name in the registry, if it is from there."""

    path: Path
    identity: str
    name: str | None = None


@contextmanager
def fetched(path: str, uri: str | None, runtime: Runtime) -> Iterator[ModelFile]:
    """Yields the file of a model for the time of a context; a model that the store has is taken from there.

    Args:
        path: A path, ``registry:NAME@ALIAS`` or ``registry:NAME/VERSION``.
        uri: Tracking URI; None stands for SQLite in home.
        runtime: Has the home.

    Raises:
        InputError: There is no such model.
        TrackingError: MLflow does not answer.
    """
    if not path.startswith(SCHEME):
        yield ModelFile(*find_model(path))
        return
    home, reference = runtime.home.resolve(), path.removeprefix(SCHEME)
    with tempfile.TemporaryDirectory(prefix=".registry-", dir=home) as folder:
        known = tuple(each.name for each in home.glob("models/*"))
        found = find(reference, uri, home, known, Path(folder))
        kept = _kept(found, runtime)
        if found.folder is None and kept is None:  # the store's copy is damaged
            found = find(reference, uri, home, (), Path(folder))
        file, identity = find_model(str(kept or _brought(found)))
        yield ModelFile(file, identity, f"{found.name}/{found.version}")


def _kept(found: Found, runtime: Runtime) -> Path | None:
    """The file in the store, if the store has it undamaged."""
    store = Store(runtime.home)
    ref = ModelRef(found.name, found.digest or "")
    return store.model_folder(ref) / "model.xml" if found.folder is None and store.is_intact(ref) else None


def _brought(found: Found) -> Path:
    files = sorted(Path(found.folder or "").rglob("*.xml"))
    if not files:
        msg = f"{SCHEME}{found.name}/{found.version}: no OpenVINO model; ptq-quantize release.name=... registers them"
        raise InputError(msg)
    return files[0]
