"""A bound on what reading a configuration may take: a few lines that refer to each other can stand for 10^9 values."""

import ctypes
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import InputError

SECONDS = 10
BYTES = 2**30
_TICK = 0.1


class _Exceeded(BaseException):
    """Not an Exception: libraries catch those, turn them into others and go on."""


@contextmanager
def bounded(what: str, *, seconds: float = SECONDS, size: int = BYTES) -> Iterator[None]:
    """Raise InputError when the body takes more processor time or more memory than that.

    A thread watches it. The signal of a timer would also reach the threads of OpenVINO, and at times end the process.

    Args:
        what: What the body reads; the error begins with it.
        seconds: Processor time, in seconds.
        size: Memory beyond what the process holds at the start, in bytes.
    """
    start, held, reader, over = time.process_time(), _memory(), threading.get_ident(), threading.Event()

    def watch() -> None:
        while not over.wait(_TICK):
            if time.process_time() - start > seconds or _memory() - held > size:
                # Python has this for debuggers: the thread raises it before its next instruction.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(reader), ctypes.py_object(_Exceeded))
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        try:
            yield
        finally:
            over.set()
            watcher.join()
    except _Exceeded as failure:
        limits = f"{seconds:g} s or {size / 2**30:g} GB"
        raise InputError(f"{what}: takes more than {limits} to read; do values repeat each other?") from failure


def _memory() -> int:
    """The memory that this process holds, in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
