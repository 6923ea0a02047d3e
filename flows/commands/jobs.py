"""What a command runs with a configuration: the flow, alone or as a trial of a sweep, in whatever process."""
# ruff: noqa: PLC0415 - Prefect reads its settings when it is imported

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from flows.commands.ending import failures_told, judge
from flows.running.failures import FAILED

# The folders of the sweeps that this process conducts.
conducted: list[Path] = []

Flow = Callable[[Any, tuple[str, ...]], Any]
LoadFlow = Callable[[], Flow]


def run_flow(config: Any, overrides: tuple[str, ...], load_flow: LoadFlow, *, serves: bool) -> None:
    """Run the flow with a checked configuration; a failure ends the process with its line and exit code.

    Args:
        config: The checked configuration.
        overrides: The words that it was composed from.
        load_flow: Imports the flow, once the settings of Prefect stand.
        serves: Whether the flow needs a Prefect server.
    """
    from flows.running.environment import require_extra, run_environment

    with failures_told():
        require_extra(config.runtime)
        with run_environment(config.runtime.home, serves=serves, meanwhile=load_flow):
            load_flow()(config, overrides)


def run_job(config_class: type[Any], load_flow: LoadFlow, serves: bool, composed: Any) -> object:
    """Run what Hydra was started for: the flow (returns None), or a trial of a sweep (returns its metrics).

    Args:
        config_class: What a checked configuration becomes.
        load_flow: Imports the flow, once the settings of Prefect stand.
        serves: Whether the flow needs a Prefect server; where it does not, a trial runs like any other run.
        composed: The configuration as Hydra composed it.
    """
    from flows.commands.hydra_jobs import TrialJob, this_job
    from tasks.config.schema import from_hydra

    job, parent = this_job(), os.getppid()
    if not isinstance(job, TrialJob) or not serves:
        run_flow(from_hydra(composed, config_class), job.overrides, load_flow, serves=serves)
        return None
    return _run_trial(job, from_hydra(composed, config_class, trial=True), load_flow, parent)


def _run_trial(job: Any, config: Any, load_flow: LoadFlow, parent: int) -> object:
    """Run a trial, record it and return its metrics. A process of the launcher's ends with its ``parent``."""
    from flows.running.environment import run_environment
    from flows.running.lifeline import end_with
    from flows.sweeps.sweep import run_trial
    from flows.sweeps.trials import read_sweep
    from tasks.engine.atomic_folders import is_locked

    sweep = read_sweep(job.folder)
    if sweep is None:  # Hydra alone knows the trials: they run as if each were alone
        config = replace(config, output_dir=config.output_dir / str(job.number))
        run_flow(config, job.overrides, load_flow, serves=True)
        return None
    if not conducted:  # a process of the launcher's
        if not is_locked(job.folder):  # nobody waits for the trial any more
            os._exit(FAILED)
        end_with(parent)
    if job.at_once and config.runtime.threads is None:
        config = replace(config, runtime=replace(config.runtime, threads=_share_of_threads(job.at_once)))
    # Other launchers may end the process of a trial with it, and what that one handed over; here all is prepared.
    with nullcontext() if job.in_command else run_environment(config.runtime.home):
        return run_trial(sweep, job.number, job.overrides, config, load_flow(), judge, hands_over=job.in_command)


def _share_of_threads(at_once: int) -> int:
    """The threads of one trial, where ``at_once`` trials share the processors; a negative number stands for all."""
    processors = len(os.sched_getaffinity(0))
    return max(1, processors // min(at_once if at_once > 0 else processors, processors))
