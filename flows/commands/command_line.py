"""The commands: compose the configuration, check it in full before anything starts, run the flow.

What takes long to import is imported when it is needed, MLflow in a process of its own meanwhile.
"""
# ruff: noqa: PLC0415

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

from flows.commands.secret_words import without_secrets
from flows.running import interruptions
from flows.running.failures import BAD_INPUT, FAILED, explain_failure
from flows.running.interruptions import INTERRUPTIONS
from tasks.errors import readable
from tasks.redaction import redact_output, redacted
from tasks.tracking import client

# OpenCV reads this when it is imported; a damaged image is reported by its name, in one line.
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
# MLflow would draw a bar for each small file, wherever tqdm is installed; Optuna brings it.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

# The folders of sweeps that this process conducts.
_conducting: list[Path] = []

Flow = Callable[[Any, tuple[str, ...]], object]
LoadFlow = Callable[[], Flow]


def command(body: Callable[[], None]) -> Callable[[], None]:
    """A command that ends in order, with one line, on Ctrl-C (exit code 130) and SIGTERM (143), from its start on."""

    @wraps(body)
    def interruptible() -> None:
        code: Any = None
        try:
            with interruptions.noted():
                redact_output()
                sys.argv[1:] = without_secrets(sys.argv[1:])
                body()
        except SystemExit as end:
            code = end.code
        except (KeyboardInterrupt, Exception) as failure:
            # Prefect turns Ctrl-C into another error when it comes between two of its own lines.
            if not isinstance(failure, KeyboardInterrupt) and not INTERRUPTIONS:
                raise
            print("interrupted; what is done is kept, and the next run continues there", file=sys.stderr)
            code = 128 + (INTERRUPTIONS or [signal.SIGINT])[0]
        if recording := sys.modules.get("flows.running.recording"):
            recording.leave(code or 0)
        if code is not None:
            sys.exit(code)

    return interruptible


@command
def quantize() -> None:
    """``ptq-quantize``: exit code 0 when done, 2 for bad input, 130 for Ctrl-C, 1 for a failure."""
    client.start()
    from tasks.config.schema import QuantizeConfig

    _run("quantize", QuantizeConfig, _load_quantize)


@command
def pot() -> None:
    """``ptq-pot``: exit code 0 when done, 2 for bad input, 130 for Ctrl-C, 1 for a failure."""
    from flows.commands.pot import parse
    from flows.commands.pot import pot as run

    arguments = parse(sys.argv[1:])
    if not arguments.to_hydra:
        client.start()
    with _failures():
        code = run(arguments, lambda quantizes: _load_quantize() if quantizes else _load_align(), _judge)
    sys.exit(code)


def _load_quantize() -> Flow:
    from flows.quantize import quantize as flow
    from flows.running.dask_workers import on_workers
    from tasks.config.schema import QuantizeConfig

    def run(config: QuantizeConfig, overrides: tuple[str, ...]) -> object:
        client.start()  # for each trial of a sweep
        with on_workers(flow, config.runtime) as reaching:
            return reaching(config, overrides)

    return run


def _load_align() -> Flow:
    from flows.align import align

    return align


@command
def evaluate() -> None:
    """``ptq-evaluate``: exit code 0 when done, 2 for bad input, 130 for Ctrl-C, 1 for a failure."""
    from tasks.config.schema import EvaluateConfig

    def load_flow() -> Flow:
        from flows.evaluate import evaluate as flow

        return flow

    # A registered model stands where Hydra expects a file of conf/model.
    sys.argv[1:] = [f"model.path={word[6:]}" if word.startswith("model=registry:") else word for word in sys.argv[1:]]
    _run("evaluate", EvaluateConfig, load_flow)


@command
def plan() -> None:
    """``ptq-plan``: exit code 0 when done, 2 for bad input, 130 for Ctrl-C, 1 for a failure."""
    from tasks.config.schema import QuantizeConfig

    def load_plan() -> Flow:
        from flows.commands.plan import plan

        return plan

    _run("quantize", QuantizeConfig, load_plan, serves=False)


@command
def compare() -> None:
    """``ptq-compare``: exit code 0 when done, 2 for bad input, 130 for Ctrl-C, 1 for a failure."""
    from flows.commands.compare import compare as run
    from flows.commands.compare import parse

    with _failures():
        run(parse(sys.argv[1:]))


@command
def ui() -> None:
    """``ptq-ui``: exit code 0 after Ctrl-C, 2 for bad input, 1 when one of the servers fails."""
    from flows.commands.ui import parse
    from flows.commands.ui import ui as run

    arguments = parse(sys.argv[1:])
    try:
        with _failures():
            run(arguments)
    except RuntimeError as failure:
        _fail(str(failure), FAILED)


@command
def schedule() -> None:
    """``ptq-schedule``: runs until Ctrl-C; exit code 2 for bad input, 1 for a failure."""
    from flows.commands.schedule import parse
    from flows.commands.schedule import schedule as run

    with _failures():
        run(parse(sys.argv[1:]))


