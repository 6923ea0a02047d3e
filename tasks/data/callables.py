"""A user's own Python functions, named by dotted paths."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.errors import InputError, did_you_mean


def load_callable(path: str, what: str) -> Callable[..., Any]:
    """The function that a dotted path names; modules are also looked for in the current folder.

    Args:
        path: ``package.module.function``.
        what: What the function is for, in messages.

    Raises:
        InputError: The path is no dotted name, its module does not exist or fails to import, or it names no function.
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
    """The result of the function that a dotted path names.

    Args:
        path: ``package.module.function``.
        what: What the function is for, in messages.
        *arguments: Passed to the function.

    Raises:
        InputError: The function fails, or cannot be loaded (see :func:`load_callable`).
    """
    function = load_callable(path, what)
    try:
        return function(*arguments)
    except Exception as failure:
        raise InputError(f"{path}: {type(failure).__name__}: {failure}.") from failure


def callable_file(path: str) -> Path | None:
    """The source file of the function's module, so that a change of it is noticed; None if there is no such file.

    Args:
        path: ``package.module.function``.
    """
    _find_in_current_folder()
    try:
        spec = importlib.util.find_spec(path.rpartition(".")[0])
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None


def _find_in_current_folder() -> None:
    # Console scripts, unlike `python -m`, do not import from the folder where they are started.
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
