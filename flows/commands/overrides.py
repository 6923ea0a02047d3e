"""Words ``key=value`` of a command line: parsed by Hydra, and the trials that several values of them make."""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import FloatRange, Override, RangeSweep
from hydra.errors import HydraException

from tasks.errors import LONGEST_LINE, shortened, writable

# More would take a day to check.
MOST_TRIALS = 10_000
_SHOWN = LONGEST_LINE // 2


def parsed(words: Sequence[str], loader: ConfigLoader | None = None) -> tuple[list[Override], dict[str, None]]:
    """The overrides, and a line for each word that is none. The loader knows the names that a glob stands for."""
    parser = OverridesParser.create(loader)
    overrides: list[Override] = []
    lines: dict[str, None] = {}
    for word in words:
        shown = shortened(word, _SHOWN)
        try:
            override = parser.parse_overrides([word])[0]
        except HydraException:
            lines[f"'{shown}': expected key=value; special characters of a value need quotes: key='value'"] = None
            continue
        except (RecursionError, ValueError) as failure:
            reason = "goes too deep" if isinstance(failure, RecursionError) else str(failure).partition(";")[0]
            lines[f"'{shown}': {reason}"] = None
            continue
        if not writable(word):
            lines[f"'{shown}': expected text that UTF-8 can spell, without NUL"] = None
        elif not override.get_key_element().lstrip("+~").partition("@")[0]:
            lines[f"'{shown}': expected key=value; the key is missing"] = None
        else:
            overrides.append(override)
    return overrides, lines


def sweep_problems(overrides: Sequence[Override], *, sweeps: bool, searches: bool) -> Iterator[str]:
    """What is wrong with several values: that they are given, that there are none, or too many to list."""
    total = 1
    for override in overrides:
        if not override.is_sweep_override():
            continue
        key, _, value = str(override.input_line).partition("=")
        if not sweeps:
            yield f"{override.get_key_element()}: a sweep of several values needs --multirun"
        elif override.is_discrete_sweep():
            try:
                count = _count(override)
            except (ValueError, ArithmeticError, TypeError):
                yield f"{key}: expected numbers and a step other than 0, like range(0,10,2), got {value}"
                continue
            if not count:
                yield f"{key}: expected at least one value, got {value}"
            total = max(total, count) if searches else total * max(count, 1)
    if total > MOST_TRIALS:
        shown = f"{total:,}" if total < 10**12 else "more than 10^12"
        yield f"--multirun: the values make {shown} trials; expected at most {MOST_TRIALS:,}"


def _count(override: Override) -> int:
    """The number of values, without listing them. Raises ValueError, ArithmeticError or TypeError for what is none."""
    value = override.value()
    if not isinstance(value, RangeSweep):
        return sum(1 for _ in override.sweep_iterator())
    numbers = value.range()
    if isinstance(numbers, FloatRange):
        return max(math.ceil((numbers.stop - numbers.start) / numbers.step), 0)  # type: ignore[operator]
    return len(numbers)


def values(override: Override) -> list[str]:
    """The values of a sweep; none of a continuous one, which its sweeper knows."""
    return list(override.sweep_string_iterator()) if override.is_discrete_sweep() else []


def trials(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """Every combination of the values given, as overrides; continuous sweeps are left out."""
    choices = []
    for override in overrides:
        if not override.is_sweep_override():
            choices.append([str(override.input_line)])
        elif override.is_discrete_sweep():
            choices.append([f"{override.get_key_element()}={value}" for value in values(override)])
    return (list(trial) for trial in product(*choices))


def each_value(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """Every value given, each at least once, as a search may need years for every combination of them."""
    choices: list[list[Any]] = [list(trials([override])) for override in overrides]
    for row in range(max((len(each) for each in choices), default=1)):
        yield [word for each in choices if each for word in each[min(row, len(each) - 1)]]
