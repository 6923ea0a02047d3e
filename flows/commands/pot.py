"""``ptq-pot``: configuration files and flags of POT, translated and run by the same flow as ``ptq-quantize``.

Output lies where POT put it: ``<output-dir>/<model>_<algorithms>/<time>/optimized/<model>.xml`` and ``.bin``, with
``log.txt``, ``report.json`` and ``manifest.json`` in the folder above.
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from flows.commands.budget import bounded
from flows.commands.ending import failures_told, judge
from flows.commands.flags import parse_with_settings
from flows.commands.jobs import Flow
from flows.commands.pot_configurations import Run, all_checked, as_hydra, require_place, translations_of
from flows.commands.pot_log import LEVELS, LOG, in_file, on_terminal
from flows.commands.quantize import load_flow as load_quantize
from flows.running.environment import require_extra, run_environment
from tasks.errors import InputError
from tasks.metrics.scoring import RESERVED
from tasks.pot.uncompressed import uncompress_weights
from tasks.records import Report
from tasks.tracking import client


def main() -> None:
    """Run the configurations of the command line: exit code 0 when done, 2 for bad input, 1 for a failure."""
    arguments = parse(sys.argv[1:])
    if not arguments.to_hydra:
        client.start()
    with failures_told():
        code = pot(arguments, _load_flow)
    sys.exit(code)


def _load_flow(quantizes: bool) -> Flow:
    """The flow that quantizes, or the one for parts of a configuration that leave the model float."""
    if quantizes:
        return load_quantize()
    from flows.align import align  # noqa: PLC0415 - Prefect reads its settings when it is imported

    return align


def parse(arguments: Sequence[str]) -> Namespace:
    """The flags of POT's command line, and settings of ``ptq-quantize``. Exits with 2 for other flags."""
    parser = ArgumentParser("ptq-pot", description="Run configurations of OpenVINO's Post-training Optimization Tool.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-c", "--config", action="append", type=Path, help="a configuration file; several: one run each")
    what.add_argument("-q", "--quantize", choices=["default", "accuracy_aware"], help="no file: flags say it all")
    parser.add_argument("--preset", choices=["performance", "mixed"], help="with -q; default: performance")
    parser.add_argument("-m", "--model", help="with -q: the model's .xml file")
    parser.add_argument("-w", "--weights", help="with -q: its .bin file")
    parser.add_argument("-n", "--name", help="with -q: what the model is called")
    parser.add_argument("--engine", choices=["accuracy_checker", "simplified"], help="with -q")
    parser.add_argument("--ac-config", help="with -q: an Accuracy Checker file")
    parser.add_argument("--data-source", help="with -q and the simplified engine: a folder, pattern, list or .npz")
    parser.add_argument("--max-drop", help="of accuracy_aware, which there is not")
    parser.add_argument("-e", "--evaluate", action="store_true", help="compute the metrics; prints name : value")
    parser.add_argument("--output-dir", type=Path, default=Path("results"), help="default: ./results")
    parser.add_argument("-d", "--direct-dump", action="store_true", help="write into the output folder itself")
    parser.add_argument("--log-level", choices=LEVELS, type=str.upper, default="INFO")
    parser.add_argument("--progress-bar", "--stream-output", action="store_true", help="show progress bars")
    parser.add_argument("--keep-uncompressed-weights", action="store_true", help="float weights, FakeQuantize")
    parser.add_argument("--lenient", action="store_true", help="keys without meaning are named, not refused")
    parser.add_argument("--to-hydra", action="store_true", help="print the ptq-quantize command and yaml; run nothing")
    return parse_with_settings(parser, arguments, "settings of ptq-quantize, like runtime.threads=2")


