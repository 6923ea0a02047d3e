"""What MLflow keeps of a sweep besides the runs of its points: the run that they are children of, and failed points."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks import tracking
from tasks.config import TrackingOptions

# MLflow's limit for the value of a tag.
_LONGEST_TAG = 5000


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
    """Complete the run of a sweep, which its points may have made; returns MLflow's identifier.

    ``rows`` are the table of points, ``best`` what to know about the best of them. Both become the description, which
    MLflow shows on top, and artifacts. Of each failed point a tag says why.
    """
    tags = {"mlflow.note.content": _fitting(_markdown(rows, best, failures))}
    tags |= {f"failed.{number}": _fitting(reason) for number, reason in failures.items()}
    logged = tracking.log(
        tracking.Run(
            uri=options.uri,
            home=str(home.resolve()),
            experiment=options.experiment,
            name=name,
            parameters={},
            metrics=dict(counts),
            tags=tags,
            files=(),
            texts={"points.json": json.dumps(rows, indent=2), "points.md": _markdown(rows, best, failures)},
            sweep=sweep,
            leads=True,
            status=status,
        )
    )
    return logged.run_id


def log_failed_point(
    options: TrackingOptions,
    home: Path,
    *,
    name: str,
    parameters: Mapping[str, Any],
    failure: str,
    files: Sequence[Path],
) -> str:
    """A point that failed: its parameters and why; returns MLflow's identifier."""
    logged = tracking.log(
        tracking.Run(
            uri=options.uri,
            home=str(home.resolve()),
            experiment=options.experiment,
            name=name,
            parameters=dict(parameters),
            metrics={},
            tags={"failure": _fitting(failure), "mlflow.note.content": _fitting(failure)},
            files=[str(file.resolve()) for file in files],
            texts={},
            sweep=options.sweep,
            status="FAILED",
        )
    )
    return logged.run_id


def _fitting(text: str) -> str:
    return text if len(text) <= _LONGEST_TAG else text[: _LONGEST_TAG - 4] + " ..."


def _markdown(rows: Sequence[Mapping[str, Any]], best: str, failures: Mapping[int, str]) -> str:
    """The table of points, the best, and what failed."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else "no point ended"
    failed = "\n".join(f"- point {number} failed: {reason}" for number, reason in failures.items())
    return "\n\n".join(part for part in (best, table, failed) if part)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value).replace("|", "\\|")
