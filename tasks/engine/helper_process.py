"""A process that answers: it gets lines of JSON and gives a line of JSON back for each.

:func:`answer_once` is for the process itself, the rest for whoever asks.
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

# From the end of its output to the end of a process.
_END_SECONDS = 10


def how_it_ended(code: int, said: str) -> str:
    """How a process ended: by which signal, or what it said last."""
    if code < 0:
        name = next((each.name for each in signal.Signals if each == -code), f"signal {-code}")
        return f"the process was ended by {name}{', as for want of memory' if name == 'SIGKILL' else ''}"
    last = (said.strip().splitlines() or [""])[-1].strip()
    return last or f"the process ended with exit code {code}, no reason given"


def ask_once(command: Sequence[str], environment: Mapping[str, str], question: Any) -> dict[str, Any]:
    """The answer of a process that is for this question alone (see :func:`answer_once`); ``error`` where it died."""
    process = LineProcess(command, environment)
    try:
        return process.ask(question)
    finally:
        process.end()


def answer_once(answer: Callable[[Any], dict[str, Any]]) -> NoReturn:
    """Be the process that :func:`ask_once` starts. It ends when its parent does, whatever it is doing then."""
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
    os._exit(0)  # all is written: taking a thousand modules apart would keep the user waiting


class LineProcess:
    """It never sees Ctrl-C, and ends when its input does.

    A process that ended by itself is started anew, and asked once more what it did not answer: ``notice`` is told how
    the first one ended. Without a ``notice`` it is not. ``died`` tells that the last question got no answer at all.
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
        """The answer; of a process that died, ``error`` says how."""
        answers: list[dict[str, Any]] = []
        self.tell(question, answers.append)
        self.collect()
        return answers[0]

    def tell(self, question: Any, receive: Callable[[dict[str, Any]], object]) -> None:
        """Ask and do not wait: the answer goes to ``receive`` when it is collected, before the next question."""
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
        """Wait for the answer that is due, if there is one."""
        while self._due:
            line, receive = self._due[0]
            answer = self._read()
            if answer is None and self._notice:
                self._launch_again(self._notice)
                self._send(line)
                answer = self._read()
            self.died = answer is None
            # Off the list only now: Ctrl-C while waiting leaves the answer due.
            self._due.pop(0)
            receive({"error": self._end_of_it()} if answer is None else answer)

    def _read(self) -> dict[str, Any] | None:
        """The next answer, None of a process that ended before it or in the midst of it."""
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
        """Kill it: what it was asked it has answered."""
        self._process.kill()
        # Closing the pipe writes what the process did not live to read.
        with suppress(BrokenPipeError), self._process, self._complaints:
            pass
