"""Problems of a command line, found before anything runs: a readable line for each, in sweeps as well."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from omegaconf import DictConfig, OmegaConf

from flows.commands.budget import bounded
from flows.commands.flags import Flags, parse
from flows.commands.hydra_composing import (
    CompositionError,
    composed,
    config_groups,
    group_options,
    initialized,
    sweeps_by_itself,
)
from flows.commands.hydra_overrides import Override, choices, chosen_names
from flows.commands.overrides import each_value, parsed, sweep_problems, trials
from flows.sweeps.trials import Sweep
from tasks.config.schema import QuantizeConfig, from_hydra
from tasks.errors import InputError, longer, readable, unknown_message
from tasks.output.files import require_writable

T = TypeVar("T", bound=QuantizeConfig)

CONFIGURATION = "configuration"
DIRECTIONS = ("maximize", "minimize")
# Trials with problems after which no other one of a sweep is looked at.
_ENOUGH = 20
# New keys, which are checked when all are there, and Hydra's own.
_LEFT_ALONE = ("+", "hydra")


@dataclass(frozen=True)
class Checked(Generic[T]):
    """The result of a check: ``problems`` are the lines to print, none if all is well.

    ``config`` is the checked configuration, None where Hydra itself has to compose it. Where the arguments describe a
    sweep, ``sweep`` describes it and ``config`` is that of its first trial.
    """

    problems: tuple[str, ...] = ()
    config: T | None = None
    sweep: Sweep | None = None


def check(config_name: str, config_class: type[T], arguments: Sequence[str]) -> Checked[T]:
    """What is wrong with the arguments, or else their configuration. Every trial of a sweep is composed and checked.

    Args:
        config_name: The file in ``conf`` that the configuration begins with.
        config_class: What a checked configuration becomes.
        arguments: The words behind the command.

    Ends the process with exit code 2 for a flag that Hydra does not know.
    """
    try:
        flags = parse(arguments)
        with initialized(flags.config_path, flags.config_dir):
            if flags.asks:
                return _answerable(flags.config_name or config_name, flags)
            found = _check(flags.config_name or config_name, config_class, flags)
            return replace(found, problems=tuple(map(readable, found.problems)))
    except InputError as problem:
        return Checked(problem.args)
    except OSError as failure:  # the name of a group or folder that the system does not take
        return Checked((readable(f"'{failure.filename}': {failure.strerror}"),))


def _answerable(config_name: str, flags: Flags) -> Checked[Any]:
    """No problems, as Hydra answers the question itself. Raises InputError for files that it could not read."""
    with bounded(CONFIGURATION):
        overrides, _ = parsed(flags.overrides)
        if not any(override.sweeps for override in overrides):
            with suppress(CompositionError):  # as Hydra tells it
                composed(config_name, [override.word for override in overrides])
    return Checked()


def _check(config_name: str, config_class: type[T], flags: Flags) -> Checked[T]:
    with bounded(CONFIGURATION):
        overrides, lines = parsed(flags.overrides)
        settings = _settings_of_hydra(config_name, overrides)
        sweeps = flags.multirun or sweeps_by_itself(settings)
        varied = overrides
        if sweeps:
            params = settings.sweeper.get("params") or {}
            parameters, mistaken = parsed([f"{key}={value}" for key, value in params.items()])
            varied = [*parameters, *overrides]
            lines |= mistaken
        searches = sweeps and "objectives" in settings.sweeper
        lines |= dict.fromkeys(sweep_problems(varied, sweeps=sweeps, searches=searches))
        for override in overrides:
            lines |= dict.fromkeys(_group_problems(override))
        if sweeps:
            lines |= dict.fromkeys(_sweep_problems(settings, varied))
    if lines:
        return Checked(tuple(lines))
    configs: list[T] = []
    refused = 0
    for trial in each_value(varied) if searches else trials(varied):
        try:
            with bounded(CONFIGURATION):
                configs.append(_compose(config_name, config_class, trial, trial_of_sweep=sweeps))
        except InputError as problem:
            lines |= dict.fromkeys(problem.args)
            refused += 1
            if refused == _ENOUGH:
                break
    if lines:
        return Checked(tuple(lines))
    if sweeps:
        return Checked(config=configs[0], sweep=_sweep(settings, varied, configs[0], len(configs), flags))
    alone = not flags.words and not any(override.key.startswith("hydra") for override in overrides)
    return Checked(config=configs[0] if alone else None)


def _settings_of_hydra(config_name: str, overrides: Sequence[Override]) -> DictConfig:
    """Hydra's own part of the configuration of the first trial; empty where it cannot be composed."""
    try:
        settings: DictConfig = composed(config_name, _first(overrides), with_hydra=True).hydra
    except CompositionError:
        return OmegaConf.create({"sweeper": {}})
    return settings


def _first(overrides: Sequence[Override]) -> list[str]:
    """The overrides of one value, and each of the others with its first value, if it names any."""
    words = []
    for override in overrides:
        if not override.sweeps:
            words.append(override.word)
        else:
            words += [f"{override.key}={value}" for value in choices(override)[:1]]
    return words


