"""Step: a run of the flow becomes a run in MLflow. Never cached."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task

from tasks import tracking
from tasks.config import TrackingOptions
from tasks.records import Report, Runtime


def _allowed(name: str) -> str:
    """The name with what MLflow does not take as part of one, like the @ of ``accuracy@top1``, replaced."""
    return re.sub(r"[^/\w.\- :]", "_", name)


@task(name="log_run")
def log_run(
    options: TrackingOptions,
    report: Report,
    parameters: dict[str, Any],
    tags: dict[str, str],
    files: Sequence[Path],
    texts: dict[str, str],
    runtime: Runtime,
) -> str:
    """Log parameters, the report's metrics, files and texts (by file name); returns MLflow's run identifier."""
    metrics = {
        _allowed(f"{role}/{name}"): value for role, values in report.metrics.items() for name, value in values.items()
    }
    for stage in report.stages:  # a step that ran several times counts in all
        name = f"seconds/{stage.name}"
        metrics[name] = (metrics.get(name) or 0.0) + stage.seconds
    return tracking.log(
        tracking.Run(
            uri=options.uri,
            home=str(runtime.home.resolve()),
            experiment=options.experiment,
            name=options.run_name or report.model,
            parameters=parameters,
            metrics=metrics,
            tags={"model": report.model} | tags,
            files=[str(file.resolve()) for file in files],
            texts=texts,
            curves={
                f"tune_layers/error_{when}": [float(layer[when]) for layer in report.tuned_layers]
                for when in ("before", "after")
                if report.tuned_layers
            },
        )
    )
