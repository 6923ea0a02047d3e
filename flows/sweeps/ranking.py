"""The best trials of a sweep, the table of all trials, and the command that repeats one."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from flows.reporting.summary import UNITS
from flows.sweeps.table import trials_table
from flows.sweeps.trials import Sweep, Trial
from tasks.errors import unknown_message

# Metrics that compare a model with the float model; the others judge predictions by annotations.
_COMPARISONS = ("agreement", "sqnr_db", "cosine", "latency_ms", "throughput_fps")
_LESS_IS_BETTER = ("latency_ms", "mse", "rmse", "mae")
# Metrics in the table; a narrow terminal shows fewer.
_MOST_METRICS = 5


def criteria(trials: Sequence[Trial]) -> tuple[str, ...]:
    """The metrics that rank a grid: those that judge predictions, then the SQNR of the outputs.

    Args:
        trials: Trials that ended.
    """
    names = dict.fromkeys(name for trial in trials for name, value in trial.last.items() if value is not None)
    worth = [name for name in names if name not in _COMPARISONS and "/" not in name]
    return (*worth[:1], *(name for name in ("sqnr_db", "agreement") if name in names))[:2]


def best_trials(sweep: Sweep, trials: Sequence[Trial]) -> list[Trial]:
    """The best trial; of a search, the trials that no other one dominates in all objectives.

    Args:
        sweep: The sweep.
        trials: Trials that ended.
    """
    ended = [trial for trial in trials if not trial.failure]
    if sweep.objectives:
        judged = {trial.number: _scores(sweep.objectives, trial) for trial in ended}
        complete = [trial for trial in ended if None not in judged[trial.number]]
        return [
            trial for trial in complete if not any(_beats(judged[o.number], judged[trial.number]) for o in complete)
        ]
    directions = {name: "minimize" if name in _LESS_IS_BETTER else "maximize" for name in criteria(ended)}
    ranked = [(tuple(_worst(score) for score in _scores(directions, trial)), trial) for trial in ended]
    return [max(ranked, key=lambda each: (each[0], -each[1].number))[1]] if ranked and directions else []


def _scores(directions: Mapping[str, str], trial: Trial) -> tuple[float | None, ...]:
    """The metrics, signed so that more is better; None if the trial has no such metric."""
    values = [(trial.last.get(name), direction) for name, direction in directions.items()]
    return tuple(None if value is None else value if direction == "maximize" else -value for value, direction in values)


def _worst(score: float | None) -> float:
    return float("-inf") if score is None else score


def _beats(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and any(a > b for a, b in zip(one, other, strict=True))


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The shortest distinct ending of each dotted key: its last part, or all that the keys do not share.

    Args:
        keys: Dotted keys.

    Example:
        >>> short_names(["quantization.preset", "quantization.stat_subset_size"])
        {'quantization.preset': 'preset', 'quantization.stat_subset_size': 'stat_subset_size'}
    """
    parts = {key: key.replace("/", ".").split(".") for key in keys}
    least = min((len(each) for each in parts.values()), default=1) - 1
    common = next((n for n in range(least, 0, -1) if len({tuple(each[:n]) for each in parts.values()}) == 1), 0)
    endings = [each[-1] for each in parts.values()]
    return {key: each[-1] if endings.count(each[-1]) == 1 else ".".join(each[common:]) for key, each in parts.items()}


def repeat_command(sweep: Sweep, trial: Trial, command: str) -> str:
    """The command line that runs the trial alone, in the same folder.

    Args:
        sweep: The sweep.
        trial: One of its trials.
        command: Name of the command.
    """
    alone = [override for override in trial.overrides if not override.startswith("hydra")]
    # A recipe that asks for a sweep would start one again.
    return shlex.join([command, *sweep.flags, *alone, *(["hydra.mode=RUN"] if sweep.objectives else [])])


