"""Ctrl-C and SIGTERM: noted when they come, as libraries turn KeyboardInterrupt into errors of their own."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Every Ctrl-C and SIGTERM of this process, by the number of the signal.
INTERRUPTIONS: list[int] = []
# What they did before a command took them.
_before: dict[int, Any] = {}


@contextmanager
def noted() -> Iterator[None]:
    """Remember Ctrl-C and SIGTERM, whatever becomes of the exception. Where one is ignored it stays so."""
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


def _leave_forks_alone() -> None:
    """In a forked child, which is none of ours: signals end it without a word, as if it had no handlers."""
    for number, handler in _before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=_leave_forks_alone)


def require_none(failure: BaseException) -> None:
    """Raise KeyboardInterrupt if it is that which became another error."""
    if INTERRUPTIONS:
        raise KeyboardInterrupt from failure
