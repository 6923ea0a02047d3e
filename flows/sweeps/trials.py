"""The trials of a sweep: each one runs, even if others fail, and leaves a record in the sweep's folder.

Records are files, because launchers run trials in other processes or on other machines, and because neither Ctrl-C nor
a crash may lose what is done.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tasks.output.files import write_json
from tasks.records import Report

Metrics = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class Sweep:
    """What is known before the first trial.

    Attributes:
        folder: Folder of the records.
        keys: Keys that differ among the trials.
        total: Number of trials.
        objectives: Metrics of the last model, each ``maximize`` or ``minimize``; empty if it is no search.
        model: Name of the model.
        flags: Flags of the command that say where the configuration is, if not in its usual place.
    """

    folder: Path
    keys: tuple[str, ...]
    total: int
    objectives: dict[str, str]
    model: str
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the sweep: its folder, and the folder above, which is the day."""
        return "/".join(self.folder.parts[-2:])


@dataclass(frozen=True)
class Trial:
    """One trial: its overrides, how long it took, its metrics by role of the model, or why it failed.

    Attributes:
        number: Number of the trial.
        overrides: Its overrides.
        output: Folder of its output.
        seconds: How long it took.
        metrics: Metrics by role of the model.
        steps: Number of its steps.
        executed: How many of them were not cached.
        failure: Why it failed; empty if it did not.
        code: The exit code that it would have alone.
    """

    number: int
    overrides: tuple[str, ...]
    output: str
    seconds: float
    metrics: dict[str, dict[str, float | None]] = field(default_factory=dict)
    steps: int = 0
    executed: int = 0
    failure: str = ""
    code: int = 0

    @property
    def last(self) -> dict[str, float | None]:
        """The metrics of the last model, the INT8 one."""
        return next(reversed(self.metrics.values()), {})

    def varied(self, keys: Sequence[str]) -> dict[str, str]:
        """The values of the keys that differ among the trials.

        Args:
            keys: These keys.
        """
        given = dict(override.lstrip("+").split("=", 1) for override in self.overrides if "=" in override)
        return {key: given.get(key, "") for key in keys}


def result_of(value: object) -> dict[str, Any]:
    """The part of a record that a flow's result gives.

    Args:
        value: A report, or metrics.
    """
    if isinstance(value, Report):
        runs = sum(stage.runs for stage in value.stages)
        return {"metrics": value.metrics, "steps": runs, "executed": runs - sum(stage.cached for stage in value.stages)}
    return {"metrics": value if isinstance(value, Mapping) else {}}


def write_sweep(sweep: Sweep) -> None:
    """Write the record of a sweep, which trials in other processes read.

    Args:
        sweep: The sweep.
    """
    (sweep.folder / "trials").mkdir(parents=True, exist_ok=True)
    write_json(sweep.folder / "sweep.json", asdict(sweep))


def read_sweep(folder: Path) -> Sweep | None:
    """The sweep of a folder; None if it has no record.

    Args:
        folder: Folder of the records.
    """
    try:
        content = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Sweep(**content | {"folder": folder, "keys": tuple(content["keys"]), "flags": tuple(content["flags"])})


def write_trial(folder: Path, trial: Trial) -> None:
    """Write the record of a trial.

    Args:
        folder: Folder of the records.
        trial: The trial.
    """
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    staging = folder / "trials" / f".{trial.number}.incomplete"
    write_json(staging, asdict(trial))
    staging.replace(folder / "trials" / f"{trial.number}.json")


def read_trials(folder: Path) -> list[Trial]:
    """The trials that ended, by number.

    Args:
        folder: Folder of the records.
    """
    contents = [json.loads(file.read_text(encoding="utf-8")) for file in (folder / "trials").glob("*.json")]
    trials = [Trial(**content | {"overrides": tuple(content["overrides"])}) for content in contents]
    return sorted(trials, key=lambda trial: trial.number)
