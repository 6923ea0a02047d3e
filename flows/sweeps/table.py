"""The trials of a sweep as a table that fits the terminal: short headings, four digits, as many metrics as fit."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

# Narrow headings.
_HEADINGS = {
    "trial": "#",
    "top1": "top-1\n%",
    "top5": "top-5\n%",
    "agreement": "agree\n%",
    "expected_agreement": "expected\nagree %",
    "sqnr_db": "SQNR\ndB",
    "latency_ms": "ms",
    "throughput_fps": "samples\n/s",
    "steps run": "steps\nrun",
}
# Most characters of a value and of a line of a heading; the first number that fits counts.
_LONGEST = (24, 18, 14, 11)
_HEADING = 11
_STYLES = {"best": "green", "failed": "red"}


def trials_table(title: str, keys: Sequence[str], rows: Sequence[Mapping[str, Any]], width: int) -> Table:
    """A table of the rows of ``ranking.trial_rows``.

    If it is wider than ``width``, these go one after the other: the steps, metrics from the last one on (two stay), the
    seconds; then long values are cut.

    Args:
        title: Title of the table.
        keys: Keys that differ among the trials.
        rows: The rows.
        width: Width of the terminal in characters.
    """
    columns = list(rows[0])
    metrics = [column for column in columns if column not in (*keys, "trial", "steps run", "s", "")]
    dispensable = ["steps run", *reversed(metrics[2:]), "s"]
    tries = [
        ([each for each in columns if each not in dispensable[:n]], _LONGEST[0]) for n in range(len(dispensable) + 1)
    ]
    tries += [(tries[-1][0], longest) for longest in _LONGEST]
    tables = (_table(title, keys, rows, kept, longest) for kept, longest in tries)
    return next((table for table in tables if _natural_width(table) <= width), _table(title, keys, rows, *tries[-1]))


def _natural_width(table: Table) -> int:
    return int(Console(width=10_000).measure(table).maximum)


def _table(
    title: str, keys: Sequence[str], rows: Sequence[Mapping[str, Any]], columns: Sequence[str], longest: int
) -> Table:
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for column in columns:
        heading = _broken(column) if column in keys else _HEADINGS.get(column, _broken(column))
        table.add_column(escape(heading), justify="left" if column in (*keys, "") else "right", overflow="fold")
    for row in rows:
        cells = (spelled(row[column], longest) if column in keys else _text(row[column]) for column in columns)
        table.add_row(*map(escape, cells), style=_STYLES.get(row[""]))
    return table


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:#.4g}" if abs(value) < 1000 else f"{value:.0f}"


def _broken(name: str) -> str:
    """A heading in short lines, broken after dots and underscores."""
    lines = [""]
    for part in re.findall(r"[^._]*[._]?", name):
        if lines[-1] and len(lines[-1]) + len(part) > _HEADING:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def spelled(value: str, longest: int = 60) -> str:
    """A value in short: of a mapping only the values, of a long list the first and the number of the others.

    Args:
        value: A value of an override.
        longest: Most characters.
    """
    if value.startswith("{"):
        return _cut(" ".join(re.findall(r":\s*([^{},]+)", value)), longest)
    if not value.startswith("["):
        return _cut(value, longest)
    items = [item.strip(" '\"{}") for item in re.split(r",(?![^{]*})", value[1:-1])]
    whole = " ".join(items)
    more = f" +{len(items) - 1}"
    return (
        _cut(whole, longest) if len(items) == 1 or len(whole) <= longest else _cut(items[0], longest - len(more)) + more
    )


def _cut(text: str, longest: int) -> str:
    """A text without its middle if it is long, as the ends of paths and names say most."""
    tail = longest * 2 // 3
    return text if len(text) <= longest else f"{text[: longest - tail - 1]}…{text[-tail:]}"
