"""Ctrl-C and SIGTERM: noted when they come, because libraries turn KeyboardInterrupt into errors of their own."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Every Ctrl-C and SIGTERM of this process, by the number of the signal.
INTERRUPTIONS: list[int] = []
# Their handlers before a command set its own.
_before: dict[int, Any] = {}
# The signals that threads blocked before they began to fork.
_masks: dict[int, set[int]] = {}


@contextmanager
def noted() -> Iterator[None]:
    """Note every Ctrl-C and SIGTERM during the body, and raise KeyboardInterrupt. Ignored signals stay so."""
    _before.update({number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)})

    def interrupt(number: int, _frame: FrameType | None) -> None:
        again = number == signal.SIGTERM and number in INTERRUPTIONS
        INTERRUPTIONS.append(number)
        if not again:  # `timeout` sends two, and the second one must not disturb the end
            raise KeyboardInterrupt

    for number, handler in _before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in _before.items():
            signal.signal(number, handler)
        _before.clear()


def _hold_signals() -> None:
    """Have signals wait while this thread forks: one that comes in between would find a handler that is on its way."""
    _masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, _before)


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.pop(threading.get_ident(), set()))


def _leave_forks_alone() -> None:
    """Give a forked child, which a library made, the default handlers: signals end it without a word."""
    for number, handler in _before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    _release_signals()


os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals, after_in_child=_leave_forks_alone)


def require_none(failure: BaseException) -> None:
    """Raise KeyboardInterrupt if Ctrl-C or SIGTERM came, as the failure is then what a library made of it."""
    if INTERRUPTIONS:
        raise KeyboardInterrupt from failure
