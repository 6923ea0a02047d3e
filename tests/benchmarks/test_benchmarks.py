"""The benchmark itself: it runs, it counts right, and with ``-m benchmark`` what it measures holds."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from tasks.graph.presets import Scheme
from tests.benchmarks import __main__ as command
from tests.benchmarks import ways
from tests.benchmarks.cases import CASES, DIGITS
from tests.benchmarks.measure import Cost, Timings, counted, measure_cost, median_ratio, time_ways
from tests.benchmarks.report import MEBIBYTE, Outcome, budgets, markdown
from tests.benchmarks.ways import DEFAULTS, QUANTILES, Stopwatch, Task, quantize

OURS = ("plain", "ours", "quantiles", "sequential")


@pytest.fixture
def without_nncf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "load_nncf", lambda: None)
    monkeypatch.setattr("tests.benchmarks.report.load_nncf", lambda: None)


def digits_task(count: int = 3) -> Task:
    model = DIGITS.model()
    return Task(model, DIGITS.samples(model, count))


def digits_outcome() -> Outcome:
    timings = time_ways(DIGITS, OURS, 3, rounds=1, slow_rounds=1)
    costs = dict.fromkeys(OURS, Cost(2 * MEBIBYTE, 3, 1))
    return Outcome(DIGITS, 3, timings, costs, {3: costs["ours"], 9: costs["ours"]})


@pytest.mark.usefixtures("without_nncf")
def test_the_page_has_every_way_and_says_what_is_missing() -> None:
    page = markdown([digits_outcome()], "the command", "plot.png")
    assert "| Digits, 3 images | NNCF | not installed |" in page
    assert "the command" in page
    assert "](plot.png)" in page
    assert "placement" in page
    assert "| digits | peak memory, 9 / 3 samples | 1.00x | <= 1.1x | holds |" in page


@pytest.mark.slow
@pytest.mark.usefixtures("without_nncf")
def test_page_and_plot_are_written(tmp_path: Path) -> None:
    command.write([digits_outcome()], tmp_path / "new" / "B.md", tmp_path / "new" / "plot.png", "the command")
    assert (tmp_path / "new" / "B.md").exists()
    assert (tmp_path / "new" / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_inferences_compiles_and_memory_are_counted() -> None:
    cost = measure_cost(DIGITS, "quantiles", 3)
    assert (cost.inferences, cost.compiles) == (3, 1)
    assert 0 < cost.peak_bytes < 200 * MEBIBYTE
    with counted() as calls:
        pass
    assert not calls
    assert ov.Core.compile_model.__name__ == "compile_model"


@pytest.mark.parametrize("scheme", [DEFAULTS, QUANTILES], ids=["extremes", "quantiles"])
def test_ours_is_the_whole_way_to_int8(scheme: Scheme) -> None:
    task, watch = digits_task(), Stopwatch()
    quantized = quantize(task, scheme, watch)
    types = {node.get_type_name() for node in quantized.get_ordered_ops()}
    assert "FakeQuantize" in types
    assert "FakeQuantize" not in {node.get_type_name() for node in task.model.get_ordered_ops()}
    assert {"placement", "compile", "inference", "ranges", "insertion"} <= set(watch.parts)


def test_ratios_are_of_the_rounds_that_both_ran() -> None:
    plain = Timings([{"compile (not counted)": 9, "inference": seconds} for seconds in (1.0, 2.0, 4.0)])
    ours = Timings([{"compile": 1, "inference": seconds} for seconds in (1.0, 3.0, 7.0)])
    assert plain.totals == [1, 2, 4]
    assert median_ratio(ours, plain) == 2
    assert median_ratio(ours, plain, allowance=1.0) == 1.5
    assert median_ratio(Timings(ours.parts[:1]), plain) == 2


def test_a_budget_is_missed_or_holds() -> None:
    def seconds(value: float) -> Timings:
        return Timings([{"all": value}])

    parts = {"compile": 0.5, "inference": 2.3, "biases": 0.1}
    ways = {"plain": seconds(1), "ours": Timings([parts]), "quantiles": seconds(3.9), "sequential": seconds(16)}
    timings = ways | {"nncf": seconds(10)}
    costs = {"ours": Cost(50, 1, 1), "nncf": Cost(100, 1, 1)}
    outcome = Outcome(DIGITS, 3, timings, costs, {50: Cost(50, 1, 1), 300: Cost(60, 1, 1)})
    assert [budget.verdict for budget in budgets(outcome)] == [
        "MISSED",
        "MISSED",
        "holds",
        "holds",
        "MISSED",
        "holds",
        "MISSED",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "transformer"])
def test_topologies_give_plausible_values(name: str) -> None:
    case = CASES[name]
    model = case.model()
    samples = case.samples(model, 2)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    first, second = (np.array(compiled(sample)[0]) for sample in samples)
    assert np.isfinite(first).all()
    assert 0.01 < first.std() < 100
    assert not np.allclose(first, second)


@pytest.mark.benchmark
@pytest.mark.parametrize("name", CASES)
def test_what_has_to_hold(name: str) -> None:
    case = CASES[name]
    if not case.available:
        pytest.skip(f"there is no {case.needs}")
    outcome = command.measure(case, command.FULL)
    assert [budget for budget in budgets(outcome) if budget.verdict == "MISSED"] == []
