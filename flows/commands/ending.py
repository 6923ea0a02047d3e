"""How a command starts and ends: whatever happens, it ends with an exit code and, where that says all, one line."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NoReturn

from flows.commands.secret_words import without_secrets
from flows.running import interruptions
from flows.running.failures import BAD_INPUT, explain_failure
from flows.running.interruptions import INTERRUPTIONS
from tasks.errors import readable
from tasks.redaction import redact_output, redacted

# OpenCV reads this when it is imported; a damaged image is reported by its name, in one line.
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
# MLflow would draw a bar for each small file, wherever tqdm is installed; Optuna brings it.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def run_command(name: str) -> None:
    """Run ``main`` of the module ``flows.commands.NAME``. Ctrl-C may come while that is imported, too."""
    run_in_order(lambda: import_module(f"flows.commands.{name}").main())


def run_in_order(body: Callable[[], None]) -> None:
    """Run the body of a command; Ctrl-C ends it with one line and exit code 130, SIGTERM with 143.

    The body finds placeholders for the secrets on its command line, and whatever it prints has them, too.
    """
    code: Any = None
    try:
        with interruptions.noted():
            redact_output()
            sys.argv[1:] = without_secrets(sys.argv[1:])
            body()
    except SystemExit as end:
        code = end.code
    except (KeyboardInterrupt, Exception) as failure:
        # Prefect turns Ctrl-C into another error when it comes between two of its own lines.
        if not isinstance(failure, KeyboardInterrupt) and not INTERRUPTIONS:
            raise
        print("interrupted; what is done is kept, and the next run continues there", file=sys.stderr)
        code = 128 + (INTERRUPTIONS or [signal.SIGINT])[0]
    if recording := sys.modules.get("flows.running.recording"):
        recording.leave(code or 0)
    if code is not None:
        sys.exit(code)


@contextmanager
def failures_told() -> Iterator[None]:
    """End the process where the body fails: with its exit code and one line, or a traceback where no line says all."""
    try:
        yield
    except Exception as failure:
        code, line = judge(failure)
        if line is None:
            raise
        fail(line, code)


def judge(failure: Exception) -> tuple[int, str | None]:
    """The exit code and the line for a failure, as :func:`flows.running.failures.explain_failure` tells them.

    Raises KeyboardInterrupt where Ctrl-C or SIGTERM caused it.
    """
    interruptions.require_none(failure)
    code, line = explain_failure(failure)
    return code, line and redacted(line)


def fail(message: str, code: int = BAD_INPUT) -> NoReturn:
    """End the process with that exit code, and the lines on standard error."""
    print("\n".join(map(readable, message.splitlines())), file=sys.stderr)
    sys.exit(code)
