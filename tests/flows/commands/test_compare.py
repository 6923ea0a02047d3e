"""Two runs side by side, and what people call them."""

import re
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from flows.commands.compare import tables
from tasks.errors import InputError
from tasks.tracking.run_lookup import PastRun, _chosen
from tests.flows.conftest import Commands

WHEN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def layers(**decibels: float | None) -> list[dict[str, Any]]:
    return [{"name": name, "steps": {"a": {"sqnr_db": 1.0}, "b": {"sqnr_db": each}}} for name, each in decibels.items()]


def past(name: str, **changes: Any) -> PastRun:
    return PastRun("0" * 32, name, WHEN, **{"parameters": {}, "metrics": {}, "tags": {}} | changes)


def printed(first: PastRun, second: PastRun, most: int = 10) -> str:
    console = Console(file=StringIO(), width=200)
    for table in tables(first, second, most):
        console.print(table)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_only_what_differs_is_shown_of_parameters() -> None:
    first = past("a", parameters={"preset": "mixed", "same": "1", "output_dir": "x", "gone": "2"})
    text = printed(first, past("b", parameters={"preset": "performance", "same": "1", "output_dir": "y"}))
    assert [
        [cell.strip() for cell in line.split("│")[1:4]]
        for line in text.splitlines()
        if "preset" in line or "gone" in line
    ] == [
        ["gone", "2", ""],
        ["preset", "mixed", "performance"],
    ]
    assert "same" not in text
    assert "output_dir" not in text
    assert "none" in printed(first, first)


def test_digests_are_told_by_their_beginning() -> None:
    tags = [{"mlflow.source.git.commit": digit * 40, "model.digest": digit * 64} for digit in "ab"]
    text = printed(past("a", tags=tags[0]), past("b", tags=tags[1]))
    assert text.count("a" * 12) == text.count("b" * 12) == 2
    assert "a" * 13 not in text


def test_metrics_and_their_differences() -> None:
    text = printed(past("a", metrics={"int8/top1": 80.0, "only": 1.0}), past("b", metrics={"int8/top1": 79.25}))
    assert [cell.strip() for cell in next(line for line in text.splitlines() if "top1" in line).split("│")[1:5]] == [
        "int8/top1",
        "80",
        "79.25",
        "-0.75",
    ]
    assert "only" in text
    assert "system/cpu" not in printed(past("a", metrics={"system/cpu": 1.0}), past("b"))


def test_layers_that_differ_most_come_first() -> None:
    first = past("a", report={"layers": layers(one=30.0, two=20.0, three=10.0, exact=None, old=1.0)})
    second = past("b", report={"layers": layers(one=30.5, two=15.0, three=12.0, exact=None, new=1.0)})
    text = printed(first, second, 2)
    rows = [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")]
    assert [row for row in rows if row in ("one", "two", "three", "exact")] == ["two", "three"]
    assert "2 of 3 that differ, of 3" in text
    assert "0 of 0 that differ, of 4" in printed(first, first)
    assert "three" not in printed(first, first)
    assert "only in A: old" in text
    assert "only in B: new" in text
    assert "SQNR" not in printed(first, past("b"))


def run(identifier: str, name: str) -> Any:
    info = SimpleNamespace(run_id=identifier, run_name=name, start_time=1_700_000_000_000)
    return SimpleNamespace(info=info, data=SimpleNamespace(params={}, metrics={}, tags={}))


RUNS = [run("abcd1" + "0" * 27, "nightly"), run("abcd2" + "0" * 27, "digits"), run("beef3" + "0" * 27, "digits")]


@pytest.mark.parametrize(
    ("word", "expected"), [("nightly", 0), ("abcd2" + "0" * 27, 1), ("abcd2", 1), ("BEEF", 2), ("beef3", 2)]
)
def test_ids_parts_of_ids_and_names_mean_a_run(word: str, expected: int) -> None:
    assert _chosen(word, RUNS) is RUNS[expected]


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("nightyl", "no run is called 'nightyl'. Did you mean 'nightly'?"),
        ("digits", "'digits' means 2 runs, say which by the beginning of its id: "),
        ("abcd", "'abcd' means 2 runs"),
        ("ab", "no run is called 'ab'."),
        ("xyz", "The last ones: abcd1000 nightly, "),
    ],
)
def test_words_that_mean_none_or_several(word: str, complaint: str) -> None:
    with pytest.raises(InputError) as problem:
        _chosen(word, RUNS)
    assert complaint in str(problem.value)


@pytest.mark.slow
def test_command(commands: Commands, tmp_path: Path) -> None:
    for preset in ("performance", "mixed"):
        words = (f"quantization.preset={preset}", f"tracking.run_name={preset}", "output_dir=compared")
        outcome = commands.run("ptq-quantize", *words, home=tmp_path)
        assert outcome.code == 0, outcome.err
    outcome = commands.run("ptq-compare", "performance", "mixed", home=tmp_path)
    assert outcome.code == 0, outcome.err
    assert "quantization.preset" in outcome.out
    assert "int8/sqnr_db" in outcome.out
    assert re.search(r"SQNR dB of layers, (\d+) of \1 that differ, of 7", " ".join(outcome.out.split()))
    wrong = commands.run("ptq-compare", "performance", "mixd", home=tmp_path)
    assert (wrong.code, wrong.err) == (2, "no run is called 'mixd'. Did you mean 'mixed'?\n")
    assert commands.run("ptq-compare", "performance", home=tmp_path).code == 2
    empty = commands.run("ptq-compare", "a", "b", "runtime.hom=x", home=tmp_path / "empty")
    assert empty.code == 2
    assert "Did you mean 'home'?" in empty.err
