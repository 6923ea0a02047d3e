"""What a failure means to the user: an exit code and, where that says all, one line."""

import errno

from tasks.errors import InputError
from tasks.tracking import TrackingError

BAD_INPUT = 2
FAILED = 1

_FULL = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "no space is left for")
_FULL[errno.EFBIG] = "files must not become as large (ulimit -f) as"


class ServerError(RuntimeError):
    """Prefect's server did not start, or is gone; the message is one line that names the cause and the way out."""


def judge(failure: Exception) -> tuple[int, str | None]:
    """The exit code for a failure and the line that says all; None for the line where there is no such line."""
    if isinstance(failure, InputError):
        return BAD_INPUT, str(failure)
    if isinstance(failure, TrackingError | ServerError):
        return FAILED, str(failure)
    if isinstance(failure, OSError) and failure.errno in _FULL:
        where = failure.filename2 or failure.filename or "a file"
        return FAILED, f"{_FULL[failure.errno]} '{where}'; an earlier output is as it was"
    if str(failure).startswith("Failed to reach API"):
        return FAILED, f"{failure}: start that Prefect server, or unset PREFECT_API_URL for a temporary one"
    return FAILED, None
