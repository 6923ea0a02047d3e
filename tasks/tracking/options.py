"""Where MLflow keeps a run: options of the configuration."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True)
class TrackingOptions:
    """Where MLflow keeps the run. ``uri`` None stands for SQLite in home; the runs of one ``sweep`` share a parent."""

    uri: str | None = None
    experiment: Annotated[str, Field(min_length=1)] = "openvino-ptq-flow"
    run_name: str | None = None
    sweep: Annotated[str, Field(pattern=r"^[^'\"]+$")] | None = None
