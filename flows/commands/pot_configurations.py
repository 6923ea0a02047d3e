"""Configurations of POT for ``ptq-pot``: translated, composed and checked, before any of them runs."""

import shlex
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from flows.commands.hydra_overrides import chosen_text
from flows.commands.overrides import parsed
from flows.commands.preflight import check
from tasks.config.schema import QuantizeConfig
from tasks.errors import InputError
from tasks.pot.overrides import spelled
from tasks.pot.translation import Translation, translate, translate_flags

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
    """One configuration, translated and checked; ``overrides`` are what Hydra was given for it."""

    translation: Translation
    config: QuantizeConfig
    overrides: tuple[str, ...]


def translations_of(arguments: Namespace) -> list[Translation]:
    """The configuration files of ``-c``, or the flags of ``-q``, as settings of ``ptq-quantize``.

    Raises InputError with the problems of all of them.
    """
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


def all_checked(translations: Sequence[Translation], arguments: Namespace) -> list[Run]:
    """Every configuration as a run with a folder of its own. Raises InputError with the problems of all of them."""
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
    """One configuration as a run into that folder. Raises InputError with the lines of POT's file that are wrong."""
    own = [f"output_dir={spelled(str(folder))}"]
    if not arguments.to_hydra:
        own.append(f"runtime.progress={spelled(arguments.progress_bar)}")
    overrides = [*translation.overrides, *own, *arguments.overrides]
    if several := [each.word for each in parsed(arguments.overrides)[0] if each.sweeps]:
        raise InputError(f"{several[0]}: several values at once are for ptq-quantize -m; expected one")
    checked = check("quantize", QuantizeConfig, overrides)
    if checked.problems:
        raise InputError(*(_explained(line, translation, arguments.overrides) for line in checked.problems))
    if checked.config is None:
        raise InputError(f"{translation.origin}: settings of Hydra itself have no meaning here")
    return Run(translation, checked.config, tuple(overrides))


def _explained(line: str, translation: Translation, words: Sequence[str]) -> str:
    """The problem, with the line of POT's file in front unless words on the command line caused it."""
    key = f"{line.partition(': ')[0]}."
    given = [f"{word.partition('=')[0].lstrip('+~')}." for word in words]
    own = any(key.startswith(each) or each.startswith(key) for each in given)
    return line if own or line.startswith(tuple(f"'{word}'" for word in words)) else translation.explain(line)


def require_place(optimized: Path, name: str) -> None:
    """Raise InputError if the model could not be put there in the end.

    Args:
        optimized: Folder of the model.
        name: What its files are called, without their endings.
    """
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


def as_hydra(run: Run) -> str:
    """The command line of ``ptq-quantize``, and the same as the yaml of an experiment.

    Raises InputError for words with ``+`` and ``~``, which the yaml cannot say.
    """
    words = " \\\n  ".join(map(shlex.quote, run.overrides))
    tree, groups = OmegaConf.create({}), {}
    for override in parsed(run.overrides)[0]:
        key = override.key
        if key.startswith(("+", "~")):
            raise InputError(f"{override.word}: the yaml of --to-hydra has no place for + and ~; leave it out")
        if "." in key or key == "output_dir":
            OmegaConf.update(tree, key, override.value)
        else:
            groups[key] = chosen_text(override)
    if "dataset" in groups:
        groups.setdefault("validation", groups["dataset"])
    defaults = [f"  - override /{key}: {value}" for key, value in groups.items()]
    header = "\n".join(["# @package _global_", "defaults:", *defaults]) if groups else "# @package _global_"
    return f"ptq-quantize \\\n  {words}\n\n{header}\n{OmegaConf.to_yaml(tree)}"
