"""The one error for what a user can mend: bad configuration, bad files, bad data."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class InputError(ValueError):
    """Input that cannot be used; the message says what, its value and what was expected. Exit code 2."""


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the candidate nearest to ``name``, or an empty string.

    Case does not matter, and an abbreviation of one candidate only is as good as a misspelling.
    """
    folded = {each.casefold(): each for each in candidates}
    nearest = difflib.get_close_matches(name.casefold(), folded, n=1)
    longer = [each for each in folded if len(name) > 1 and each.startswith(name.casefold())]
    found = nearest or (longer if len(longer) == 1 else [])
    return f" Did you mean {folded[found[0]]!r}?" if found else ""


def unknown(what: str, got: str, allowed: Sequence[str], meant: Sequence[str] = ()) -> str:
    """The text for a name that is not among the allowed ones; ``meant`` are names that are known to be meant."""
    hint = f" Did you mean {' or '.join(map(repr, meant))}?" if meant else did_you_mean(got, allowed)
    return f"unknown {what} '{got}'.{hint} Allowed: {', '.join(allowed)}"


def longer(key: str, tree: Any, prefix: str = "") -> list[str]:
    """Return the dotted keys of a nested dictionary that end with ``key``, which lacks a group; those of least depth.

    ``prefix`` stands in front of the names of this dictionary.
    """
    found = []
    for name, node in tree.items() if isinstance(tree, dict) else ():
        whole = f"{prefix}{name}"
        found += [whole] if whole.endswith(f".{key}") else []
        found += longer(key, node, f"{whole}.")
    depths = [each.count(".") for each in found]
    return [each for each, depth in zip(found, depths, strict=True) if depth == min(depths)]


def reason_of(failure: RuntimeError) -> str:
    """Return the line of OpenVINO's message that says what is wrong: the last one, without its source location."""
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return (lines[-1] if lines else "unknown reason").rstrip(".!")
