"""A process that answers: it gets lines of JSON and gives a line of JSON back for each."""

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any


class LineProcess:
    """It never sees Ctrl-C, and ends when its input does."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
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
        assert self._process.stdin is not None  # noqa: S101 - for mypy
        assert self._process.stdout is not None  # noqa: S101
        try:
            self._process.stdin.write(json.dumps(question, default=str) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            answer: dict[str, str] = json.loads(line)
            return answer
        self._complaints.seek(0)
        return {"error": (self._complaints.read().strip().splitlines() or ["no reason given"])[-1]}

    def end(self) -> None:
        """Kill it: what it was asked it has answered."""
        self._process.kill()
        with self._process, self._complaints:
            pass
