"""Runs in MLflow, found by the words of a user. It imports MLflow into this process: for commands that only read."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.errors import InputError, did_you_mean
from tasks.redaction import redacted, revealed
from tasks.tracking.client import TrackingError
from tasks.tracking.database import NAME, created_once, explained, reason_line

# Least length of the beginning of an identifier; shorter words are names.
_SHORTEST_PREFIX = 4
_MOST_LISTED = 8


@dataclass(frozen=True)
class PastRun:
    """A run as MLflow keeps it, with its report if it has one."""

    run_id: str
    name: str
    started: datetime
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """A short text that tells it from other runs."""
        return f"{self.run_id[:8]} {self.name}, {self.started:%Y-%m-%d %H:%M}"


def find_runs(words: tuple[str, ...], uri: str | None, home: Path) -> tuple[PastRun, ...]:
    """The runs that words mean.

    Args:
        words: Each an identifier, the beginning of one, or the name of one run.
        uri: Tracking URI; None stands for SQLite in ``home``.
        home: Folder of the database.

    Raises:
        InputError: A word means no run, or several.
        TrackingError: MLflow does not answer.
    """
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - seconds

    if uri is None and not (home / NAME).is_file():
        raise InputError(f"there are no runs in '{home}'")
    try:
        with created_once(revealed(uri), home.resolve()) as there:
            client = MlflowClient(there)
            runs = _all_runs(client)
            return tuple(_past(client, _chosen(word, runs)) for word in words)
    except InputError:
        raise
    except Exception as failure:  # noqa: BLE001 - the user gets any reason of MLflow's
        where = f"tracking.uri '{uri}'" if uri else f"the database in '{home}'"
        reason = redacted(explained(reason_line(failure), uri, home.resolve()))
        raise TrackingError(f"{where}: MLflow does not answer: {reason}") from None


def _all_runs(client: Any) -> list[Any]:
    experiments, token = [each.experiment_id for each in client.search_experiments()], None
    runs: list[Any] = []
    while True:
        page = client.search_runs(experiments, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _chosen(word: str, runs: list[Any]) -> Any:
    exact = [run for run in runs if run.info.run_id == word]
    named = [run for run in runs if run.info.run_name == word]
    begun = [run for run in runs if len(word) >= _SHORTEST_PREFIX and run.info.run_id.startswith(word.lower())]
    found = exact or named or begun
    if len(found) == 1:
        return found[0]
    if not found:
        names = {str(run.info.run_name) for run in runs} | {run.info.run_id for run in runs}
        hint = did_you_mean(word, names) or (f" The last ones: {_listed(runs)}" if runs else " There are none.")
        raise InputError(f"no run is called '{word}'.{hint}")
    raise InputError(f"'{word}' means {len(found)} runs, say which by the beginning of its id: {_listed(found)}")


def _listed(runs: list[Any]) -> str:
    """Some of the runs, the latest first, failed ones included."""
    latest = sorted(runs, key=lambda run: -run.info.start_time)[:_MOST_LISTED]
    return "; ".join(_past(None, run).label for run in latest)


def _past(client: Any, run: Any) -> PastRun:
    return PastRun(
        run.info.run_id,
        str(run.info.run_name),
        datetime.fromtimestamp(run.info.start_time / 1000, UTC).astimezone(),
        run.data.params,
        run.data.metrics,
        run.data.tags,
        _report(client, run.info.run_id) if client else {},
    )


def _report(client: Any, identifier: str) -> dict[str, Any]:
    if "report.json" not in {file.path for file in client.list_artifacts(identifier)}:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = client.download_artifacts(identifier, "report.json", folder)
        content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return content