def _run(config_name: str, config_class: type[Any], load_flow: LoadFlow, *, serves: bool = True) -> None:
    from flows.commands.flags import parse
    from flows.commands.preflight import check

    with _failures():
        flags = parse(sys.argv[1:])
    sys.argv[1:] = flags.arguments
    checked = check(config_name, config_class, flags.arguments)
    if checked.problems:
        _fail("\n".join(checked.problems))
    if checked.sweep is not None and serves:
        _run_sweep(checked.sweep, checked.config, config_name, config_class, load_flow)
    elif checked.sweep is None and checked.config is not None:
        _run_flow(checked.config, flags.overrides, load_flow, serves=serves)
    else:
        _through_hydra(config_name, partial(_run_job, config_class, load_flow, serves))


def _run_sweep(sweep: Any, first: Any, config_name: str, config_class: type[Any], load_flow: LoadFlow) -> None:
    """Run the trials and end with the exit code for what became of them."""
    from flows.running.environment import require_extra
    from flows.sweeps.sweep import exit_code, sweep_session
    from tasks.pot.overrides import spelled

    _conducting.append(sweep.folder)
    with _failures():
        require_extra(first.runtime)
        # As the trials know it, whoever launches them.
        sys.argv.append(f"hydra.sweep.dir={spelled(str(sweep.folder))}")
        with sweep_session(sweep, first, Path(sys.argv[0]).name):
            _through_hydra(config_name, partial(_run_job, config_class, load_flow, True))
    if code := exit_code(sweep.folder, BAD_INPUT, FAILED):
        sys.exit(code)


def _through_hydra(config_name: str, job: Callable[[Any], object]) -> None:
    import hydra

    warnings.filterwarnings("ignore", module="hydra")
    hydra.main(version_base="1.3", config_path="pkg://conf", config_name=config_name)(job)()


def _run_job(config_class: type[Any], load_flow: LoadFlow, serves: bool, composed: Any) -> object:
    """What Hydra runs: the flow, or at a trial of a sweep, which may be in another process, the flow with a record."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from tasks.config.schema import from_hydra

    job, parent = HydraConfig.get(), os.getppid()
    overrides = tuple(job.overrides.task)
    if job.mode != RunMode.MULTIRUN or not serves:
        _run_flow(from_hydra(composed, config_class), overrides, load_flow, serves=serves)
        return None
    from flows.running.environment import run_environment
    from flows.running.lifeline import end_with
    from flows.sweeps.sweep import run_trial
    from flows.sweeps.trials import read_sweep
    from tasks.engine.atomic_folders import is_locked

    config, folder = from_hydra(composed, config_class, trial=True), Path(job.sweep.dir)
    sweep = read_sweep(folder)
    if sweep is None:  # Hydra alone knows the trials: they run as if each were alone
        config = replace(config, output_dir=config.output_dir / str(job.job.num))
        _run_flow(config, overrides, load_flow, serves=serves)
        return None
    if not _conducting:  # a process of the launcher's
        if not is_locked(folder):  # nobody waits for the trial any more
            os._exit(FAILED)
        end_with(parent)
    at_once = job.launcher.get("n_jobs")
    if at_once and config.runtime.threads is None:
        # Trials that run at once share the processors.
        processors = len(os.sched_getaffinity(0))
        share = max(1, processors // min(at_once if at_once > 0 else processors, processors))
        config = replace(config, runtime=replace(config.runtime, threads=share))
    # Other launchers may end the process of a trial with it, and what that one handed over; here all is
    # prepared.
    here = job.launcher._target_.endswith(".BasicLauncher")
    with nullcontext() if here else run_environment(config.runtime.home):
        return run_trial(sweep, job.job.num, overrides, config, load_flow(), _judge, hands_over=here)


def _run_flow(config: Any, overrides: tuple[str, ...], load_flow: LoadFlow, *, serves: bool) -> None:
    from flows.running.environment import require_extra, run_environment

    with _failures():
        require_extra(config.runtime)
        with run_environment(config.runtime.home, serves=serves):
            load_flow()(config, overrides)


@contextmanager
def _failures() -> Iterator[None]:
    """What goes wrong in here ends the process with one readable line, where that says all."""
    try:
        yield
    except Exception as failure:
        code, line = _judge(failure)
        if line is None:
            raise
        _fail(line, code)


def _judge(failure: Exception) -> tuple[int, str | None]:
    """See :func:`flows.running.failures.explain_failure`; raises KeyboardInterrupt for a Ctrl-C that became one."""
    interruptions.require_none(failure)
    code, line = explain_failure(failure)
    return code, line and redacted(line)


def _fail(message: str, code: int = BAD_INPUT) -> None:
    print("\n".join(map(readable, message.splitlines())), file=sys.stderr)
    sys.exit(code)
