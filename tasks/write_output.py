"""The files a user gets: written beside the old ones first, then put in their place."""

import importlib.metadata
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.errors import InputError
from tasks.records import DatasetRef, ModelRef, Report, Runtime
from tasks.store import Store

_PACKAGES = ("openvino-ptq-flow", "openvino", "numpy", "prefect", "hydra-core", "mlflow")


def require_writable(folder: Path, key: str = "output_dir") -> None:
    """Make the folder if need be; raise InputError, naming its ``key``, unless files can be created in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as failure:
        msg = f"{key}: cannot write to '{folder}': {failure.strerror}"
        raise InputError(msg) from failure


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


def file_sizes(model: ModelRef, runtime: Runtime) -> dict[str, int]:
    """Bytes of a stored model's files, by suffix."""
    folder = Store(runtime.home).model_folder(model)
    return {suffix: (folder / f"model.{suffix}").stat().st_size for suffix in ("xml", "bin")}


def write_output(
    folder: Path, model: ModelRef, report: Report, manifest: dict[str, Any], runtime: Runtime
) -> tuple[Path, ...]:
    """Write ``model.xml``, ``model.bin``, ``report.json`` and ``manifest.json``; an earlier output stays until then."""
    source = Store(runtime.home).model_folder(model)
    with _staged(folder) as staging:
        for name in ("model.bin", "model.xml"):
            shutil.copyfile(source / name, staging / name)
        write_json(staging / "report.json", asdict(report))
        write_json(staging / "manifest.json", manifest)
    return tuple(folder / name for name in ("model.xml", "model.bin", "report.json", "manifest.json"))


def write_evaluation(folder: Path, content: dict[str, Any]) -> None:
    """Write ``evaluation.json``."""
    with _staged(folder) as staging:
        write_json(staging / "evaluation.json", content)


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON; infinite numbers, which it does not have, become null."""
    path.write_text(json.dumps(_finite(content), indent=2, default=str, allow_nan=False) + "\n", encoding="utf-8")


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files replace those of ``folder`` once all of them are complete."""
    require_writable(folder)
    with tempfile.TemporaryDirectory(prefix=".incomplete-", dir=folder) as name:
        staging = Path(name)
        yield staging
        for file in sorted(staging.iterdir()):
            os.replace(file, folder / file.name)  # noqa: PTH105 - the atomic rename is the point


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
