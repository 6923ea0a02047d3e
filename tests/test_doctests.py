"""The examples in docstrings of tasks and flows give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FEWEST = 23  # docstrings with examples


def with_examples() -> list[str]:
    files = (file for room in ("tasks", "flows") for file in sorted((ROOT / room).rglob("*.py")))
    # Only these are imported: some modules need packages of extras.
    found = (file for file in files if ">>> " in file.read_text(encoding="utf-8"))
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in found]


def examples(module: str) -> list[doctest.DocTest]:
    return [found for found in doctest.DocTestFinder().find(importlib.import_module(module)) if found.examples]


@pytest.mark.parametrize("module", with_examples())
def test_examples_give_what_they_say(module: str) -> None:
    assert examples(module)
    assert not doctest.testmod(importlib.import_module(module)).failed


def test_a_newcomer_finds_examples() -> None:
    assert sum(len(examples(module)) for module in with_examples()) >= FEWEST
