"""``ptq-pot``: configuration files and flags of POT, translated and run by the same flow as ``ptq-quantize``.

Output lies where POT put it: ``<output-dir>/<model>_<algorithms>/<time>/optimized/<model>.xml`` and ``.bin``, with
``log.txt``, ``report.json`` and ``manifest.json`` in the folder above.
"""

import os
import shlex
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from flows.commands.budget import bounded
from flows.commands.flags import readable_errors
from flows.commands.overrides import parsed
from flows.commands.pot_log import LEVELS, LOG, in_file, on_terminal
from flows.commands.preflight import check
from flows.running.environment import require_extra, run_environment
from tasks.config.schema import QuantizeConfig
from tasks.errors import InputError
from tasks.metrics.scoring import RESERVED
from tasks.pot.overrides import spelled
from tasks.pot.translation import Translation, translate, translate_flags
from tasks.pot.uncompressed import uncompress_weights
from tasks.records import Report

Flow = Callable[[Any, tuple[str, ...]], Any]
# The exit code for a failure, and the line that says all; None for the line where there is none.
ExplainFailure = Callable[[Exception], tuple[int, str | None]]

_OF_QUANTIZE = {
    "model": "-m",
    "weights": "-w",
    "name": "-n",
    "preset": "--preset",
    "engine": "--engine",
    "ac_config": "--ac-config",
    "data_source": "--data-source",
    "max_drop": "--max-drop",
}


@dataclass(frozen=True)
class Run:
    """One configuration, translated and checked, and what Hydra was given for it."""

    translation: Translation
    config: QuantizeConfig
    overrides: tuple[str, ...]


def parse(arguments: Sequence[str]) -> Namespace:
    """The flags of POT's command line, and ours. Exits with 2 for others."""
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
    parser.add_argument("--version", action="store_true", help="print versions, run nothing")
    parser.add_argument("overrides", nargs="*", help="settings of ptq-quantize, like runtime.threads=2")
    return readable_errors(parser).parse_intermixed_args(arguments)


def pot(arguments: Namespace, load_flow: Callable[[bool], Flow], explain_failure: ExplainFailure) -> int:
    """Run every configuration, after all were checked; returns the exit code, the least of those that failed.

    ``load_flow`` gives the flow that quantizes, or the one for parts that leave the model float.
    Raises InputError for problems in any of them; one that fails later does not stop the others.
    """
    with on_terminal(arguments.log_level):
        with bounded("configuration"):
            translations = _translations(arguments)
        runs = _all_checked(translations, arguments)
        if arguments.to_hydra:
            if floating := [run for run in runs if not run.translation.quantizes]:
                raise InputError(f"{floating[0].translation.origin}: quantizes nothing, which ptq-quantize cannot say")
            for run in runs:
                print(_as_hydra(run))
            return 0
        if len({run.config.output_dir.absolute() for run in runs}) < len(runs):
            flag = "-d" if arguments.direct_dump else f"output_dir={runs[0].config.output_dir}"
            raise InputError(
                f"{flag}: several configurations would overwrite each other; give one -c, or leave it out."
            )
        for run in runs:
            _require_place(run.config.output_dir / "optimized", run.translation.name)
        require_extra(runs[0].config.runtime)
        with run_environment(runs[0].config.runtime.home):
            codes = {_code_of(run, load_flow, arguments, explain_failure) for run in runs}
        return min(codes - {0}, default=0)


def _translations(arguments: Namespace) -> list[Translation]:
    given = [flag for name, flag in _OF_QUANTIZE.items() if getattr(arguments, name) is not None]
    if arguments.config:
        if given:
            raise InputError(f"either --config or {given[0]} option should be specified")
        return _all(
            lambda file: translate(file, evaluate=arguments.evaluate, lenient=arguments.lenient), arguments.config
        )
    if arguments.quantize == "accuracy_aware" or arguments.max_drop:
        raise InputError("-q accuracy_aware: not supported; use -q default and look at the report.")
    if not arguments.model:
        raise InputError("-q default needs -m, the model's .xml file.")
    simplified = arguments.engine == "simplified" or (arguments.engine is None and arguments.data_source)
    source = arguments.data_source if simplified else arguments.ac_config
    if arguments.data_source and arguments.ac_config:
        raise InputError("--ac-config and --data-source: expected one of them; the simplified engine reads no file.")
    if not source:
        flag = "--data-source" if simplified else "--ac-config, or --engine simplified with --data-source"
        raise InputError(f"-q default needs samples: {flag}.")
    return [
        translate_flags(
            arguments.model,
            arguments.weights,
            arguments.name,
            preset=arguments.preset or "performance",
            engine="simplified" if simplified else "accuracy_checker",
            source=source,
            evaluate=arguments.evaluate,
        )
    ]


def _all(translate_file: Callable[[Path], Translation], files: Sequence[Path]) -> list[Translation]:
    """Every file translated. Raises InputError with the problems of all of them."""
    found: list[Translation] = []
    problems: list[str] = []
    for file in files:
        try:
            found.append(translate_file(file))
        except InputError as problem:
            problems += problem.args
    if problems:
        raise InputError(*problems)
    return found


