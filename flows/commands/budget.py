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
    """No Exception: libraries turn those into others, and go on."""


@contextmanager
def bounded(what: str, *, seconds: float = SECONDS, size: int = BYTES) -> Iterator[None]:
    """Raise InputError when the body takes more seconds of processor, or more bytes of memory, than that.

    A thread looks on: the signal of a timer reaches the threads of OpenVINO, too, and ends the process at times.
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
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
