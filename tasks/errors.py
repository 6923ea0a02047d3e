"""The error for what a user can mend, bad configuration, bad files, bad data, and that for a model that went wrong."""

import difflib
from collections.abc import Iterable, Sequence


class InputError(ValueError):
    """Input that cannot be used; the message says what, its value and what was expected. Exit code 2."""


class BrokenModelError(RuntimeError):
    """An INT8 model that must not be taken for a good one; the message says why, and what to do. Exit code 1."""


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the candidate nearest to ``name``, or an empty string.

    Case does not matter, and an abbreviation of one candidate only is as good as a misspelling.
    """
    folded = {each.casefold(): each for each in candidates}
    nearest = difflib.get_close_matches(name.casefold(), folded, n=1)
    longer = [each for each in folded if len(name) > 1 and each.startswith(name.casefold())]
    found = nearest or (longer if len(longer) == 1 else [])
    return f" Did you mean {folded[found[0]]!r}?" if found else ""


def unknown(what: str, got: str, allowed: Sequence[str]) -> str:
    """The text for a name that is not among the allowed ones."""
    return f"unknown {what} '{got}'.{did_you_mean(got, allowed)} Allowed: {', '.join(allowed)}"


def reason_of(failure: RuntimeError) -> str:
    """Return the line of OpenVINO's message that says what is wrong: the last one, without its source location."""
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return (lines[-1] if lines else "unknown reason").rstrip(".!")
