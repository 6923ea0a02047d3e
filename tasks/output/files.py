"""The files of a run, put in place all at once; an earlier output stays complete until then.

A new folder is filled beside the old one and exchanged with it in one step; the user's own files are kept. Where
folders cannot be exchanged (a mount point, the working directory, a parent without write permission), files are
replaced one by one, ``manifest.json`` last.
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
    """Check that files can be created in a folder, without creating it.

    Args:
        folder: The folder.
        key: The configuration key that names it, for the message.

    Raises:
        InputError: They cannot.
    """
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
    """Check that no file to be written is one that the run reads.

    Args:
        folder: Where files are written.
        inputs: Files and folders that the run reads.

    Raises:
        InputError: A file is both.
    """
    replaced = [folder / name for name in _FILES if (folder / name).exists()]
    for file in inputs:
        if file.exists() and any(file.samefile(each) for each in replaced):
            msg = f"output_dir: '{folder}' would replace '{file}', which the run reads; name another folder"
            raise InputError(msg)


def describe_run(
    config: dict[str, Any], models: dict[str, ModelRef], datasets: dict[str, DatasetRef]
) -> dict[str, Any]:
    """The manifest: everything needed to repeat a run, with digests that tell whether a repetition was the same.

    Args:
        config: The configuration, nested.
        models: Models by role.
        datasets: Data sets by role.
    """
    return {
        "models": {role: ref.digest for role, ref in models.items()},
        "samples": {role: {"indices": ref.indices, "digests": ref.digests} for role, ref in datasets.items()},
        "configuration": config,
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def stored_files(model: ModelRef, runtime: Runtime) -> tuple[Path, Path]:
    """A model's .xml and .bin file in the store, where no other run changes them.

    Args:
        model: A model in the store.
        runtime: Has the home of the store.
    """
    folder = Store(runtime.home).model_folder(model)
    return folder / "model.xml", folder / "model.bin"


def file_sizes(model: ModelRef, runtime: Runtime) -> dict[str, int]:
    """Bytes of a model's files, by suffix.

    Args:
        model: A model in the store.
        runtime: Has the home of the store.
    """
    return {file.suffix[1:]: file.stat().st_size for file in stored_files(model, runtime)}


def write_output(
    folder: Path, model: ModelRef, report: Report, manifest: dict[str, Any], runtime: Runtime, page: str | None = None
) -> dict[str, str]:
    """The texts by file name, after model, ``report.json``, ``report.html`` and ``manifest.json`` were written.

    The texts are returned because another run may soon replace the files in the folder.

    Args:
        folder: Where to write; an earlier output is replaced at once.
        model: The INT8 model.
        report: The report.
        manifest: See :func:`describe_run`.
        runtime: Has the home of the store.
        page: The page; None writes none.
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
    """Write ``evaluation.json``.

    Args:
        folder: Where to write.
        content: What it says.
    """
    with _in_place_of(folder) as staging:
        write_json(staging / "evaluation.json", content)


def write_json(path: Path, content: Any) -> None:
    """Write a file of strict JSON.

    Args:
        path: The file.
        content: Any JSON value.
    """
    path.write_text(as_json(content), encoding="utf-8")


def as_json(content: Any) -> str:
    """A value as strict JSON; infinite numbers and NaN, which JSON lacks, become null.

    Args:
        content: Any JSON value.
    """
    return json.dumps(_finite(content), indent=2, default=str, allow_nan=False) + "\n"


@contextmanager
def _in_place_of(folder: Path, stale: tuple[str, ...] = ()) -> Iterator[Path]:
    """An empty folder. Once it is filled, its files replace those of the same names in ``folder``.

    Files called ``stale`` are removed then.
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
    """Whether the folder can be exchanged for another: no process works in it, and nothing in it is mounted."""
    mounted = any(os.path.ismount(path) for path in (folder, *folder.iterdir()))
    return not mounted and not Path.cwd().is_relative_to(folder) and os.access(folder.parent, os.W_OK | os.X_OK)


def _exchanged(staging: Path, folder: Path, stale: tuple[str, ...]) -> bool:
    """Exchange the folders and bring over what is not written anew; returns False if they cannot be exchanged."""
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
    """Move what only the old folder has: its folders, and files that were created in the meantime.

    Another run may do the same at once, so entries or the whole folder may be gone.
    """
    for entry in old.glob("*"):
        if entry.name not in _FILES and not os.path.lexists(folder / entry.name):
            with suppress(FileNotFoundError):
                entry.rename(folder / entry.name)


def _flush(file: Path) -> None:
    """Write the content to the disk before the file gets its name."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
