"""Helper processes: each reads lines of JSON from its input and answers each with a line of JSON.

:func:`answer_once` runs in the helper itself; the rest is for its parent.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

# Seconds that a process may take to end after its output has ended.
_END_SECONDS = 10


def how_it_ended(code: int, said: str) -> str:
    """How a process ended, in words: by which signal, or what it printed last.

    Args:
        code: Its return code; the negative number of a signal if one killed it.
        said: What it printed as errors.
    """
    if code < 0:
        name = next((each.name for each in signal.Signals if each == -code), f"signal {-code}")
        return f"the process was ended by {name}{', as for want of memory' if name == 'SIGKILL' else ''}"
    last = (said.strip().splitlines() or [""])[-1].strip()
    return last or f"the process ended with exit code {code}, no reason given"


def ask_once(command: Sequence[str], environment: Mapping[str, str], question: Any) -> dict[str, Any]:
    """The answer of a process that is started for one question; ``error`` says how it died, if it did.

    Args:
        command: Starts a process that calls :func:`answer_once`.
        environment: Its environment variables.
        question: Any JSON value.
    """
    process = LineProcess(command, environment)
    try:
        return process.ask(question)
    finally:
        process.end()


def answer_once(answer: Callable[[Any], dict[str, Any]]) -> NoReturn:
    """Answer the question of :func:`ask_once` and exit. The process also exits as soon as its parent does.

    Args:
        answer: From the question to the answer, a JSON object.
    """
    question = json.loads(sys.stdin.readline())

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    # What a library prints must not be taken for the answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    answers.write(json.dumps(answer(question)) + "\n")
    answers.flush()
    os._exit(0)  # everything is written: a regular exit would unload a thousand modules while the user waits


class LineProcess:
    """A process that answers many questions, in order. It ignores Ctrl-C and ends when its input does.

    If the process dies with a question unanswered, and ``notice`` is given, a new process is started and asked again;
    ``notice`` hears how the first one ended. ``died`` says whether the last question got no answer at all.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], notice: Callable[[str], object] | None = None
    ) -> None:
        self.died = False
        self._command, self._environment, self._notice = command, environment, notice
        self._due: list[tuple[str, Callable[[dict[str, Any]], object]]] = []
        self._launch()

    def _launch(self) -> None:
        self._complaints = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(  # noqa: S603 - no shell, and nothing of the user's
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            env=self._environment,
            start_new_session=True,
        )

    def ask(self, question: Any) -> dict[str, Any]:
        """The answer; if the process died, its ``error`` says how.

        Args:
            question: Any JSON value.
        """
        answers: list[dict[str, Any]] = []
        self.tell(question, answers.append)
        self.collect()
        return answers[0]

    def tell(self, question: Any, receive: Callable[[dict[str, Any]], object]) -> None:
        """Ask without waiting. ``receive`` gets the answer when it is collected, at the latest by the next question.

        Args:
            question: Any JSON value.
            receive: Gets the answer.
        """
        self.collect()
        line = json.dumps(question, default=str) + "\n"
        self._due.append((line, receive))
        if self._process.poll() is not None and self._notice:  # before it was asked anything
            self._launch_again(self._notice)
        self._send(line)

    def _launch_again(self, notice: Callable[[str], object]) -> None:
        notice(self._end_of_it())
        self.end()
        self._launch()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101 - for mypy
        with suppress(BrokenPipeError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def collect(self) -> None:
        """Wait for the outstanding answer, if there is one."""
        while self._due:
            line, receive = self._due[0]
            answer = self._read()
            if answer is None and self._notice:
                self._launch_again(self._notice)
                self._send(line)
                answer = self._read()
            self.died = answer is None
            # Cleared only now: after Ctrl-C while waiting the answer is still outstanding.
            self._due.pop(0)
            receive({"error": self._end_of_it()} if answer is None else answer)

    def _read(self) -> dict[str, Any] | None:
        """The next answer; None if the process ended before it had written one in full."""
        assert self._process.stdout is not None  # noqa: S101 - for mypy
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def _end_of_it(self) -> str:
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            code = 0  # it only closed its output
        self._complaints.seek(0)
        return how_it_ended(code, self._complaints.read())

    def end(self) -> None:
        """Kill the process; it has answered what it was asked."""
        self._process.kill()
        # Closing the pipe flushes what the process never read.
        with suppress(BrokenPipeError), self._process, self._complaints:
            pass
