"""A user's own Python functions, named by a dotted path."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.errors import InputError, did_you_mean


def load_callable(path: str, what: str) -> Callable[..., Any]:
    """Import what ``package.module.function`` names; the current folder counts as a place of modules.

    ``what`` says in messages what the function is for. Raises InputError for a path that is no dotted name, a module
    that does not exist or fails to import, a name that it does not have and one that cannot be called.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise InputError(
            f"{what} {path!r}: expected the dotted path of a function, for example my_module.{path or 'f'}."
        )
    _find_in_current_folder()
    try:
        module = importlib.import_module(module_name)
    except ImportError as failure:
        raise InputError(f"{what} {path!r}: cannot import {module_name!r} ({failure}).") from failure
    except Exception as failure:
        raise InputError(
            f"{what} {path!r}: importing {module_name!r} fails: {type(failure).__name__}: {failure}."
        ) from failure
    if not hasattr(module, name):
        raise InputError(f"{what} {path!r}: {module_name!r} has no {name!r}.{did_you_mean(name, vars(module))}")
    found = getattr(module, name)
    if not callable(found):
        raise InputError(f"{what} {path!r}: expected a function, it is {type(found).__name__}.")
    return found  # type: ignore[no-any-return]


def call(path: str, what: str, *arguments: Any) -> Any:
    """What the function that ``path`` names answers. Raises InputError when it fails, and as :func:`load_callable`."""
    function = load_callable(path, what)
    try:
        return function(*arguments)
    except Exception as failure:
        raise InputError(f"{path}: {type(failure).__name__}: {failure}.") from failure


def callable_file(path: str) -> Path | None:
    """The source file of the module that a dotted path names, so that a change of it is noticed; None without one."""
    _find_in_current_folder()
    try:
        spec = importlib.util.find_spec(path.rpartition(".")[0])
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None


def _find_in_current_folder() -> None:
    # Console scripts, unlike `python -m`, do not look for modules where they are started.
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
