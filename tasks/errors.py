"""Errors that end a run with one line: input that the user can correct, and a model that turned out wrong."""

import difflib
import os
from collections.abc import Iterable, Sequence
from typing import Any

# Characters of a line that people still read.
LONGEST_LINE = 300


class InputError(ValueError):
    """Input that cannot be used. Each line names the key, its value and what was expected. Exit code 2."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*map(readable, lines))

    def __str__(self) -> str:
        """All lines."""
        return "\n".join(self.args)


def readable(line: str) -> str:
    """Return a line that a terminal shows as one: unprintable characters escaped, the middle of a long line left out.

    Args:
        line: Any text.
    """
    line = _cut(line, 2 * LONGEST_LINE)  # what is escaped only gets longer
    if not line.isprintable():
        line = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)
    return _cut(line, LONGEST_LINE)


def shortened(text: str, most: int = 120) -> str:
    """Return a text as one line of at most ``most`` characters; a longer text loses its middle.

    Args:
        text: Any text.
        most: Largest number of characters.

    Example:
        >>> shortened("a path with a long middle", most=15)
        'a pat ... iddle'
    """
    return _cut(" ".join(text.split()), most)


def _cut(text: str, most: int) -> str:
    gap = " ... "
    end = (most - len(gap)) // 2
    return text if len(text) <= most else f"{text[: most - len(gap) - end]}{gap}{text[-end:]}"


def listing(names: Sequence[str], shown: int = 5, most: int = 120) -> str:
    """Return the first names, quoted, and how many more there are.

    Args:
        names: The names; of none of them the text is ``none``.
        shown: How many are told by name.
        most: Characters of a name; see :func:`shortened`.

    Example:
        >>> listing(["a.png", "b.png", "c.png"], shown=2)
        "'a.png', 'b.png' and 1 more"
    """
    text = ", ".join(repr(shortened(name, most)) for name in names[:shown])
    return f"{text} and {len(names) - shown} more" if len(names) > shown else text or "none"


def writable(text: str) -> bool:
    """Return whether UTF-8 can encode the text and a file can have it as its name: no lone surrogate, no NUL.

    Args:
        text: Any text.
    """
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


class BrokenModelError(RuntimeError):
    """An INT8 model that computes something wrong. The message says why, and what to do. Exit code 1."""


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the candidate nearest to ``name``, or an empty string.

    Case does not matter. An abbreviation counts as a misspelling if only one candidate begins with it.

    Args:
        name: What the user wrote.
        candidates: Valid names.

    Example:
        >>> did_you_mean("Presett", ["preset", "seed"])
        " Did you mean 'preset'?"
    """
    folded = {each.casefold(): each for each in candidates}
    nearest = difflib.get_close_matches(name.casefold(), folded, n=1)
    longer = [each for each in folded if len(name) > 1 and each.startswith(name.casefold())]
    found = nearest or (longer if len(longer) == 1 else [])
    return f" Did you mean {folded[found[0]]!r}?" if found else ""


def unknown_message(what: str, got: str, allowed: Sequence[str], meant: Sequence[str] = ()) -> str:
    """Return the message for a name that is not allowed.

    Args:
        what: What the name stands for.
        got: What the user wrote.
        allowed: Valid names.
        meant: The names to suggest, if they are known; else the nearest allowed one.

    Example:
        >>> unknown_message("preset", "mixd", ["performance", "mixed"])
        "unknown preset 'mixd'. Did you mean 'mixed'? Allowed: performance, mixed"
    """
    hint = f" Did you mean {' or '.join(map(repr, meant))}?" if meant else did_you_mean(got, allowed)
    known = f" Allowed: {', '.join(allowed)}" if allowed else ""
    return f"unknown {what} '{got}'.{hint}{known}"


def longer(key: str, tree: Any, prefix: str = "") -> list[str]:
    """Return the dotted keys of a nested dictionary that end with ``key``, only those of the least depth.

    Args:
        key: A key without its group.
        tree: The nested dictionary.
        prefix: Put in front of the names of this dictionary.
    """
    found = []
    for name, node in tree.items() if isinstance(tree, dict) else ():
        whole = f"{prefix}{name}"
        found += [whole] if whole.endswith(f".{key}") else []
        found += longer(key, node, f"{whole}.")
    depths = [each.count(".") for each in found]
    return [each for each, depth in zip(found, depths, strict=True) if depth == min(depths)]


def reason_of(failure: Exception) -> str:
    """Return the line of OpenVINO's message that gives the reason: the last one.

    Args:
        failure: What OpenVINO raised.
    """
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    reason = (lines[-1] if lines else "unknown reason").rstrip(".!")
    return "there is not enough memory" if reason == "std::bad_alloc" else reason


def require_memory(what: str, size: int) -> None:
    """Check that something fits into the memory of this machine.

    Args:
        what: What needs the memory; the message begins with it.
        size: What it needs, in bytes.

    Raises:
        InputError: The machine has less memory.
    """
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > there:
        raise InputError(
            f"{what} would take {size / 2**30:.1f} GiB; this machine has {there / 2**30:.1f} GiB of memory."
        )
