"""Flags of Hydra: whether to sweep, and where the configuration is composed from."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.commands.hydra_jobs import flags_parser
from tasks.errors import LONGEST_LINE, InputError, readable, shortened

# Hydra answers these itself, or repeats a job that it kept; no trial is to be checked.
_QUESTIONS = ("help", "hydra_help", "cfg", "info", "shell_completion", "experimental_rerun")
# Below these keys the user chooses the names; Hydra takes new ones with ++ only.
_FREE = tuple(f"{group}.arguments{sign}" for group in ("dataset", "validation") for sign in ".=")


# The command's name stands in front.
_COMPLAINT = LONGEST_LINE - 50


@dataclass(frozen=True)
class Flags:
    """What a command line tells Hydra: ``words`` are its flags as Hydra takes them, ``overrides`` all other arguments.

    ``source`` are the flags that name the configuration and its folders. ``asks`` is true where Hydra only answers a
    question, like ``--help``.
    """

    words: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    multirun: bool = False
    asks: bool = False
    config_path: str = "pkg://conf"
    config_dir: str | None = None
    config_name: str | None = None

    @property
    def arguments(self) -> list[str]:
        """All arguments in the order that Hydra wants, the flags in front."""
        return [*self.words, *self.overrides]


def parse(arguments: Sequence[str]) -> Flags:
    """The flags among the arguments, wherever they stand.

    Ends the process with exit code 2 for a flag that Hydra does not know. Raises InputError for flags that Hydra would
    ignore.
    """
    found = _with_readable_errors(flags_parser()).parse_intermixed_args(arguments)
    overrides = tuple(f"++{word}" if word.startswith(_FREE) and "=" in word else word for word in found.overrides)
    if found.run and found.multirun:
        raise InputError("--run, --multirun: expected one of them")
    for name in ("resolve", "package"):
        if getattr(found, name) and not (found.cfg or found.help):
            raise InputError(f"--{name}: expected beside --cfg, like --cfg job")
    path: str | None = found.config_path
    if path is not None and not path.startswith("pkg://"):
        path = str(Path(path).absolute())  # Hydra would look for it beside the code
    places = {"config_path": path or "pkg://conf", "config_dir": found.config_dir, "config_name": found.config_name}
    if any(getattr(found, name) for name in _QUESTIONS):
        words = tuple(word for word in arguments if word not in found.overrides)
        return Flags(words, overrides, asks=True, **places)
    named = {"--config-path": path, "--config-dir": found.config_dir, "--config-name": found.config_name}
    source = tuple(f"{flag}={value}" for flag, value in named.items() if value is not None)
    modes = tuple(flag for flag, given in (("--run", found.run), ("--multirun", found.multirun)) if given)
    return Flags(
        (*modes, *source),
        overrides,
        source,
        multirun=found.multirun,
        **places,
    )


def parse_with_settings(parser: ArgumentParser, arguments: Sequence[str], settings: str) -> Namespace:
    """The arguments of a command that has flags of its own; what is no flag becomes its ``overrides``.

    Args:
        parser: Parser of the command's own flags; ``--version`` and the overrides are added.
        arguments: The words behind the command.
        settings: What ``--help`` says of the overrides.

    Ends the process with exit code 2 for flags that the parser does not know.
    """
    parser.add_argument("--version", action="store_true", help="print versions, run nothing")
    parser.add_argument("overrides", nargs="*", help=settings)
    return _with_readable_errors(parser).parse_intermixed_args(arguments)


def _with_readable_errors(parser: ArgumentParser) -> ArgumentParser:
    """The same parser, whose complaints are lines that a terminal shows as they are."""
    complain = parser.error
    setattr(parser, "error", lambda message: complain(readable(shortened(message, _COMPLAINT))))  # noqa: B010 - mypy minds methods being set
    return parser