def _sweep_problems(settings: DictConfig, varied: Sequence[Override]) -> Iterator[str]:
    """A line for each setting or value that the sweeper itself could not use."""
    sweeper = settings.sweeper
    if str(sweeper.get("_target_")).endswith(".GridSweeper"):
        for override in varied:
            if override.sweeps and not override.listed:
                key, _, value = override.word.partition("=")
                yield f"{key}: expected single values like 1,2, got {value}, which only experiment=search can try"
    if "objectives" not in sweeper:
        return
    for key in ("n_trials", "n_jobs"):
        if type(number := sweeper.get(key, 1)) is not int or number < 1:
            yield f"hydra.sweeper.{key}: expected a whole number from 1 on, got {number!r}"
    if not sweeper.objectives:
        yield "hydra.sweeper.objectives: expected a metric, like {sqnr_db: maximize}"
    for name, direction in (sweeper.objectives or {}).items():
        if direction not in DIRECTIONS:
            yield f"hydra.sweeper.objectives.{name}: {unknown_message('value', str(direction), DIRECTIONS)}"


def _sweep(settings: DictConfig, varied: Sequence[Override], config: QuantizeConfig, count: int, flags: Flags) -> Sweep:
    objectives = settings.sweeper.get("objectives") or {}
    keys = [each.key.lstrip("+") for each in varied if each.sweeps]
    if objectives and settings.sweeper.worst_layers:
        keys.append("quantization.ignored.scope")
    return Sweep(
        folder=Path(settings.sweep.dir).absolute(),
        keys=tuple(dict.fromkeys(keys)),
        total=settings.sweeper.n_trials if objectives else count,
        objectives={str(name): str(direction) for name, direction in objectives.items()},
        model=config.model.name or Path(config.model.path).stem,
        flags=flags.source,
    )


def settings(overrides: Sequence[str]) -> QuantizeConfig:
    """The configuration that settings of ``ptq-quantize`` make; for commands that have flags of their own.

    Raises InputError with a line for each problem.
    """
    checked = check("quantize", QuantizeConfig, overrides)
    if checked.config is None:
        raise InputError(*checked.problems or [f"expected key=value, got {' '.join(overrides)}"])
    return checked.config


def _group_problems(override: Override) -> Iterator[str]:
    """A line for each name that its config group does not have."""
    group = override.key.lstrip("+~").partition("@")[0]
    options = group_options(group)
    if not options or override.deletes:
        return
    for value in chosen_names(override):
        if value not in options:
            yield f"{group}: {unknown_message('value', value, options)}"


def _compose(config_name: str, config_class: type[T], trial: list[str], *, trial_of_sweep: bool) -> T:
    """The checked configuration of one trial. Raises InputError with a line for each of its problems."""
    try:
        config = from_hydra(composed(config_name, trial), config_class, trial=trial_of_sweep)
    except CompositionError as problem:
        raise InputError(*_lines(config_name, trial, problem)) from problem
    require_writable(config.runtime.home, "runtime.home")
    return config


def _lines(config_name: str, trial: list[str], problem: CompositionError) -> list[str]:
    """What is wrong with a trial that Hydra refused: a line for each key that its groups do not have."""
    groups = [word for word in trial if group_options(word.lstrip("+~").split("=")[0].partition("@")[0])]
    keys = [word.split("=")[0].lstrip("~") for word in trial if word not in groups and not word.startswith(_LEFT_ALONE)]
    try:
        known = composed(config_name, groups)
    except CompositionError:
        return [str(problem)]
    if twice := [key for key in keys if keys.count(key) > 1 and f"'{key}'" in str(problem)]:
        value = [word for word in trial if word.startswith(f"{twice[0]}=")][-1].partition("=")[2]
        return [
            f"{twice[0]}: given twice, and the second value, {value}, has keys that the first has not; give it once"
        ]
    return [line for key in keys if (line := _unknown_key(known, key))] or [str(problem)]


def _unknown_key(known: DictConfig, key: str) -> str | None:
    """The line for a dotted key that the composed configuration does not have; None for one that it has."""
    node: Any = known
    parts = key.split(".")
    for position, part in enumerate(parts):
        if node is None:
            above = ".".join(parts[:position])
            return f"{key}: {above} is null or refers to another key; give it as a whole: {above}={{{part}: ...}}"
        allowed = sorted(map(str, node)) if isinstance(node, DictConfig) else []
        if part not in allowed:  # and not in the node, which hides keys whose value is missing
            if position:
                return f"{'.'.join(parts[: position + 1])}: {unknown_message('key', part, allowed)}"
            allowed = sorted({*allowed, *config_groups()} - {"hydra"})
            return f"{part}: {unknown_message('key', part, allowed, longer(key, OmegaConf.to_container(known)))}"
        node = None if OmegaConf.is_missing(node, part) or OmegaConf.is_interpolation(node, part) else node[part]
    return None
