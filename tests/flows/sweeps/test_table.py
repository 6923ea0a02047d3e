"""The table of trials: it fits the terminal, a line a trial, and leaves out what matters least."""

from typing import Any

import pytest
from rich.console import Console

from flows.sweeps.table import trials_table

KEYS = ("preset", "weights.range_estimator.preset", "range_estimator", "scope")
METRICS = {"sqnr_db": 18.7931, "throughput_fps": 433.21, "top1": 87.2, "agreement": 99.2, "expected_agreement": 98.19}
SCOPE = "[Multiply_40325,Multiply_40633,Multiply_40612,'__module._fc/aten::linear/MatMul']"


def row(number: int, *values: str, state: str = "", **metrics: float | None) -> dict[str, Any]:
    ends = {"steps run": "16/21", "s": "13.4", "": state}
    return {"trial": number, **dict(zip(KEYS, values, strict=False)), **METRICS, **metrics, **ends}


ROWS = [
    row(0, "performance", "default", "{preset:default}", ""),
    row(11, "mixed", "mse", "{preset:quantile,max:{outlier_prob:0.0001}}", SCOPE, state="best", throughput_fps=12345.6),
    row(12, "accuracy", "default", "{preset:mse}", "[a,b]", state="failed", sqnr_db=None, top1=None),
]


def shown(width: int, rows: list[dict[str, Any]] = ROWS, keys: tuple[str, ...] = KEYS) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(trials_table("model: 2 of 3 trials done", keys, rows, width))
    return capture.get()


@pytest.mark.parametrize("width", range(80, 160, 10))
def test_every_trial_takes_one_line_that_fits(width: int) -> None:
    _, *lines = shown(width).splitlines()
    assert all(len(line) <= width for line in lines)
    below = lines[next(place for place, line in enumerate(lines) if line.startswith("──")) + 1 :]
    assert [line.split()[0] for line in below] == ["0", "11", "12"]
    assert ["best" in line for line in below] == [False, True, False]
    assert "18.79" in below[0]
    assert "performance" in below[0]


def test_metrics_come_back_with_the_width() -> None:
    assert [("SQNR" in shown(w), "top-1" in shown(w), "steps" in shown(w)) for w in (80, 110, 150)] == [
        (True, False, False),
        (True, True, False),
        (True, True, True),
    ]


def test_values_are_spelled_as_people_say_them() -> None:
    wide = shown(200)
    assert "quantile 0.0001" in wide
    assert " a b " in wide
    assert "Multiply_40325 +3" in wide
    assert "{" not in wide
    assert " 12346 " in wide


def test_names_beside_each_other_differ_at_their_ends() -> None:
    paths = [row(number, f"/a/long/way/to/the/models/of/all/kinds/model_{number}.xml") for number in (1, 2)]
    narrow = shown(60, paths, KEYS[:1])
    assert "model_1.xml" in narrow
    assert "model_2.xml" in narrow


def test_a_text_in_brackets_is_no_markup() -> None:
    assert "[red]" in shown(80, [row(0, "x[red]", "", "", "")])
