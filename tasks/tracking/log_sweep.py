"""What MLflow keeps of a sweep besides its trials: the run that is their parent, and trials that failed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.tracking import client
from tasks.tracking.options import TrackingOptions

# MLflow's limit for the value of a tag.
_LONGEST_TAG = 5000


def lead_sweep(options: TrackingOptions, home: Path, *, sweep: str, name: str, folder: Path) -> None:
    """Create the run of a sweep, and MLflow's database if there is none, while the first trial runs.

    Nobody waits for it; if it fails, the trials report it. The folder is locked as long as the sweep runs.

    Args:
        options: Where MLflow keeps runs.
        home: Folder of the database.
        sweep: Identifies the sweep.
        name: Name of the run.
        folder: Folder of the sweep's records.
    """
    tags = {client.SWEEP_FOLDER: str(folder)}
    with client.handing_over(lambda _: None):
        _log(options, home, name=name, tags=tags, sweep=sweep, leads=True, status=client.RUNNING)


def log_sweep(
    options: TrackingOptions,
    home: Path,
    *,
    sweep: str,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    best: str,
    failures: Mapping[int, str],
    counts: Mapping[str, float],
    status: str,
) -> str:
    """MLflow's identifier of the sweep's run, which is completed, or created first.

    The description, which MLflow shows first, has the table and the best trials; artifacts have them too.

    Args:
        options: Where MLflow keeps runs.
        home: Folder of the database.
        sweep: Identifies the sweep.
        name: Name of the run.
        rows: The table of trials.
        best: What to know about the best trials.
        failures: Why trials failed, by number; each becomes a tag.
        counts: Metrics of the sweep.
        status: MLflow's status of the run.
    """
    described = _markdown(rows, best, failures)
    tags = {"mlflow.note.content": described} | {f"failed.{number}": reason for number, reason in failures.items()}
    texts = {"trials.json": json.dumps(rows, indent=2), "trials.md": described}
    return _log(
        options, home, name=name, metrics=counts, tags=tags, texts=texts, sweep=sweep, leads=True, status=status
    )


def log_failed_trial(
    options: TrackingOptions,
    home: Path,
    *,
    name: str,
    parameters: Mapping[str, Any],
    failure: str,
    files: Sequence[Path],
) -> str:
    """MLflow's identifier of the run of a trial that failed.

    Args:
        options: Where MLflow keeps runs.
        home: Folder of the database.
        name: Name of the run.
        parameters: By dotted key.
        failure: Why it failed.
        files: Files to log as artifacts.
    """
    tags = {"failure": failure, "mlflow.note.content": failure}
    logged = [str(file.resolve()) for file in files]
    sweep = options.sweep
    return _log(options, home, name=name, parameters=parameters, tags=tags, files=logged, sweep=sweep, status="FAILED")


def _log(options: TrackingOptions, home: Path, *, tags: Mapping[str, str] | None = None, **contents: Any) -> str:
    fitting = {name: client.fitting(text, _LONGEST_TAG, " ...") for name, text in (tags or {}).items()}
    place = str(home.resolve())
    run = client.Run(uri=options.uri, home=place, experiment=options.experiment, tags=fitting, **contents)
    return client.log(run).run_id


def _markdown(rows: Sequence[Mapping[str, Any]], best: str, failures: Mapping[int, str]) -> str:
    """The table of trials, the best ones, and the failures."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else "no trial ended"
    failed = "\n".join(f"- trial {number} failed: {reason}" for number, reason in failures.items())
    return "\n\n".join(part for part in (best, table, failed) if part)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value).replace("|", "\\|")
