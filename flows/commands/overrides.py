"""Words ``key=value`` of a command line, and the trials that several values of them make."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from flows.commands.hydra_overrides import Override, count, parse_override, values
from tasks.errors import LONGEST_LINE, InputError, shortened, writable

# More would take a day to check.
MOST_TRIALS = 10_000
_SHOWN = LONGEST_LINE // 2


def parsed(words: Sequence[str]) -> tuple[list[Override], dict[str, None]]:
    """The overrides, and a line for each word that is none."""
    overrides: list[Override] = []
    lines: dict[str, None] = {}
    for word in words:
        shown = shortened(word, _SHOWN)
        try:
            override = parse_override(word)
        except InputError as problem:
            lines |= dict.fromkeys(problem.args)
            continue
        if not writable(word):
            lines[f"'{shown}': expected text that UTF-8 can spell, without NUL"] = None
        elif not override.key.lstrip("+~").partition("@")[0]:
            lines[f"'{shown}': expected key=value; the key is missing"] = None
        else:
            overrides.append(override)
    return overrides, lines


def sweep_problems(overrides: Sequence[Override], *, sweeps: bool, searches: bool) -> Iterator[str]:
    """A line for each fault of the sweeps among the overrides: not asked for, without values, or with too many.

    Args:
        overrides: All overrides of the command line.
        sweeps: Whether a sweep is asked for.
        searches: Whether the sweeper chooses among the values, and does not try every combination.
    """
    total = 1
    for override in overrides:
        if not override.sweeps:
            continue
        key, _, value = override.word.partition("=")
        if not sweeps:
            yield f"{override.key}: a sweep of several values needs --multirun"
        elif override.listed:
            try:
                number = count(override)
            except (ValueError, ArithmeticError, TypeError):
                yield f"{key}: expected numbers and a step other than 0, like range(0,10,2), got {value}"
                continue
            if not number:
                yield f"{key}: expected at least one value, got {value}"
            total = max(total, number) if searches else total * max(number, 1)
    if total > MOST_TRIALS:
        shown = f"{total:,}" if total < 10**12 else "more than 10^12"
        yield f"--multirun: the values make {shown} trials; expected at most {MOST_TRIALS:,}"


def trials(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """Every combination of the values, as overrides; intervals are left out."""
    choices = []
    for override in overrides:
        if not override.sweeps:
            choices.append([override.word])
        elif override.listed:
            choices.append([f"{override.key}={value}" for value in values(override)])
    return (list(trial) for trial in product(*choices))


def each_value(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """Trials that have every value at least once; to check every combination of a search could take years."""
    choices: list[list[Any]] = [list(trials([override])) for override in overrides]
    for row in range(max((len(each) for each in choices), default=1)):
        yield [word for each in choices if each for word in each[min(row, len(each) - 1)]]
