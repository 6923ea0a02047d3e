"""The files a user gets: all of them at once, and what lay in the folder before stays until then.

The new folder is filled beside the old one, which it then changes places with in one step; files of the user's own are
in both. Where folders cannot change places (a mount point, the working directory, a parent that is not ours) the files
are replaced one after the other, ``manifest.json`` last.
"""

import importlib.metadata
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.engine.artifact_store import Store
from tasks.engine.atomic_folders import abandoned, exchange, staged
from tasks.errors import InputError
from tasks.records import DatasetRef, ModelRef, Report, Runtime

# In the order in which they are replaced where that cannot be done at once.
_FILES = ("model.bin", "model.xml", "report.json", "report.html", "evaluation.json", "manifest.json")
_PACKAGES = ("openvino-ptq-flow", "openvino", "numpy", "prefect", "hydra-core", "mlflow")


def require_writable(folder: Path, key: str = "output_dir") -> None:
    """Raise InputError, naming the ``key``, unless files can be created in the folder. It is not created here."""
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=os.path.realpath(there)):
            pass
    except OSError as failure:
        reason = failure.strerror if there.is_dir() else "Not a directory"
        raise InputError(f"{key}: cannot write to '{folder}': {reason}") from failure
    for name in _FILES:
        if (folder / name).is_dir():
            raise InputError(f"{key}: cannot write to '{folder}': '{name}' in it is a folder")


def require_apart(folder: Path, inputs: Iterable[Path]) -> None:
    """Raise InputError if a file that is to be written is one that the run reads."""
    replaced = [folder / name for name in _FILES if (folder / name).exists()]
    for file in inputs:
        if file.exists() and any(file.samefile(each) for each in replaced):
            msg = f"output_dir: '{folder}' would replace '{file}', which the run reads; name another folder"
            raise InputError(msg)


def describe_run(
    config: dict[str, Any], models: dict[str, ModelRef], datasets: dict[str, DatasetRef]
) -> dict[str, Any]:
    """The manifest: all that is needed to repeat a run, with digests to tell whether it was the same."""
    return {
        "models": {role: ref.digest for role, ref in models.items()},
        "samples": {role: {"indices": ref.indices, "digests": ref.digests} for role, ref in datasets.items()},
        "configuration": config,
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def stored_files(model: ModelRef, runtime: Runtime) -> tuple[Path, Path]:
    """A model's files in the store, where no other run changes them."""
    folder = Store(runtime.home).model_folder(model)
    return folder / "model.xml", folder / "model.bin"


def file_sizes(model: ModelRef, runtime: Runtime) -> dict[str, int]:
    """Bytes of a stored model's files, by suffix."""
    return {file.suffix[1:]: file.stat().st_size for file in stored_files(model, runtime)}


def write_output(
    folder: Path, model: ModelRef, report: Report, manifest: dict[str, Any], runtime: Runtime, page: str | None = None
) -> dict[str, str]:
    """Write model, ``report.json``, ``report.html`` if there is a ``page``, ``manifest.json``.

    An earlier output stays until then. Returns the texts by file name: files in the folder may be another run's soon.
    """
    texts = {"report.json": as_json(asdict(report)), "manifest.json": as_json(manifest)}
    if page is not None:
        texts["report.html"] = page
    with _in_place_of(folder, stale=("report.html",) if page is None else ()) as staging:
        for file in stored_files(model, runtime):
            shutil.copyfile(file, staging / file.name)
        for name, text in texts.items():
            (staging / name).write_text(text, encoding="utf-8")
    return texts


def write_evaluation(folder: Path, content: dict[str, Any]) -> None:
    """Write ``evaluation.json``."""
    with _in_place_of(folder) as staging:
        write_json(staging / "evaluation.json", content)


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON."""
    path.write_text(as_json(content), encoding="utf-8")


def as_json(content: Any) -> str:
    """Strict JSON; infinite numbers, which it does not have, become null."""
    return json.dumps(_finite(content), indent=2, default=str, allow_nan=False) + "\n"


@contextmanager
def _in_place_of(folder: Path, stale: tuple[str, ...] = ()) -> Iterator[Path]:
    """An empty folder, whose files take the place of those of the same names in ``folder`` once all are complete.

    Those called ``stale`` go then.
    """
    require_writable(folder)
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}.incomplete-"
    movable = _is_movable(folder)
    for left in (*abandoned(folder, prefix), *(abandoned(folder.parent, prefix) if movable else ())):
        _bring_over(left, folder)
        shutil.rmtree(left, ignore_errors=True)
    with staged(folder.parent if movable else folder, prefix) as staging:
        yield staging
        for file in staging.iterdir():
            _flush(file)
        if not (movable and _exchanged(staging, folder, stale)):
            for name in stale:
                (folder / name).unlink(missing_ok=True)
            for file in sorted(staging.iterdir(), key=lambda file: _FILES.index(file.name)):
                os.replace(file, folder / file.name)  # noqa: PTH105 - the atomic rename is the point


def _is_movable(folder: Path) -> bool:
    """Whether another folder may come in its place: nobody stands in it, and nothing in it is mounted."""
    mounted = any(os.path.ismount(path) for path in (folder, *folder.iterdir()))
    return not mounted and not Path.cwd().is_relative_to(folder) and os.access(folder.parent, os.W_OK | os.X_OK)


def _exchanged(staging: Path, folder: Path, stale: tuple[str, ...]) -> bool:
    """Let the folders change places, with everything of the old one that was not written anew; False if impossible."""
    new = {file.name for file in staging.iterdir()}
    try:
        os.chown(staging, folder.stat().st_uid, folder.stat().st_gid)
        shutil.copystat(folder, staging)
        for entry in folder.iterdir():
            if entry.name not in (*new, *stale) and not (entry.is_dir() and not entry.is_symlink()):
                os.link(entry, staging / entry.name, follow_symlinks=False)
        exchange(staging, folder)
    except OSError:
        for entry in staging.iterdir():
            if entry.name not in new:
                entry.unlink()
        return False
    _bring_over(staging, folder)
    return True


def _bring_over(old: Path, folder: Path) -> None:
    """Move what only the old folder has: folders, which cannot be in two places, and files that just came.

    Another run may tidy up the same: entries or the whole folder may be gone.
    """
    for entry in old.glob("*"):
        if entry.name not in _FILES and not os.path.lexists(folder / entry.name):
            with suppress(FileNotFoundError):
                entry.rename(folder / entry.name)


def _flush(file: Path) -> None:
    """Have the content on the disk before its name is."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
