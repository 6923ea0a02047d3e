"""Hydra's command line and launcher: the flags that it takes, and the jobs that it runs."""

import warnings
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode


@dataclass(frozen=True)
class Job:
    """A job that Hydra runs alone: the words that it was composed from."""

    overrides: tuple[str, ...]


@dataclass(frozen=True)
class TrialJob(Job):
    """A job that is a trial of a sweep, by its number.

    ``folder`` is that of the sweep, ``at_once`` how many trials the launcher runs at a time, None where it does not
    say. ``in_command`` tells whether they run in the process of the command.
    """

    number: int
    folder: Path
    at_once: int | None
    in_command: bool


def flags_parser() -> ArgumentParser:
    """The parser of Hydra's own flags."""
    return get_args_parser()


def run_jobs(config_name: str, job: Callable[[Any], object]) -> None:
    """Have Hydra compose the configuration of the command line and run a job with it, one for each trial of a sweep."""
    warnings.filterwarnings("ignore", module="hydra")
    hydra.main(version_base="1.3", config_path="pkg://conf", config_name=config_name)(job)()


def this_job() -> Job:
    """The job that Hydra runs in this process."""
    settings = HydraConfig.get()
    overrides = tuple(settings.overrides.task)
    if settings.mode != RunMode.MULTIRUN:
        return Job(overrides)
    return TrialJob(
        overrides,
        number=settings.job.num,
        folder=Path(settings.sweep.dir),
        at_once=settings.launcher.get("n_jobs"),
        in_command=settings.launcher._target_.endswith(".BasicLauncher"),
    )
