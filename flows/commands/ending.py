"""How a command begins and ends: in order, with one line and its exit code, whatever comes."""

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
    """Run ``main`` of the module ``flows.commands.NAME``, whose import may be interrupted as well."""
    run_in_order(lambda: import_module(f"flows.commands.{name}").main())


def run_in_order(body: Callable[[], None]) -> None:
    """Run a command that ends with one line on Ctrl-C (exit code 130) and SIGTERM (143), from its start on.

    No word of the command line holds a secret in the body, and none is printed.
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
    """What goes wrong in here ends the process with one readable line, where that says all."""
    try:
        yield
    except Exception as failure:
        code, line = judge(failure)
        if line is None:
            raise
        fail(line, code)


def judge(failure: Exception) -> tuple[int, str | None]:
    """See :func:`flows.running.failures.explain_failure`; raises KeyboardInterrupt for a Ctrl-C that became one."""
    interruptions.require_none(failure)
    code, line = explain_failure(failure)
    return code, line and redacted(line)


def fail(message: str, code: int = BAD_INPUT) -> NoReturn:
    """End the process with that exit code, and the lines on standard error."""
    print("\n".join(map(readable, message.splitlines())), file=sys.stderr)
    sys.exit(code)
