"""Commands whose words are the configuration: it is checked in full before anything starts, then the flow runs.

What takes long to import is imported when it is needed, MLflow in a process of its own meanwhile.
"""
# ruff: noqa: PLC0415

import sys
from functools import partial
from pathlib import Path
from typing import Any

from flows.commands.ending import fail, failures_told
from flows.commands.jobs import LoadFlow, conducted, run_flow, run_job
from flows.running.failures import BAD_INPUT, FAILED


def run_configured(config_name: str, config_class: type[Any], load_flow: LoadFlow, *, serves: bool = True) -> None:
    """Run a flow with the configuration of the command line, or once for each trial of a sweep.

    Args:
        config_name: The file in ``conf`` that the configuration begins with.
        config_class: What a checked configuration becomes.
        load_flow: Imports the flow, once the settings of Prefect stand.
        serves: Whether the flow needs a Prefect server, and may run as a sweep.

    Ends the process with exit code 2 and a line for each problem of the configuration, with 1 for a failure.
    """
    from flows.commands.flags import parse
    from flows.commands.hydra_jobs import run_jobs
    from flows.commands.preflight import check

    with failures_told():
        flags = parse(sys.argv[1:])
    sys.argv[1:] = flags.arguments
    checked = check(config_name, config_class, flags.arguments)
    if checked.problems:
        fail("\n".join(checked.problems))
    job = partial(run_job, config_class, load_flow, serves)
    if checked.sweep is not None and serves:
        _run_sweep(checked.sweep, checked.config, partial(run_jobs, config_name, job))
    elif checked.sweep is None and checked.config is not None:
        run_flow(checked.config, flags.overrides, load_flow, serves=serves)
    else:
        run_jobs(config_name, job)


def _run_sweep(sweep: Any, first: Any, run_trials: Any) -> None:
    """Run the trials, and end the process with the exit code for those that failed."""
    from flows.running.environment import require_extra
    from flows.sweeps.sweep import exit_code, sweep_session
    from tasks.pot.overrides import spelled

    conducted.append(sweep.folder)
    with failures_told():
        require_extra(first.runtime)
        # As the trials know it, whoever launches them.
        sys.argv.append(f"hydra.sweep.dir={spelled(str(sweep.folder))}")
        with sweep_session(sweep, first, Path(sys.argv[0]).name):
            run_trials()
    if code := exit_code(sweep.folder, BAD_INPUT, FAILED):
        sys.exit(code)
