"""Which points of a sweep are best, how all of them look in a table, and the command that repeats one."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from flows.reporting.summary import UNITS
from flows.sweeps.table import points_table
from flows.sweeps.trials import Point, Sweep
from tasks.errors import unknown

# Metrics that compare a model with the float one; the others say what its predictions are worth.
_COMPARISONS = ("agreement", "sqnr_db", "cosine", "latency_ms", "throughput_fps")
_LESS_IS_BETTER = ("latency_ms", "mse", "rmse", "mae")
# Metrics that the table shows, fewer where the terminal is narrow.
_MOST_METRICS = 5


def criteria(points: Sequence[Point]) -> tuple[str, ...]:
    """The metrics that a grid is ranked by: what predictions are worth, then the SQNR of the outputs."""
    names = dict.fromkeys(name for point in points for name, value in point.last.items() if value is not None)
    worth = [name for name in names if name not in _COMPARISONS and "/" not in name]
    return (*worth[:1], *(name for name in ("sqnr_db", "agreement") if name in names))[:2]


def best_points(sweep: Sweep, points: Sequence[Point]) -> list[Point]:
    """The best point, or those of a search that no other one beats in one objective without losing in another."""
    ended = [point for point in points if not point.failure]
    if sweep.objectives:
        judged = {point.number: _scores(sweep.objectives, point) for point in ended}
        complete = [point for point in ended if None not in judged[point.number]]
        return [
            point for point in complete if not any(_beats(judged[o.number], judged[point.number]) for o in complete)
        ]
    directions = {name: "minimize" if name in _LESS_IS_BETTER else "maximize" for name in criteria(ended)}
    ranked = [(tuple(_worst(score) for score in _scores(directions, point)), point) for point in ended]
    return [max(ranked, key=lambda each: (each[0], -each[1].number))[1]] if ranked and directions else []


def _scores(directions: Mapping[str, str], point: Point) -> tuple[float | None, ...]:
    """The metrics, more being better; None where the point has no such metric."""
    values = [(point.last.get(name), direction) for name, direction in directions.items()]
    return tuple(None if value is None else value if direction == "maximize" else -value for value, direction in values)


def _worst(score: float | None) -> float:
    return float("-inf") if score is None else score


def _beats(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and any(a > b for a, b in zip(one, other, strict=True))


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Of each key its last part; where others end with that too, all that the keys do not have in common."""
    parts = {key: key.replace("/", ".").split(".") for key in keys}
    least = min((len(each) for each in parts.values()), default=1) - 1
    common = next((n for n in range(least, 0, -1) if len({tuple(each[:n]) for each in parts.values()}) == 1), 0)
    endings = [each[-1] for each in parts.values()]
    return {key: each[-1] if endings.count(each[-1]) == 1 else ".".join(each[common:]) for key, each in parts.items()}


def repeat_command(sweep: Sweep, point: Point, command: str) -> str:
    """What to type to run the point alone, in the same folder."""
    alone = [override for override in point.overrides if not override.startswith("hydra")]
    # A recipe that says that it sweeps would do so again.
    return shlex.join([command, *sweep.flags, *alone, *(["hydra.mode=RUN"] if sweep.objectives else [])])


def point_rows(sweep: Sweep, points: Sequence[Point], spell: Callable[[str], str] = str) -> list[dict[str, Any]]:
    """The table of points as values: number, what differs, some metrics, steps, seconds, best or failed."""
    names, best = short_names(sweep.keys), best_points(sweep, points)
    return [
        {
            "point": point.number,
            **{names[key]: spell(value) for key, value in point.varied(sweep.keys).items()},
            **{name: point.last.get(name) for name in shown_metrics(sweep, points)[:_MOST_METRICS]},
            "steps run": f"{point.executed}/{point.steps}" if point.steps else "",
            "s": f"{point.seconds:.1f}",
            "": "failed" if point.failure else "best" if point in best else "",
        }
        for point in points
    ]


def shown_metrics(sweep: Sweep, points: Sequence[Point]) -> list[str]:
    """Those that decide first, then the others that have one value a model."""
    names = dict.fromkeys((*sweep.objectives, *criteria(points), *(n for n in UNITS if n not in ("top5", "cosine"))))
    return [name for name in names if any(point.last.get(name) is not None for point in points)]


def describe_best(sweep: Sweep, points: Sequence[Point], command: str) -> str:
    """Which points are best, by which metric, and the commands that repeat them."""
    best = best_points(sweep, points)
    if not best:
        return _lacking(sweep, points)
    if sweep.objectives:
        labels = " and ".join(f"{_label(name)} ({direction})" for name, direction in sweep.objectives.items())
        intro = f"Pareto front of {labels}: {len(best)} of {len(points)} points"
        order = next(iter(sweep.objectives))
        best = sorted(best, key=lambda point: -float(point.last[order] or 0))
    else:
        intro = f"best by {', then '.join(_label(name) for name in criteria(points))}: point {best[0].number}"
    lines = [f"    {point.number}: {repeat_command(sweep, point, command)}" for point in best]
    return "\n".join([intro, "", *lines])


def _lacking(sweep: Sweep, points: Sequence[Point]) -> str:
    """Objectives that no point has a value of, which is why none is best."""
    metrics = dict.fromkeys(name for point in points for name in point.last if "/" not in name)
    return "\n".join(
        f"no point is best: hydra.sweeper.objectives: {unknown('metric', objective, tuple(metrics))}"
        for objective in sweep.objectives
        if metrics and all(point.last.get(objective) is None for point in points)
    )


def print_points(console: Console, sweep: Sweep, points: Sequence[Point], command: str) -> None:
    """Print the table, the best with the commands, and what failed."""
    done = sum(not point.failure for point in points)
    again = " (repeats are not run)" if sweep.objectives else ""
    title = f"{sweep.model}: {done} of {sweep.total} points done{again}"
    keys, rows = list(short_names(sweep.keys).values()), point_rows(sweep, points)
    console.print(points_table(title, keys, rows, console.width) if rows else escape(title))
    for point in points:
        if point.failure:
            console.print(
                f"[red]point {point.number} failed:[/] {escape(point.failure)}", highlight=False, soft_wrap=True
            )
    if text := describe_best(sweep, points, command):
        console.print(escape(text), highlight=False, soft_wrap=True)
    console.print(f"points: {escape(str(sweep.folder))}", highlight=False, soft_wrap=True)


def _label(name: str) -> str:
    return " ".join(part for part in UNITS.get(name, (name,)) if part)
