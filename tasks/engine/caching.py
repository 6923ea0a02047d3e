"""The one cache policy of all steps: equal inputs, equal code and equal libraries give the stored result.

A key holds the step's name, its arguments and a digest of every module of ``tasks`` that the step imports, directly
or not. (Prefect's own TASK_SOURCE covers only the lines of the step and would serve stale results.) Comments and
docstrings do not count, nor does the code that reads samples: :class:`~tasks.records.DatasetRef` has the digests of
their content. :class:`~tasks.records.Runtime`, where and how a run works, is left out. A result whose artifact was
deleted or damaged is forgotten before Prefect looks it up, so the step runs again.
"""

import ast
import hashlib
import importlib.metadata
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.context import TaskRunContext
from prefect.results import get_result_store
from prefect.tasks import Task
from prefect.transactions import IsolationLevel

from tasks.engine.artifact_store import Store, referenced
from tasks.engine.atomic_folders import remove
from tasks.engine.result_locks import FileLocks
from tasks.records import Runtime

_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = ("openvino", "numpy")
# Their results enter the key as digests among a step's arguments.
_BY_CONTENT = "tasks.data.source"
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

P = ParamSpec("P")
R = TypeVar("R")


def step(function: Callable[P, R]) -> Task[P, R]:
    """A Prefect task whose results are cached across runs and processes.

    If several processes want the same result at once, one computes it and the others wait.

    Args:
        function: Takes ``runtime: Runtime`` and values of ``records``, and returns such a value.
    """
    return task(
        name=function.__name__,
        cache_policy=CacheKeyFnPolicy(cache_key_fn=_healed_key).configure(
            isolation_level=IsolationLevel.SERIALIZABLE, lock_manager=FileLocks()
        ),
        persist_result=True,
        result_serializer="json",
    )(function)


def results_folder(home: Path) -> Path:
    """The folder in which Prefect keeps the results of steps.

    Args:
        home: Home of caches, store and database.
    """
    return home / "results"


def _healed_key(context: TaskRunContext, inputs: dict[str, Any]) -> str:
    runtime: Runtime = inputs["runtime"]
    key = cache_key(context.task.fn, inputs)
    forget_damaged(key, Store(runtime.home), results_folder(runtime.home))
    return key


def cache_key(function: Callable[..., Any], inputs: dict[str, Any]) -> str:
    """``<step>-<sha256>``, over everything that determines a step's result.

    Args:
        function: The step's function.
        inputs: All arguments by name.
    """
    arguments = {name: value for name, value in inputs.items() if not isinstance(value, Runtime)}
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    text = json.dumps([arguments, code_digest(function.__module__), libraries], default=_plain, sort_keys=True)
    return f"{function.__name__}-{hashlib.sha256(text.encode()).hexdigest()}"


def step_key(step: Task[..., Any], inputs: dict[str, Any]) -> str:
    """The cache key of a step.

    Args:
        step: The step.
        inputs: Arguments by name; defaults are filled in.
    """
    bound = inspect.signature(step.fn).bind(**inputs)
    bound.apply_defaults()
    return cache_key(step.fn, bound.arguments)


def is_known(step: Task[..., Any], inputs: dict[str, Any]) -> bool:
    """Whether a step has a stored result for these arguments; the result may still turn out damaged.

    Args:
        step: The step.
        inputs: Arguments by name; defaults are filled in.
    """
    return (results_folder(inputs["runtime"].home) / step_key(step, inputs)).is_file()


def forget_damaged(key: str, store: Store, results: Path) -> None:
    """Delete a cached result that cannot be served: unreadable, another step's, or with a damaged artifact.

    Args:
        key: The cache key.
        store: The store of its artifacts.
        results: Folder of the results.
    """
    record = results / key
    if not record.is_file():
        if record.is_symlink() or record.is_dir():  # Prefect could neither read nor replace it
            remove(record)
        return
    try:
        found = get_result_store().read(key)
        if Path(found.metadata.storage_key or "").name != key:  # the folder may have moved since
            raise ValueError("a record of another step")
        damaged = [ref for ref in referenced(found.result) if not store.is_intact(ref)]
    except Exception:  # noqa: BLE001 - whatever makes a record unreadable, the step runs again
        record.unlink(missing_ok=True)
        return
    for ref in damaged:
        store.discard(ref)
    if damaged:
        record.unlink(missing_ok=True)


@cache
def code_digest(module: str) -> str:
    """The sha256 of the code of a module and of all modules of ``tasks`` that it imports, directly or not.

    Args:
        module: Dotted name.
    """
    hasher = hashlib.sha256()
    for path in sorted(_import_closure(module)):
        hasher.update(str(path.relative_to(_PACKAGE)).encode() + b"\0" + _read(path).code)
    return hasher.hexdigest()


@dataclass(frozen=True)
class _Module:
    """The modules of ``tasks`` that a file imports, and its code without comments and docstrings."""

    imports: tuple[str, ...]
    code: bytes


def _import_closure(module: str) -> set[Path]:
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        path = _module_path(waiting.pop())
        if path is None or path in found:
            continue
        found.add(path)
        waiting += [name for name in _read(path).imports if not f"{name}.".startswith(f"{_BY_CONTENT}.")]
    return found


@cache
def _read(path: Path) -> _Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    ours = tuple(name for name in names if name.startswith(f"{_PACKAGE.name}."))
    return _Module(ours, ast.dump(tree).encode())


def _module_path(module: str) -> Path | None:
    parts = module.split(".")
    if parts[0] != _PACKAGE.name:
        return None
    path = _PACKAGE.joinpath(*parts[1:])
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _plain(value: Any) -> Any:
    """A value as JSON: dataclasses keep the name of their type, so that two types never share a key."""
    if is_dataclass(value):
        return {
            "": type(value).__name__,
            **{field.name: getattr(value, field.name) for field in fields(value) if field.compare},
        }
    if isinstance(value, Path):
        return str(value)
    msg = f"{type(value).__name__} cannot be part of a cache key"
    raise TypeError(msg)