def pot(arguments: Namespace, load_flow: Callable[[bool], Flow]) -> int:
    """Check all configurations, then run them; one that fails does not stop the others.

    Returns the exit code: 0, or the least of those that failed. Raises InputError for problems of any configuration.

    Args:
        arguments: The flags, see :func:`parse`.
        load_flow: Imports the flow that quantizes (True), or the one for parts that leave the model float (False).
    """
    with on_terminal(arguments.log_level):
        with bounded("configuration"):
            translations = translations_of(arguments)
        runs = all_checked(translations, arguments)
        if arguments.to_hydra:
            if floating := [run for run in runs if not run.translation.quantizes]:
                raise InputError(f"{floating[0].translation.origin}: quantizes nothing, which ptq-quantize cannot say")
            for run in runs:
                print(as_hydra(run))
            return 0
        if len({run.config.output_dir.absolute() for run in runs}) < len(runs):
            flag = "-d" if arguments.direct_dump else f"output_dir={runs[0].config.output_dir}"
            raise InputError(
                f"{flag}: several configurations would overwrite each other; give one -c, or leave it out."
            )
        for run in runs:
            require_place(run.config.output_dir / "optimized", run.translation.name)
        require_extra(runs[0].config.runtime)
        with run_environment(runs[0].config.runtime.home):
            codes = {_code_of(run, load_flow, arguments) for run in runs}
        return min(codes - {0}, default=0)


def _code_of(run: Run, load_flow: Callable[[bool], Flow], arguments: Namespace) -> int:
    """Run one configuration and return the exit code for it alone."""
    try:
        _run(run, load_flow(run.translation.quantizes), arguments)
    except Exception as failure:  # noqa: BLE001 - the others do not depend on this one
        code, line = judge(failure)
        LOG.error("%s: %s", run.translation.origin, line or "failed", exc_info=None if line else failure)
        return code
    return 0


def _run(run: Run, flow: Flow, arguments: Namespace) -> None:
    folder = run.config.output_dir
    for notice in run.translation.notices:
        LOG.warning(notice)
    LOG.info("%s: quantizing %s", run.translation.origin, run.translation.name)
    report: Report = flow(run.config, run.overrides)
    files = _put_in_place(folder, run.translation.name)
    if arguments.keep_uncompressed_weights:
        uncompress_weights(files[0])
    with in_file(folder / "log.txt"):
        _log_report(run, report, arguments)
    if arguments.evaluate:
        for name, value in _declared(run, report).items():
            print(f"{name} : {value}")
    print(f"model: {files[0]}")


def _put_in_place(folder: Path, name: str) -> tuple[Path, Path]:
    """Move the model to where POT put it, its weights first. Returns the files: ``.xml``, ``.bin``."""
    optimized = folder / "optimized"
    optimized.mkdir(exist_ok=True)
    files = optimized / f"{name}.xml", optimized / f"{name}.bin"
    for source, target in zip(("model.bin", "model.xml"), reversed(files), strict=True):
        os.replace(folder / source, target)  # noqa: PTH105 - the atomic rename is the point
    return files


def _declared(run: Run, report: Report) -> dict[str, float | None]:
    """The values that the INT8 model has of the metrics that the configuration names."""
    return {
        name: value
        for name, value in list(report.metrics.values())[-1].items()
        if name.partition("/")[0] not in RESERVED and run.config.evaluation.metrics
    }


def _log_report(run: Run, report: Report, arguments: Namespace) -> None:
    """Write what happened into the log file only: the terminal has seen it."""
    lines = [
        ("info", f"configuration: {run.translation.origin}"),
        *(("info", f"setting: {word}") for word in run.overrides),
        *(("warning", notice) for notice in run.translation.notices),
        *(("info", f"{stage.name}: {stage.state}, {stage.seconds:.2f} s") for stage in report.stages),
        *(("info", f"warning: {warning}") for warning in report.warnings),
        *(("info", f"note: {note}") for note in report.notes),
    ]
    if arguments.evaluate:
        lines += [("info", f"{name} : {value}") for name, value in _declared(run, report).items()]
    for level, line in lines:
        getattr(LOG, level)(line, extra={"silent": True})
