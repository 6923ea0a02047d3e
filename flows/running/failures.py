"""What a failure means to the user: an exit code and, where that says all, one line."""

import errno
import os
import resource
import sys
from pathlib import Path

from tasks.errors import BrokenModelError, InputError, readable, shortened
from tasks.tracking.client import TrackingError

BAD_INPUT = 2
FAILED = 1
# The variable of the environment that holds the address of a server that a command started itself.
TEMPORARY_SERVER = "PTQ_TEMPORARY_SERVER"

_FULL = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "no space is left for")
_FULL[errno.EFBIG] = "files must not become as large (ulimit -f) as"
# What a database says when the system does not let it write.
_UNWRITTEN = ("disk I/O error", "database or disk is full")

_WHO_ARE_YOU = (401, 403)
_REFUSED = "expected that of a Prefect server (it ends with /api), and its PREFECT_API_KEY or PREFECT_API_AUTH_STRING"


class ServerError(RuntimeError):
    """Prefect's server did not start, or is gone; the message is one line that names the cause and the way out."""


def explain_failure(failure: Exception) -> tuple[int, str | None]:
    """The exit code for a failure, and the line that says all; None where only a traceback does."""
    if isinstance(failure, InputError):
        return BAD_INPUT, str(failure)
    if isinstance(failure, OSError) and failure.errno == errno.ENAMETOOLONG:
        return BAD_INPUT, readable(f"'{failure.filename}': {failure.strerror}")
    return FAILED, _line(failure)


def _line(failure: Exception) -> str | None:
    if isinstance(failure, TrackingError | ServerError | BrokenModelError):
        return str(failure) + (_limit() if any(each in str(failure) for each in _UNWRITTEN) else "")
    if isinstance(failure, OSError) and (failure.filename or failure.errno in _FULL):
        return f"{_refused(failure)}; an earlier output is as it was"
    if isinstance(failure, MemoryError):
        return f"there is not enough memory: {shortened(str(failure)) or 'no size given'}"
    return _told_of_server(failure) if "prefect" in sys.modules else None


def _told_of_server(failure: Exception) -> str | None:
    """The line for what Prefect raises where its server is at fault; None for all else."""
    from prefect.exceptions import PrefectHTTPStatusError  # noqa: PLC0415 - reads its settings when it is imported

    if isinstance(failure.__cause__, ServerError):
        return _line(failure.__cause__)
    # Prefect has no type for this one: a RuntimeError whose cause may be anything, even that a page is no JSON.
    unreached = isinstance(failure, RuntimeError) and str(failure).startswith("Failed to reach API")
    own = os.environ.get(TEMPORARY_SERVER)
    if unreached and own and own in str(failure):
        return f"the temporary Prefect server at '{own}' does not answer: run it again; what is done is kept"
    refusal = failure.__cause__ if unreached else failure
    if isinstance(refusal, PrefectHTTPStatusError) and (unreached or refusal.response.status_code in _WHO_ARE_YOU):
        url, answer = refusal.request.url, refusal.response
        told = f"'{url.scheme}://{url.netloc.decode()}' answers {answer.status_code} {answer.reason_phrase}"
        return f"PREFECT_API_URL: the server at {told}; {_REFUSED}, or unset PREFECT_API_URL for a temporary one"
    return f"{failure}: start that Prefect server, or unset PREFECT_API_URL for a temporary one" if unreached else None


def _limit() -> str:
    """A remark about the limit of file sizes, empty where there is none."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return "" if limit == resource.RLIM_INFINITY else f"; files must not grow beyond {limit / 1e6:.3g} MB (ulimit -f)"


def _refused(failure: OSError) -> str:
    """Which file the system refused, and why. Of a missing file it names the topmost folder that is missing, too."""
    name = failure.filename2 or failure.filename or "a file"
    if failure.errno in _FULL:
        return f"{_FULL[failure.errno]} '{name}'"
    if failure.errno == errno.ENOENT and not isinstance(name, int):
        path = Path(os.fsdecode(name)).absolute()
        gone = [each for each in (*reversed(path.parents), path) if not os.path.lexists(each)]
        return f"'{gone[0] if gone else path}' is gone"
    return f"cannot use '{name}': {failure.strerror}"
