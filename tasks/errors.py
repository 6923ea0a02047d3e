"""The one error for what a user can mend: bad configuration, bad files, bad data."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Input that cannot be used; the message says what, its value and what was expected. Exit code 2."""


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the candidate nearest to ``name``, or an empty string."""
    nearest = difflib.get_close_matches(name, list(candidates), n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""
