"""The one error for what a user can mend: bad configuration, bad files, bad data."""

import difflib
import os
from collections.abc import Iterable, Sequence


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


def unknown(what: str, got: str, allowed: Sequence[str]) -> str:
    """The text for a name that is not among the allowed ones."""
    return f"unknown {what} '{got}'.{did_you_mean(got, allowed)} Allowed: {', '.join(allowed)}"


def reason_of(failure: Exception) -> str:
    """Return the line of OpenVINO's message that says what is wrong: the last one, without its source location."""
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    reason = (lines[-1] if lines else "unknown reason").rstrip(".!")
    return "there is not enough memory" if reason == "std::bad_alloc" else reason


def shortened(text: str, longest: int = 120) -> str:
    """Return a text in one line of at most so many characters; what does not fit is cut off in its midst."""
    line = " ".join(text.split())
    half = (longest - 5) // 2
    return line if len(line) <= longest else f"{line[:half]} ... {line[-half:]}"


def require_memory(what: str, size: int) -> None:
    """Raise InputError, beginning with ``what``, if that takes more bytes than this machine has memory."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > there:
        raise InputError(
            f"{what} would take {size / 2**30:.1f} GiB; this machine has {there / 2**30:.1f} GiB of memory."
        )
