"""The commands: compose the configuration, check it in full before anything starts, run the flow.

What takes long to import is imported when it is needed, MLflow in a process of its own meanwhile.
"""
# ruff: noqa: PLC0415

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from types import FrameType
from typing import Any

from tasks import tracking
from tasks.errors import InputError

BAD_INPUT = 2
INTERRUPTED = 130
FAILED = 1

# OpenCV reads this when it is imported; a damaged image is reported by its name, in one line.
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

# Every Ctrl-C of this process, by the number of its signal.
_interruptions: list[int] = []

Flow = Callable[[Any, tuple[str, ...]], object]


def command(body: Callable[[], None]) -> Callable[[], None]:
    """A command that ends with one line and exit code 130 when Ctrl-C is pressed, from its first import on."""

    @wraps(body)
    def interruptible() -> None:
        try:
            with _interruptions_noted():
                body()
        except (KeyboardInterrupt, Exception) as failure:
            # Prefect turns Ctrl-C into another error when it comes between two of its own lines.
            if not isinstance(failure, KeyboardInterrupt) and not _interruptions:
                raise
            print("interrupted; what is done is kept, and the next run continues there", file=sys.stderr)
            sys.exit(INTERRUPTED)

    return interruptible


@contextmanager
def _interruptions_noted() -> Iterator[None]:
    """Remember that Ctrl-C was pressed, whatever becomes of the exception. Where it is ignored it stays so."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        _interruptions.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@command
def quantize() -> None:
    """``ptq-quantize``: exit code 0 when done, 2 for bad input, 130 for Ctrl-C, 1 for a failure."""
    tracking.start()
    from tasks.config import QuantizeConfig

    _run("quantize", QuantizeConfig, _load_quantize)


@command
def pot() -> None:
    """``ptq-pot``: exit code 0 when done, 2 for bad input, 130 for Ctrl-C, 1 for a failure."""
    from flows.pot import parse
    from flows.pot import pot as run

    arguments = parse(sys.argv[1:])
    if not arguments.to_hydra:
        tracking.start()
    with _failures():
        code = run(arguments, lambda quantizes: _load_quantize() if quantizes else _load_align())
    sys.exit(code)


def _load_quantize() -> Flow:
    from flows.quantize import quantize as flow
    from flows.workers import on_workers
    from tasks.config import QuantizeConfig

    def run(config: QuantizeConfig, overrides: tuple[str, ...]) -> object:
        tracking.start()  # for each point of a sweep
        with on_workers(flow, config.runtime) as reaching:
            return reaching(config, overrides)

    return run


def _load_align() -> Flow:
    from flows.align import align

    return align


@command
def evaluate() -> None:
    """``ptq-evaluate``: exit code 0 when done, 2 for bad input, 130 for Ctrl-C, 1 for a failure."""
    from tasks.config import EvaluateConfig

    def load_flow() -> Flow:
        from flows.evaluate import evaluate as flow

        return flow

    # A registered model stands where Hydra expects a file of conf/model.
    sys.argv[1:] = [f"model.path={word[6:]}" if word.startswith("model=registry:") else word for word in sys.argv[1:]]
    _run("evaluate", EvaluateConfig, load_flow)


@command
def plan() -> None:
    """``ptq-plan``: exit code 0 when done, 2 for bad input, 130 for Ctrl-C, 1 for a failure."""
    from tasks.config import QuantizeConfig

    def load_plan() -> Flow:
        from flows.plan import plan

        return plan

    _run("quantize", QuantizeConfig, load_plan, serves=False)


@command
def compare() -> None:
    """``ptq-compare``: exit code 0 when done, 2 for bad input, 130 for Ctrl-C, 1 for a failure."""
    from flows.compare import compare as run
    from flows.compare import parse

    with _failures():
        run(parse(sys.argv[1:]))


@command
def ui() -> None:
    """``ptq-ui``: exit code 0 after Ctrl-C, 2 for bad input, 1 when one of the servers fails."""
    from flows.ui import parse
    from flows.ui import ui as run

    arguments = parse(sys.argv[1:])
    try:
        with _failures():
            run(arguments)
    except RuntimeError as failure:
        _fail(str(failure), FAILED)


@command
def schedule() -> None:
    """``ptq-schedule``: runs until Ctrl-C; exit code 2 for bad input, 1 for a failure."""
    from flows.schedule import parse
    from flows.schedule import schedule as run

    with _failures():
        run(parse(sys.argv[1:]))


def _run(config_name: str, config_class: type[Any], load_flow: Callable[[], Flow], *, serves: bool = True) -> None:
    from flows.preflight import check

    # Hydra's parser takes flags in front of the overrides only.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    checked = check(config_name, config_class, sys.argv[1:])
    if checked.problems:
        _fail("\n".join(checked.problems))
    if checked.config is not None:
        _run_flow(checked.config, tuple(sys.argv[1:]), load_flow, serves=serves)
        return

    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import DictConfig

    from tasks.config import from_hydra

    def job(composed: DictConfig) -> None:
        config, run = from_hydra(composed, config_class), HydraConfig.get()
        if run.mode == RunMode.MULTIRUN:
            # The points of a sweep must not overwrite each other.
            config = replace(config, output_dir=config.output_dir / str(run.job.num))
        _run_flow(config, tuple(run.overrides.task), load_flow, serves=serves)

    hydra.main(version_base="1.3", config_path="pkg://conf", config_name=config_name)(job)()


def _run_flow(config: Any, overrides: tuple[str, ...], load_flow: Callable[[], Flow], *, serves: bool) -> None:
    from flows.environment import prepared, require_extra

    with _failures():
        require_extra(config.runtime)
        with prepared(config.runtime.home, serves=serves):
            load_flow()(config, overrides)


@contextmanager
def _failures() -> Iterator[None]:
    """What goes wrong in here ends the process with one readable line, where that says all."""
    try:
        yield
    except InputError as mistake:
        _fail(str(mistake))
    except tracking.TrackingError as failure:
        _fail(str(failure), FAILED)
    except OSError as failure:
        if failure.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _fail(f"no space is left for '{failure.filename2 or failure.filename}'; an earlier output is as it was", FAILED)
    except Exception as failure:
        if not _interruptions and str(failure).startswith("Failed to reach API"):
            _fail(f"{failure}: start that Prefect server, or unset PREFECT_API_URL for a temporary one", FAILED)
        raise


def _fail(message: str, code: int = BAD_INPUT) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)
