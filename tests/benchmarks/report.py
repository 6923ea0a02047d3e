"""What was measured, as tables of Markdown and as a plot."""

import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from tasks.algorithms.speed import describe_machine
from tests.benchmarks.cases import Case
from tests.benchmarks.measure import Cost, Timings, median_ratio
from tests.benchmarks.ways import NNCF_WAYS, load_nncf

TITLES = {
    "plain": "float model, inference only",
    "ours": "ours",
    "quantiles": "ours, quantiles",
    "sequential": "ours, sequential bias correction",
    "nncf": "NNCF",
    "nncf_accurate": "NNCF, accurate bias correction",
}
MEBIBYTE = 2**20
MOST_OF_PLAIN, ALLOWED_SECONDS, MOST_OF_PLAIN_QUANTILES = 1.8, 1.0, 4.0
MOST_OF_STATISTICS = 5.0  # percent: the closed form of bias correction
MOST_OF_NNCF_SEQUENTIAL = 1.5
MOST_GROWTH = 1.1  # of the peak memory from few samples to many

_PAGE = """\
# Benchmarks

Calibration: everything from a loaded float model and samples in memory to the INT8 model in memory, against plain
inference of the same samples and against `nncf.quantize`. `make bench` repeats it, or

```
.venv/bin/pip install -e '.[bench]'
{command}
```

{machine}; {versions}; {date}.

![Time of calibration in units of plain inference]({picture})

{results}

Seconds: median (least to most; number of rounds). The ways take turns in one process; ratios are medians of the ratios
within a round. Inferences, compiled networks and memory come from one more run in a process of its own; peak MiB is
memory beyond the loaded model and the samples.

All ways get the same model, the same samples in the same order, all processors and the preset `performance`. Plain
inference is asynchronous and in float32; compiling for it does not count. *Ours, quantiles* has
`range_estimator.preset=quantile` for activations and weights, extremes and quantiles in one pass; *ours, sequential
bias correction* has `use_fast_bias=false`. NNCF's times include its bias correction, ours the closed form. ResNet-50,
MobileNet-V2 and the transformer have random weights; the transformer is quantized with `model_type=transformer`.

## What has to hold

{budgets}

## Where our time goes

{parts}

## Our peak MiB by number of samples

{memory}
"""


@dataclass
class Outcome:
    """What was measured of one case: seconds and cost by way, and the cost of ours by number of samples."""

    case: Case
    count: int
    timings: dict[str, Timings]
    costs: dict[str, Cost]
    by_samples: dict[int, Cost] = field(default_factory=dict)

    def ratio(self, one: str, other: str, allowance: float = 0.0) -> float | None:
        """How many times ``other`` does ``one`` take; None for a way that did not run."""
        if one not in self.timings or other not in self.timings:
            return None
        return median_ratio(self.timings[one], self.timings[other], allowance)

    @property
    def share_of_biases(self) -> float:
        """Percent of the time of the statistics that the closed form of bias correction takes."""
        rounds = self.timings["ours"].parts
        return 100 * median(each["biases"] / (each["compile"] + each["inference"]) for each in rounds)


@dataclass(frozen=True)
class Budget:
    """One thing that has to hold of a case; ``value`` is None where NNCF was needed and is not installed."""

    case: str
    text: str
    value: float | None
    limit: float
    at_most: bool
    unit: str = "x"

    @property
    def measured(self) -> str:
        return "" if self.value is None else f"{self.value:.2f}{self.unit}"

    @property
    def bound(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.limit:g}{self.unit}"

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "NNCF is not installed"
        return "holds" if (self.value <= self.limit) == self.at_most else "MISSED"


def budgets(outcome: Outcome) -> list[Budget]:
    """Everything that has to hold of a case."""
    case, name = outcome.case, outcome.case.name
    found = [
        Budget(
            name,
            f"(ours - {ALLOWED_SECONDS:g} s) / plain inference",
            outcome.ratio("ours", "plain", ALLOWED_SECONDS),
            MOST_OF_PLAIN,
            at_most=True,
        ),
        Budget(name, "NNCF / ours", outcome.ratio("nncf", "ours"), case.faster, at_most=False),
        Budget(
            name,
            "ours with quantiles / plain inference",
            outcome.ratio("quantiles", "plain"),
            MOST_OF_PLAIN_QUANTILES,
            at_most=True,
        ),
        Budget(name, "closed-form biases / statistics", outcome.share_of_biases, MOST_OF_STATISTICS, True, " %"),
        Budget(
            name,
            "ours with sequential bias correction / NNCF",
            outcome.ratio("sequential", "nncf"),
            MOST_OF_NNCF_SEQUENTIAL,
            at_most=True,
        ),
    ]
    if "ours" in outcome.costs:
        ours, nncf = outcome.costs["ours"].peak_bytes, outcome.costs.get("nncf")
        share = ours / nncf.peak_bytes if nncf else None
        found.append(Budget(name, "peak memory, ours / NNCF", share, 1.0, at_most=True))
    if outcome.by_samples:
        few, many = min(outcome.by_samples), max(outcome.by_samples)
        growth = outcome.by_samples[many].peak_bytes / outcome.by_samples[few].peak_bytes
        found.append(Budget(name, f"peak memory, {many} / {few} samples", growth, MOST_GROWTH, at_most=True))
    return found


