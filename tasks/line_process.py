"""A process that answers: it gets lines of JSON and gives a line of JSON back for each."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any


class LineProcess:
    """It never sees Ctrl-C, and ends when its input does. ``died`` tells that it ended by itself."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.died = False
        self._due: list[Callable[[dict[str, str]], object]] = []
        self._complaints = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(  # noqa: S603 - no shell, and nothing of the user's
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def ask(self, question: Any) -> dict[str, str]:
        """The answer; of a process that died, ``error`` with its last line."""
        answers: list[dict[str, str]] = []
        self.tell(question, answers.append)
        self.collect()
        return answers[0]

    def tell(self, question: Any, receive: Callable[[dict[str, str]], object]) -> None:
        """Ask and do not wait: the answer goes to ``receive`` when it is collected, before the next question."""
        self.collect()
        assert self._process.stdin is not None  # noqa: S101 - for mypy
        self._due.append(receive)
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question, default=str) + "\n")
            self._process.stdin.flush()

    def collect(self) -> None:
        """Wait for the answer that is due, if there is one."""
        assert self._process.stdout is not None  # noqa: S101 - for mypy
        while self._due:
            line = self._process.stdout.readline()
            self.died = not line
            # Off the list only now: Ctrl-C while waiting leaves the answer due.
            self._due.pop(0)(json.loads(line) if line else {"error": self._last_words()})

    def _last_words(self) -> str:
        self._complaints.seek(0)
        return (self._complaints.read().strip().splitlines() or ["no reason given"])[-1]

    def end(self) -> None:
        """Kill it: what it was asked it has answered."""
        self._process.kill()
        # Closing the pipe writes what the process did not live to read.
        with suppress(BrokenPipeError), self._process, self._complaints:
            pass
