"""What has to hold of every network of the zoo; what does not is named, a line each."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.zoo.networks import VALIDATION

Result = Mapping[str, Any]
ALLOWANCE = 0.3  # dB
ROUNDING = 0.05  # dB
LEAST_SPEED = 0.98
MOST_SECONDS = {"auto": 2.0, "best": 4.0}  # times default's


@dataclass(frozen=True)
class Rule:
    """``way`` comes within ``allowance`` dB of each of the ``others``, on each output."""

    way: str
    others: tuple[str, ...]
    allowance: float


RULES = (
    Rule("best", ("default", "nncf", "nncf_transformer"), ALLOWANCE),
    Rule("auto", ("default", "nncf"), ROUNDING),
    Rule("default", ("nncf",), ALLOWANCE),
)


def measured(result: Result, way: str) -> dict[str, Any] | None:
    """What was found of a way that came to a model; None of another one."""
    found = result["ways"].get(way)
    return None if found is None or "error" in found else dict(found)


def judged(sqnr_db: Mapping[str, float | None]) -> dict[str, float]:
    """The figures that count: of an output that is a probability its logits, which all samples tell of."""
    return {
        name: -math.inf if value is None else value
        for name, value in sqnr_db.items()
        if not ("probabilities" in name and f"{name.split(',')[0]}, logits" in sqnr_db)
    }


def lead(result: Result, rule: Rule) -> dict[str, tuple[float, str]]:
    """For each output by how many dB a way is ahead of the best of the others, and which that is."""
    own, others = measured(result, rule.way), {way: measured(result, way) for way in rule.others}
    there = {way: judged(found["sqnr_db"]) for way, found in others.items() if found}
    if own is None or not there:
        return {}
    leads = {}
    for name, value in judged(own["sqnr_db"]).items():
        way = max(there, key=lambda each: there[each][name])
        leads[name] = (0.0 if value == there[way][name] else value - there[way][name], way)
    return leads


def broken(name: str, result: Result) -> list[str]:
    """What does not hold of a network."""
    if "missing" in result:
        return []
    return [f"{name}: {line}" for line in (*_errors(result), *_accuracy(result), *_speed(result))]


def _errors(result: Result) -> Iterator[str]:
    for way, found in result["ways"].items():
        if "error" in found and not way.startswith("nncf"):
            yield f"{way} ends in {found['error']}"


def _accuracy(result: Result) -> Iterator[str]:
    for rule in RULES:
        for output, (ahead, way) in lead(result, rule).items():
            if ahead < -rule.allowance:
                yield f"{rule.way} is {-ahead:.2f} dB below {way} ({output})"
        own = measured(result, rule.way)
        for way in rule.others:
            other = measured(result, way)
            # Classes that nobody taught lie so close together that agreement tells of their margins alone.
            if own and other and not result["random"] and _falls(own["agreement"], other["agreement"]):
                yield f"{rule.way} agrees on {own['agreement']:.1f} %, {way} on {other['agreement']:.1f} %"


def _falls(own: float | None, other: float | None) -> bool:
    """Whether a percentage is below another one by more than two standard errors of so many samples."""
    if own is None or other is None:
        return False
    share = min(max(own / 100, 1 / VALIDATION), 1 - 1 / VALIDATION)
    return other - own > 200 * math.sqrt(share * (1 - share) / VALIDATION)


def _speed(result: Result) -> Iterator[str]:
    speeds = result.get("speeds", {})
    for way, speed in speeds.items():
        if way == "float" or way.startswith("nncf"):
            continue
        if "nncf" in speeds and speed < LEAST_SPEED * speeds["nncf"]:
            yield f"{way} runs {speed / speeds['nncf']:.2f} x as fast as NNCF's model"
        if speed < LEAST_SPEED:
            yield f"{way} runs {speed:.2f} x as fast as the float model"


def slowness(results: Iterable[Result], way: str) -> float | None:
    """How many times the seconds of ``default`` a preset takes to calibrate: the median over all networks."""
    pairs = [(measured(result, way), measured(result, "default")) for result in results if "missing" not in result]
    ratios = [own["seconds"] / base["seconds"] for own, base in pairs if own and base and base["seconds"]]
    return median(ratios) if ratios else None


def broken_together(results: Iterable[Result]) -> list[str]:
    """What does not hold of all networks together."""
    kept = list(results)
    lines = []
    for way, most in MOST_SECONDS.items():
        found = slowness(kept, way)
        if found is not None and found > most:
            lines.append(f"{way} takes {found:.1f} x as long as default, and should take at most {most:g} x")
    return lines