def markdown(outcomes: list[Outcome], command: str, picture: str) -> str:
    """The whole page."""
    counts = sorted({count for outcome in outcomes for count in outcome.by_samples})
    grown = [outcome for outcome in outcomes if outcome.by_samples]
    return _PAGE.format(
        command=command,
        machine=f"{describe_machine()}; {platform.system()} {platform.release()}",
        versions=", ".join(_versions()),
        date=datetime.now(UTC).date(),
        picture=picture,
        results=_table(
            ("model", "way", "seconds", "x plain", "x ours", "inferences", "compiles", "peak MiB"),
            (row for outcome in outcomes for row in _rows(outcome)),
        ),
        budgets=_table(
            ("model", "what", "measured", "limit", ""),
            (_budget_row(budget) for outcome in outcomes for budget in budgets(outcome)),
        ),
        parts=_table(
            ("model", "way", "seconds, medians"), (row for outcome in outcomes for row in _part_rows(outcome))
        ),
        memory=_table(
            ("model", *(f"{count} samples" for count in counts)),
            ((o.case.name, *(_mebibytes(o.by_samples[count].peak_bytes) for count in counts)) for o in grown),
        ),
    )


def _versions() -> Iterator[str]:
    yield f"Python {platform.python_version()}"
    yield from (f"{name} {version(name)}" for name in ("openvino", "numpy"))
    yield "NNCF not installed" if load_nncf() is None else f"nncf {version('nncf')}"


def _rows(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    title = outcome.case.title.format(count=outcome.count)
    for way, name in TITLES.items():
        if way not in outcome.timings:
            missing = "not installed" if way in NNCF_WAYS and load_nncf() is None else "not run"
            yield (title, name, missing, "", "", "", "", "")
            continue
        totals, cost = outcome.timings[way].totals, outcome.costs[way]
        yield (
            title,
            name,
            f"{median(totals):.2f} ({min(totals):.2f} to {max(totals):.2f}; {len(totals)})",
            f"{outcome.ratio(way, 'plain'):.2f}",
            f"{outcome.ratio(way, 'ours'):.2f}",
            str(cost.inferences),
            str(cost.compiles),
            _mebibytes(cost.peak_bytes),
        )


def _budget_row(budget: Budget) -> tuple[str, ...]:
    return (budget.case, budget.text, budget.measured, budget.bound, budget.verdict)


def _part_rows(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    for way in (way for way in TITLES if way not in NNCF_WAYS):
        parts = outcome.timings[way].median_parts
        yield outcome.case.name, TITLES[way], ", ".join(f"{part} {seconds:.2f}" for part, seconds in parts.items())


def _mebibytes(size: int) -> str:
    return f"{size / MEBIBYTE:.0f}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows))


def plot(outcomes: list[Outcome], path: Path) -> None:
    """One bar a way and model, in units of plain inference, with the spread of the rounds."""
    import matplotlib as mpl  # noqa: PLC0415 - takes a second

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(len(outcomes), 1, figsize=(8, 1.6 * len(outcomes)), squeeze=False, sharex=True)
    for axis, outcome in zip(axes[:, 0], outcomes, strict=True):
        ways = [way for way in reversed(TITLES) if way in outcome.timings and way != "plain"]
        base = median(outcome.timings["plain"].totals)
        totals = [[seconds / base for seconds in outcome.timings[way].totals] for way in ways]
        middles = [median(each) for each in totals]
        spread = [[median(each) - min(each) for each in totals], [max(each) - median(each) for each in totals]]
        colours = ["tab:gray" if way in NNCF_WAYS else "tab:blue" for way in ways]
        axis.barh([TITLES[way] for way in ways], middles, xerr=spread, color=colours, height=0.7)
        for position, middle in enumerate(middles):
            axis.text(middle, position, f"  {middle:.1f}", va="bottom", fontsize=8)
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_xscale("log")
        axis.set_title(outcome.case.title.format(count=outcome.count), fontsize=9, loc="left")
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("time in units of plain float32 inference of the same samples (line: 1)", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