def _all_checked(translations: Sequence[Translation], arguments: Namespace) -> list[Run]:
    """Every configuration composed. Raises InputError with the problems of all of them."""
    runs: list[Run] = []
    problems: list[str] = []
    for translation in translations:
        folder, copies = _output_folder(translation, arguments), 1
        while not arguments.direct_dump and any(run.config.output_dir == folder for run in runs):
            copies += 1
            folder = folder.with_name(f"{folder.name.partition('.')[0]}.{copies}")
        try:
            runs.append(_checked(translation, folder, arguments))
        except InputError as problem:
            problems += problem.args
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return runs


def _checked(translation: Translation, folder: Path, arguments: Namespace) -> Run:
    """The composed configuration. Raises InputError with the lines of POT's file that are wrong."""
    own = [f"output_dir={spelled(str(folder))}"]
    if not arguments.to_hydra:
        own.append(f"runtime.progress={spelled(arguments.progress_bar)}")
    overrides = [*translation.overrides, *own, *arguments.overrides]
    if several := [str(each.input_line) for each in parsed(arguments.overrides)[0] if each.is_sweep_override()]:
        raise InputError(f"{several[0]}: several values at once are for ptq-quantize -m; expected one")
    checked = check("quantize", QuantizeConfig, overrides)
    if checked.problems:
        raise InputError(*(_explained(line, translation, arguments.overrides) for line in checked.problems))
    if checked.config is None:
        raise InputError(f"{translation.origin}: settings of Hydra itself have no meaning here")
    return Run(translation, checked.config, tuple(overrides))


def _explained(line: str, translation: Translation, words: Sequence[str]) -> str:
    """A problem with the line of POT's file in front, unless words on the command line made it."""
    key = f"{line.partition(': ')[0]}."
    given = [f"{word.partition('=')[0].lstrip('+~')}." for word in words]
    own = any(key.startswith(each) or each.startswith(key) for each in given)
    return line if own or line.startswith(tuple(f"'{word}'" for word in words)) else translation.explain(line)


def _require_place(optimized: Path, name: str) -> None:
    """Raise InputError where the model cannot be put in the end."""
    if optimized.exists() and not optimized.is_dir():
        raise InputError(f"{optimized}: is a file; expected a folder, or none, for the model")
    for file in (optimized / f"{name}.xml", optimized / f"{name}.bin"):
        if file.is_dir():
            raise InputError(f"{file}: is a folder; the model's file goes there")


def _output_folder(translation: Translation, arguments: Namespace) -> Path:
    if arguments.direct_dump:
        return Path(arguments.output_dir)
    parent = arguments.output_dir / "_".join([translation.name, *translation.algorithms])
    return Path(parent) if arguments.to_hydra else Path(parent) / time.strftime("%Y-%m-%d_%H-%M-%S")


def _as_hydra(run: Run) -> str:
    """The command line and the same as the yaml of an experiment."""
    words = " \\\n  ".join(map(shlex.quote, run.overrides))
    tree, groups = OmegaConf.create({}), {}
    for override in parsed(run.overrides)[0]:
        key = override.get_key_element()
        if key.startswith(("+", "~")):
            raise InputError(f"{override.input_line}: the yaml of --to-hydra has no place for + and ~; leave it out")
        if "." in key or key == "output_dir":
            OmegaConf.update(tree, key, override.value())
        else:
            groups[key] = override.get_value_element_as_str()
    if "dataset" in groups:
        groups.setdefault("validation", groups["dataset"])
    defaults = [f"  - override /{key}: {value}" for key, value in groups.items()]
    header = "\n".join(["# @package _global_", "defaults:", *defaults]) if groups else "# @package _global_"
    return f"ptq-quantize \\\n  {words}\n\n{header}\n{OmegaConf.to_yaml(tree)}"


def _code_of(run: Run, load_flow: Callable[[bool], Flow], arguments: Namespace, explain_failure: ExplainFailure) -> int:
    """Run one configuration; returns the exit code for it alone."""
    try:
        _run(run, load_flow(run.translation.quantizes), arguments)
    except Exception as failure:  # noqa: BLE001 - the others do not depend on this one
        code, line = explain_failure(failure)
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
    """The model goes where POT put it, its weights first."""
    optimized = folder / "optimized"
    optimized.mkdir(exist_ok=True)
    files = optimized / f"{name}.xml", optimized / f"{name}.bin"
    for source, target in zip(("model.bin", "model.xml"), reversed(files), strict=True):
        os.replace(folder / source, target)  # noqa: PTH105 - the atomic rename is the point
    return files


def _declared(run: Run, report: Report) -> dict[str, float | None]:
    """The new model's values of the metrics that the configuration names."""
    return {
        name: value
        for name, value in list(report.metrics.values())[-1].items()
        if name.partition("/")[0] not in RESERVED and run.config.evaluation.metrics
    }


def _log_report(run: Run, report: Report, arguments: Namespace) -> None:
    """What happened, line by line, into the log file alone: the terminal has seen it."""
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
