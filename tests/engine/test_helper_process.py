"""A process that answers: in order, whether it is waited for or told things in passing, and when it dies."""

import sys
from collections.abc import Iterator

import pytest

from tasks.engine.helper_process import LineProcess

DOUBLES = """
import json, sys
for line in sys.stdin:
    number = json.loads(line)
    if number < 0:
        sys.exit(f"cannot double {number}")
    print(json.dumps({"doubled": str(2 * number)}), flush=True)
"""


@pytest.fixture
def process() -> Iterator[LineProcess]:
    found = LineProcess([sys.executable, "-c", DOUBLES], {})
    yield found
    found.end()


def test_what_it_is_told_is_answered_before_what_it_is_asked(process: LineProcess) -> None:
    answers: list[dict[str, str]] = []
    for number in range(2000):  # more answers than a pipe holds, were none read
        process.tell(number, answers.append)
    assert len(answers) == 1999
    assert process.ask(2000) == {"doubled": "4000"}
    process.collect()
    assert answers == [{"doubled": str(2 * number)} for number in range(2000)]


def test_a_process_that_dies_says_why_to_all(process: LineProcess) -> None:
    answers: list[dict[str, str]] = []
    process.tell(1, answers.append)
    process.tell(-1, answers.append)
    assert process.ask(3) == {"error": "cannot double -1"}
    assert answers == [{"doubled": "2"}, {"error": "cannot double -1"}]
    assert process.died
