"""``python -m tests.benchmarks``: time and memory of calibration, ours beside plain inference and NNCF."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.cases import CASES, ROOT, Case
from tests.benchmarks.measure import measure_cost_apart, time_ways
from tests.benchmarks.report import Outcome, budgets, markdown, plot
from tests.benchmarks.ways import NNCF_WAYS, WAYS, load_nncf

PLOT = "calibration.png"


@dataclass(frozen=True)
class Extent:
    """How much is measured; ``most_samples`` bounds the number of samples, ``few`` and ``many`` are for the memory."""

    rounds: int
    slow_rounds: int
    most_samples: int
    few: int
    many: int


FULL = Extent(rounds=5, slow_rounds=3, most_samples=300, few=50, many=300)
QUICK = Extent(rounds=2, slow_rounds=1, most_samples=40, few=10, many=60)


def measure(case: Case, extent: Extent) -> Outcome:
    """Time all ways that can run, then run each once more in a process of its own."""
    ways = [way for way in WAYS if way not in NNCF_WAYS or load_nncf() is not None]
    count = min(case.count, extent.most_samples)
    timings = time_ways(case, ways, count, extent.rounds, min(extent.slow_rounds, case.slow_rounds))
    costs = {way: measure_cost_apart(case, way, count) for way in ways}
    by_samples = {number: measure_cost_apart(case, "ours", number) for number in (extent.few, extent.many)}
    return Outcome(case, count, timings, costs, by_samples)


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the page and the plot; 1 when something that has to hold does not."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and samples; writes to outputs/benchmarks")
    parser.add_argument("--models", nargs="+", choices=CASES, default=list(CASES), help="default: all")
    chosen = parser.parse_args(arguments)
    page, picture = (ROOT / "tests" / "benchmarks" / name for name in ("README.md", PLOT))
    if chosen.quick:
        page, picture = (ROOT / "outputs" / "benchmarks" / name for name in ("README.md", PLOT))
    command = " ".join((".venv/bin/python -m tests.benchmarks", *(arguments or sys.argv[1:])))

    outcomes: list[Outcome] = []
    for case in (CASES[name] for name in chosen.models):
        if not case.available:
            say(f"{case.name}: skipped, there is no {case.needs}")
            continue
        say(f"{case.name} ...")
        outcomes.append(measure(case, QUICK if chosen.quick else FULL))
        # After every model: what was measured is not lost when the next one fails.
        write(outcomes, page, picture, command)
    missed = [budget for outcome in outcomes for budget in budgets(outcome) if budget.verdict == "MISSED"]
    for budget in missed:
        say(f"{budget.case}: {budget.text} is {budget.measured}, and should be {budget.bound}")
    say(str(page))
    return int(bool(missed))


def say(text: str) -> None:
    """Progress, on standard error."""
    sys.stderr.write(f"{text}\n")


def write(outcomes: list[Outcome], page: Path, picture: Path, command: str) -> None:
    """Write the page and the plot."""
    page.parent.mkdir(parents=True, exist_ok=True)
    plot(outcomes, picture)
    relative = picture.relative_to(page.parent).as_posix()
    page.write_text(markdown(outcomes, command, relative), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
