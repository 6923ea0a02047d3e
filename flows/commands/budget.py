"""A bound on what reading a configuration may take: a few lines that refer to each other can stand for 10^9 values."""

import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tasks.errors import InputError

SECONDS = 10
BYTES = 2**30
_TICK = 0.1


class _Exceeded(BaseException):
    """No Exception: libraries turn those into others, and go on."""


@contextmanager
def bounded(what: str, *, seconds: float = SECONDS, size: int = BYTES) -> Iterator[None]:
    """Raise InputError when the body takes more seconds of processor, or more bytes of memory, than that.

    Python tells the main thread alone when time has passed: elsewhere nothing is bounded.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    start, held = time.process_time(), _memory()

    def look(_number: int, _frame: FrameType | None) -> None:
        if time.process_time() - start > seconds or _memory() - held > size:
            raise _Exceeded

    before = signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, _TICK, _TICK)
    try:
        yield
    except _Exceeded as failure:
        limits = f"{seconds:g} s or {size / 2**30:g} GB"
        raise InputError(f"{what}: takes more than {limits} to read; do values repeat each other?") from failure
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _memory() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
