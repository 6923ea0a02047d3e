"""Step: log a run of the flow as a run in MLflow. Never cached."""

import base64
import getpass
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import task

from tasks.records import DatasetRef, Report, Runtime
from tasks.redaction import redacted
from tasks.tracking import client
from tasks.tracking.options import TrackingOptions
from tasks.tracking.resource_monitor import Start

# The address at which `ptq-ui` shows Prefect's runs, unless the port is taken.
UI_ADDRESS = "http://127.0.0.1:4200"
# MLflow's limit for a description.
DIGEST_LENGTH = 36


def describe_datasets(datasets: Mapping[str, DatasetRef]) -> list[dict[str, str]]:
    """Data sets as MLflow keeps them; the digest covers the chosen samples in their order.

    Args:
        datasets: Data sets by role.
    """
    return [
        {
            "name": str(getattr(dataset.source, "path", "") or dataset.source.kind),
            "digest": hashlib.sha256("".join(dataset.digests).encode()).hexdigest()[:DIGEST_LENGTH],
            "source": json.dumps(asdict(dataset.source), default=str),
            "role": role,
            "profile": json.dumps({"samples": len(dataset), "available": dataset.available}),
        }
        for role, dataset in datasets.items()
    ]


def describe_origin(manifest: Mapping[str, Any], flow_run: str, link: str) -> dict[str, str]:
    """Tags: digest of the model, versions, the flow run and its page, the git commit of this code if it has one.

    Args:
        manifest: See :func:`~tasks.output.files.describe_run`.
        flow_run: Identifier of Prefect's flow run.
        link: Address of its page.
    """
    tags = {"prefect.flow_run_id": flow_run, "model.digest": manifest["models"]["float"]}
    tags["model.int8_digest"] = manifest["models"]["int8"]
    tags |= {f"version.{name}": version for name, version in manifest["packages"].items()}
    # A temporary server has no address; `ptq-ui` serves the same database at this one.
    tags["prefect.flow_run_link"] = (
        redacted(link) if link.startswith("http") else f"{UI_ADDRESS}/runs/flow-run/{flow_run}"
    )
    tags |= {"mlflow.source.type": "LOCAL", "mlflow.source.name": Path(sys.argv[0]).name, "mlflow.user": _user()}
    git = shutil.which("git")
    if git:
        here = str(Path(__file__).parent)
        found = subprocess.run([git, "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S603 - no shell, and nothing of the user's
        if found.returncode == 0:
            tags["mlflow.source.git.commit"] = found.stdout.strip()
    return tags


def _user() -> str:
    """The name of the user; in a container perhaps a number without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _summary(report: Report) -> str:
    """The description, which MLflow shows first: both models side by side, and the notes."""
    before, *_, after = report.metrics.values()
    rows = [
        f"| {name} | {_number(before.get(name))} | {_number(value)} |"
        for name, value in after.items()
        if "/" not in name  # values of single classes are among the metrics
    ]
    warnings = [f"**Warning:** {warning}\n" for warning in report.warnings]
    notes = [f"- {note}" for note in report.notes]
    return "\n".join([*warnings, "| | float | INT8 |", "|---|---|---|", *rows, "", *notes])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _curves(report: Report) -> Mapping[str, Sequence[float]]:
    """SQNR of the layers in topological order, one curve per step, and the errors before and after tuning."""
    curves: dict[str, list[float]] = {}
    if report.tuned_layers:
        for when in ("before", "after"):
            curves[f"tune_layers/error_{when}"] = [float(layer[when]) for layer in report.tuned_layers]
    for layer in report.layers:
        for step, values in layer["steps"].items():
            curves.setdefault(f"layers/sqnr_db/{step}", []).append(values["sqnr_db"])
    return curves


def _allowed(name: str) -> str:
    """The name with the characters replaced that MLflow forbids, like the @ of ``accuracy@top1``."""
    parts = re.sub(r"[^/\w.\- :]", "_", name).split("/")
    # It refuses names that are not normal paths, like that of a class without a name, and 251 characters.
    return "/".join(part if part.strip(".") else f"_{part}" for part in parts)[:250].rstrip("/")


@task(name="log_run")
def log_run(
    options: TrackingOptions,
    report: Report,
    parameters: dict[str, Any],
    tags: dict[str, str],
    files: Sequence[Path],
    texts: dict[str, str],
    runtime: Runtime,
    images: Mapping[str, bytes] | None = None,
    datasets: Sequence[dict[str, str]] = (),
    model: dict[str, Any] | None = None,
    start: Start | None = None,
) -> client.Logged:
    """The identifier of the run in MLflow, and what became of the registered model.

    Args:
        options: Where MLflow keeps the run.
        report: Its metrics are logged; its promotion says whether the model is registered.
        parameters: By dotted key.
        tags: By name.
        files: Files to log as artifacts.
        texts: Texts to log as artifacts, by file name.
        runtime: Has the home.
        images: PNG files by file name.
        datasets: See :func:`describe_datasets`.
        model: The INT8 model (see ``package_model.package_files``); None logs none.
        start: When the run began, to log what it used since.
    """
    metrics = {
        _allowed(f"{role}/{name}"): value for role, values in report.metrics.items() for name, value in values.items()
    }
    before, *_, after = report.metrics.values()  # the float model and the INT8 model
    for name, value in after.items():
        reference = before.get(name)
        if value is not None and reference is not None:
            metrics[_allowed(f"difference/{name}")] = value - reference
    for stage in report.stages:  # the sum over all runs of a step
        name = f"seconds/{stage.name}"
        metrics[name] = (metrics.get(name) or 0.0) + stage.seconds
    if start:
        metrics |= start.usage()
    return client.log(
        client.Run(
            uri=options.uri,
            home=str(runtime.home.resolve()),
            experiment=options.experiment,
            name=options.run_name or report.model,
            parameters=parameters,
            metrics=metrics,
            tags={"model": report.model, "mlflow.note.content": _summary(report)} | tags,
            files=[str(file.resolve()) for file in files],
            texts=texts,
            curves=_curves(report),
            images={name: base64.b64encode(content).decode() for name, content in (images or {}).items()},
            datasets=datasets,
            model=model,
            of_model=[name for name in metrics if name.startswith(("int8/", "difference/"))],
            started=start.clock if start else None,
            release=asdict(report.promotion) if report.promotion else None,
            sweep=options.sweep,
        )
    )
