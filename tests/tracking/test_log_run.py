"""What MLflow shows of a run before anything else."""

import posixpath
from dataclasses import replace

import pytest

from tasks.records import Report
from tasks.tracking.log_run import _allowed, _summary


def test_the_description_has_both_models_and_the_notes() -> None:
    metrics: dict[str, dict[str, float | None]] = {
        "float": {"top1": 80.0, "top1/cat": 70.0},
        "int8": {"top1": 79.12345678, "top1/cat": 60.0, "sqnr_db": 20.5, "agreement": None},
    }
    report = Report("m", metrics, {}, (), {}, (), {}, {}, (), notes=("something was skipped: why",))
    assert _summary(replace(report, warnings=("it guesses",))) == f"**Warning:** it guesses\n\n{_summary(report)}"
    assert _summary(report).splitlines() == [
        "| | float | INT8 |",
        "|---|---|---|",
        "| top1 | 80 | 79.1235 |",
        "| sqnr_db |  | 20.5 |",
        "| agreement |  |  |",
        "",
        "- something was skipped: why",
    ]


@pytest.mark.parametrize("name", ["", "a//b", "tv/", "../x", "/", "..", "x" * 300, f"{'x' * 241}/y", "it's", "@", "."])
def test_classes_of_any_name_become_metrics(name: str) -> None:
    allowed = _allowed(f"int8/map/{name}")
    assert allowed.startswith("int8/map/")
    assert 9 < len(allowed) <= 250
    # What MLflow takes: a path that stands for itself.
    assert posixpath.normpath(allowed) == allowed
    assert "'" not in allowed
    assert "@" not in allowed