def trial_rows(sweep: Sweep, trials: Sequence[Trial], spell: Callable[[str], str] = str) -> list[dict[str, Any]]:
    """The rows of the table: number, differing keys, some metrics, steps, seconds, best or failed.

    Args:
        sweep: The sweep.
        trials: Trials that ended.
        spell: How to write the values of keys.
    """
    names, best = short_names(sweep.keys), best_trials(sweep, trials)
    return [
        {
            "trial": trial.number,
            **{names[key]: spell(value) for key, value in trial.varied(sweep.keys).items()},
            **{name: trial.last.get(name) for name in shown_metrics(sweep, trials)[:_MOST_METRICS]},
            "steps run": f"{trial.executed}/{trial.steps}" if trial.steps else "",
            "s": f"{trial.seconds:.1f}",
            "": "failed" if trial.failure else "best" if trial in best else "",
        }
        for trial in trials
    ]


def shown_metrics(sweep: Sweep, trials: Sequence[Trial]) -> list[str]:
    """The metrics that rank trials, then the others that have one value per model.

    Args:
        sweep: The sweep.
        trials: Trials that ended.
    """
    names = dict.fromkeys((*sweep.objectives, *criteria(trials), *(n for n in UNITS if n not in ("top5", "cosine"))))
    return [name for name in names if any(trial.last.get(name) is not None for trial in trials)]


def describe_best(sweep: Sweep, trials: Sequence[Trial], command: str) -> str:
    """The best trials, the metric that ranks them, and the commands that repeat them.

    Args:
        sweep: The sweep.
        trials: Trials that ended.
        command: Name of the command.
    """
    best = best_trials(sweep, trials)
    if not best:
        return _lacking(sweep, trials)
    if sweep.objectives:
        labels = " and ".join(f"{_label(name)} ({direction})" for name, direction in sweep.objectives.items())
        intro = f"Pareto front of {labels}: {len(best)} of {len(trials)} trials"
        order = next(iter(sweep.objectives))
        best = sorted(best, key=lambda trial: -float(trial.last[order] or 0))
    else:
        intro = f"best by {', then '.join(_label(name) for name in criteria(trials))}: trial {best[0].number}"
    lines = [f"    {trial.number}: {repeat_command(sweep, trial, command)}" for trial in best]
    return "\n".join([intro, "", *lines])


def _lacking(sweep: Sweep, trials: Sequence[Trial]) -> str:
    """Objectives of which no trial has a value, so that none is best."""
    metrics = dict.fromkeys(name for trial in trials for name in trial.last if "/" not in name)
    return "\n".join(
        f"no trial is best: hydra.sweeper.objectives: {unknown_message('metric', objective, tuple(metrics))}"
        for objective in sweep.objectives
        if metrics and all(trial.last.get(objective) is None for trial in trials)
    )


def print_trials(console: Console, sweep: Sweep, trials: Sequence[Trial], command: str) -> None:
    """Print the table, the best trials with their commands, and the failures.

    Args:
        console: The terminal.
        sweep: The sweep.
        trials: Trials that ended.
        command: Name of the command.
    """
    done = sum(not trial.failure for trial in trials)
    again = " (repeats are not run)" if sweep.objectives else ""
    title = f"{sweep.model}: {done} of {sweep.total} trials done{again}"
    keys, rows = list(short_names(sweep.keys).values()), trial_rows(sweep, trials)
    console.print(trials_table(title, keys, rows, console.width) if rows else escape(title))
    for trial in trials:
        if trial.failure:
            console.print(
                f"[red]trial {trial.number} failed:[/] {escape(trial.failure)}", highlight=False, soft_wrap=True
            )
    if text := describe_best(sweep, trials, command):
        console.print(escape(text), highlight=False, soft_wrap=True)
    console.print(f"trials: {escape(str(sweep.folder))}", highlight=False, soft_wrap=True)


def _label(name: str) -> str:
    return " ".join(part for part in UNITS.get(name, (name,)) if part)
