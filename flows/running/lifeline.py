"""Processes that end with the one that started them, whatever ended that one.

``python -P -m flows.running.lifeline PARENT MODULE [ARGUMENT ...]`` runs a module as ``python -m`` does. The process
polls who its parent is. Other ways fail: Linux sends the signal that exists for it (PR_SET_PDEATHSIG) when the *thread*
that started the process ends, and a pipe stays open in whatever else the parent forked.
"""

import gc
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Sequence

_LOOK_SECONDS, _GRACE_SECONDS = 0.5, 10.0


def tied(module: str, *arguments: str) -> Sequence[str]:
    """The command line that runs a module, which then ends with this process. Start it in a session of its own.

    Args:
        module: Name of the module, as for ``python -m``.
        arguments: Its command line.
    """
    # -P: the user's folder may hold a module of that name.
    return [sys.executable, "-P", "-m", __name__, str(os.getpid()), module, *arguments]


def end_with(parent: int) -> None:
    """From now on, end this process soon after the process ``parent`` is gone, with its group if it leads one."""
    if all(thread.name != __name__ for thread in threading.enumerate()):
        threading.Thread(target=_watch, args=(parent,), name=__name__, daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    _signal(signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    _signal(signal.SIGKILL)


def _signal(number: signal.Signals) -> None:
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), number)
    else:
        os.kill(os.getpid(), number)


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    del sys.argv[:2]
    # Imports make many objects that stay: looking for garbage among them took a fifth of the time of a server's start.
    gc.set_threshold(50_000, 20, 20)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
