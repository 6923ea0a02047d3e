"""Entry point of every command, under a name that no user's file has.

A working directory may hold ``flows``, ``tasks`` and ``conf`` too. If PYTHONPATH puts it in front of the packages, this
module can still say so. It imports little, for the same reason.
"""

import os
import sys
from functools import partial
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec

PACKAGES = ("flows", "tasks", "conf", "hydra_plugins")
BAD_INPUT = 2


def start(command: str) -> None:
    """Run a command, which is a module of ``flows.commands``, or tell the versions.

    If a user's files hide modules that the command needs, it prints one line per file and exits with code 2.

    Args:
        command: Name of the command's module.
    """
    if "--version" in sys.argv[1:]:
        print("\n".join(versions()))
        return
    if lines := hidden(PACKAGES):
        _refuse(lines)
    # Processes that the command starts must not import from the working directory.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    try:
        import_module("flows.commands.ending").run_command(command)
    except (ImportError, AttributeError):
        # A file called numpy.py or queue.py may be harmless, so it is named only if an import fails.
        if lines := hidden(tuple(name for name in sys.modules if "." not in name)):
            _refuse(lines)
        raise


def versions() -> tuple[str, ...]:
    """The versions of this package, of openvino and of Python, one line each."""
    from importlib.metadata import version  # noqa: PLC0415 - it imports a lot

    installed = [f"{name} {version(name)}" for name in ("openvino-ptq-flow", "openvino")]
    return (*installed, f"Python {sys.version.partition(' ')[0]}")


def hidden(names: tuple[str, ...]) -> list[str]:
    """One line for each of the installed modules that a file in a folder of PYTHONPATH hides.

    Args:
        names: Names of modules.
    """
    folders = {os.path.realpath(each) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each}
    installed = [each for each in sys.path if each and os.path.realpath(each) not in folders]
    lines = []
    for name in names if folders else ():
        own, found = PathFinder.find_spec(name, installed), _file(name)
        if own is not None and found and found != os.path.realpath(own.origin or ""):
            lines.append(f"'{found}' hides the module '{name}', which is needed: rename it, or change PYTHONPATH")
    return lines


def _file(name: str) -> str | None:
    """The file from which a module is imported; None if there is none."""
    try:
        spec = find_spec(name)
    except ValueError:  # of a module that stands in for another
        return None
    return os.path.realpath(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def _refuse(lines: list[str]) -> None:
    print("\n".join(lines), file=sys.stderr)
    sys.exit(BAD_INPUT)


quantize, evaluate, plan, compare, schedule, ui, pot = (
    partial(start, name) for name in ("quantize", "evaluate", "plan", "compare", "schedule", "ui", "pot")
)
