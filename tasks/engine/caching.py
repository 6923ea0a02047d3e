"""The one cache policy of all steps: equal inputs, equal code and equal libraries give the stored result.

A key holds the step's name, its arguments and a digest of every module of ``tasks`` that the step imports, directly
or not: Prefect's own TASK_SOURCE sees the lines of the step alone and would serve stale results. Comments and
docstrings do not count. Nor does the code that reads samples: what it reads is known by content (see
:class:`~tasks.records.DatasetRef`). Where and how a run works (:class:`~tasks.records.Runtime`) is left out. A result
whose artifact was deleted or damaged is forgotten before Prefect looks, so that the step runs again.
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
# What it gives is told by digests among a step's arguments.
_BY_CONTENT = "tasks.data.source"
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

P = ParamSpec("P")
R = TypeVar("R")


def step(function: Callable[P, R]) -> Task[P, R]:
    """Make a Prefect task of a function whose results are cached across runs and processes.

    Of processes that want the same result at once, one works for it and the others wait.
    The function takes ``runtime: Runtime`` and otherwise only values that travel (see ``records``), and returns one.
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
    """Where Prefect keeps the results of steps."""
    return home / "results"


def _healed_key(context: TaskRunContext, inputs: dict[str, Any]) -> str:
    runtime: Runtime = inputs["runtime"]
    key = cache_key(context.task.fn, inputs)
    forget_damaged(key, Store(runtime.home), results_folder(runtime.home))
    return key


def cache_key(function: Callable[..., Any], inputs: dict[str, Any]) -> str:
    """``<step>-<sha256>`` of everything that determines a step's result."""
    arguments = {name: value for name, value in inputs.items() if not isinstance(value, Runtime)}
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    text = json.dumps([arguments, code_digest(function.__module__), libraries], default=_plain, sort_keys=True)
    return f"{function.__name__}-{hashlib.sha256(text.encode()).hexdigest()}"


def step_key(step: Task[..., Any], inputs: dict[str, Any]) -> str:
    """The key of a step with these arguments, given by name; those left out have their defaults."""
    bound = inspect.signature(step.fn).bind(**inputs)
    bound.apply_defaults()
    return cache_key(step.fn, bound.arguments)


def is_known(step: Task[..., Any], inputs: dict[str, Any]) -> bool:
    """Whether a step with these arguments has a stored result. It may still prove damaged."""
    return (results_folder(inputs["runtime"].home) / step_key(step, inputs)).is_file()


def forget_damaged(key: str, store: Store, results: Path) -> None:
    """Drop a cached result that cannot be served: unreadable, another step's, or naming an artifact that is damaged."""
    record = results / key
    if not record.is_file():
        if record.is_symlink() or record.is_dir():  # Prefect could neither read nor replace it
            remove(record)
        return
    try:
        found = get_result_store().read(key)
        if Path(found.metadata.storage_key or "").name != key:  # the folder may have moved, the record may not
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
    """sha256 over the code of a module and of all modules of ``tasks`` that it imports, directly or not."""
    hasher = hashlib.sha256()
    for path in sorted(_import_closure(module)):
        hasher.update(str(path.relative_to(_PACKAGE)).encode() + b"\0" + _read(path).code)
    return hasher.hexdigest()


@dataclass(frozen=True)
class _Module:
    """What a file of ``tasks`` imports of ``tasks``, and its code without comments and docstrings."""

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
    """JSON for what it does not know: a dataclass with its type's name, so that two types never share a key."""
    if is_dataclass(value):
        return {
            "": type(value).__name__,
            **{field.name: getattr(value, field.name) for field in fields(value) if field.compare},
        }
    if isinstance(value, Path):
        return str(value)
    msg = f"{type(value).__name__} cannot be part of a cache key"
    raise TypeError(msg)
