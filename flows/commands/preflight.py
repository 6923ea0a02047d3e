"""Problems on the command line, found before Hydra runs: one readable line each, for sweeps as well."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from flows.commands.budget import bounded
from flows.commands.composing import checked_files, composed, reason_of
from flows.commands.flags import Flags, initialized, parse
from flows.commands.overrides import each_value, parsed, sweep_problems, trials, values
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
    """The lines to print, none if all is well; the configuration, None where Hydra has to compose it (again).

    ``sweep`` is there if the arguments describe several trials, and ``config`` is that of the first one then.
    """

    problems: tuple[str, ...] = ()
    config: T | None = None
    sweep: Sweep | None = None


def check(config_name: str, config_class: type[T], arguments: Sequence[str]) -> Checked[T]:
    """Compose every trial that the arguments describe and check it."""
    try:
        flags = parse(arguments)
        with checked_files(), initialized(flags):
            if flags.asks:
                return _answerable(flags.config_name or config_name, flags)
            found = _check(flags.config_name or config_name, config_class, flags)
            return replace(found, problems=tuple(map(readable, found.problems)))
    except InputError as problem:
        return Checked(problem.args)
    except OSError as failure:  # the name of a group or folder that the system does not take
        return Checked((readable(f"'{failure.filename}': {failure.strerror}"),))


def _answerable(config_name: str, flags: Flags) -> Checked[Any]:
    """Whether Hydra, which answers the question itself, can read the files for it."""
    with bounded(CONFIGURATION):
        overrides, _ = parsed(flags.overrides)
        if not any(override.is_sweep_override() for override in overrides):
            with suppress(HydraException):  # as Hydra tells it
                composed(config_name, [str(override.input_line) for override in overrides])
    return Checked()


def _check(config_name: str, config_class: type[T], flags: Flags) -> Checked[T]:
    loader = GlobalHydra.instance().config_loader()
    with bounded(CONFIGURATION):
        overrides, lines = parsed(flags.overrides, loader)
        settings = _settings_of_hydra(config_name, overrides)
        sweeps = flags.multirun or settings.get("mode") == RunMode.MULTIRUN
        varied = overrides
        if sweeps:
            params = settings.sweeper.get("params") or {}
            parameters, mistaken = parsed([f"{key}={value}" for key, value in params.items()], loader)
            varied = [*parameters, *overrides]
            lines |= mistaken
        searches = sweeps and "objectives" in settings.sweeper
        lines |= dict.fromkeys(sweep_problems(varied, sweeps=sweeps, searches=searches))
        for override in overrides:
            lines |= dict.fromkeys(_group_problems(loader, override))
        if sweeps:
            lines |= dict.fromkeys(_sweep_problems(settings, varied))
    if lines:
        return Checked(tuple(lines))
    configs: list[T] = []
    refused = 0
    for trial in each_value(varied) if searches else trials(varied):
        try:
            with bounded(CONFIGURATION):
                configs.append(_compose(config_name, config_class, trial, loader, trial_of_sweep=sweeps))
        except InputError as problem:
            lines |= dict.fromkeys(problem.args)
            refused += 1
            if refused == _ENOUGH:
                break
    if lines:
        return Checked(tuple(lines))
    if sweeps:
        return Checked(config=configs[0], sweep=_sweep(settings, varied, configs[0], len(configs), flags))
    alone = not flags.words and not any(override.get_key_element().startswith("hydra") for override in overrides)
    return Checked(config=configs[0] if alone else None)


def _settings_of_hydra(config_name: str, overrides: Sequence[Override]) -> DictConfig:
    """Hydra's own part of the configuration of the first trial; empty where it cannot be composed."""
    try:
        settings: DictConfig = composed(config_name, _first(overrides), with_hydra=True).hydra
    except HydraException:
        return OmegaConf.create({"sweeper": {}})
    return settings


def _first(overrides: Sequence[Override]) -> list[str]:
    """Those of one value, and the first value of each of the others that can be listed."""
    words = []
    for override in overrides:
        if not override.is_sweep_override():
            words.append(str(override.input_line))
        elif override.is_discrete_sweep() and not isinstance(override.value(), RangeSweep):
            words += [f"{override.get_key_element()}={value}" for value in values(override)[:1]]
    return words


def _sweep_problems(settings: DictConfig, varied: Sequence[Override]) -> Iterator[str]:
    """What the sweeper itself would stumble over."""
    sweeper = settings.sweeper
    if str(sweeper.get("_target_")).endswith(".GridSweeper"):
        for override in varied:
            if override.is_sweep_override() and not override.is_discrete_sweep():
                key, _, value = str(override.input_line).partition("=")
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
    keys = [each.get_key_element().lstrip("+") for each in varied if each.is_sweep_override()]
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
    """The configuration that settings of ``ptq-quantize`` make, for commands with arguments of their own.

    Raises InputError with a line for each problem.
    """
    checked = check("quantize", QuantizeConfig, overrides)
    if checked.config is None:
        raise InputError(*checked.problems or [f"expected key=value, got {' '.join(overrides)}"])
    return checked.config


def _group_problems(loader: ConfigLoader, override: Override) -> Iterator[str]:
    """Names that a config group does not have."""
    group = override.get_key_element().lstrip("+~").partition("@")[0]
    options = loader.get_group_options(group)
    if not options or override.is_delete():
        return
    if override.is_sweep_override():
        names = [] if isinstance(override.value(), RangeSweep) else values(override)
    else:
        # A group whose default is one name takes several as well: experiment=[mine,search].
        given = override.value()
        names = [str(each) for each in given] if isinstance(given, list) else [override.get_value_element_as_str()]
    for value in names:
        if value not in options:
            yield f"{group}: {unknown_message('value', value, options)}"


def _compose(
    config_name: str, config_class: type[T], trial: list[str], loader: ConfigLoader, *, trial_of_sweep: bool
) -> T:
    """One trial, checked; InputError with a line for each of its problems."""
    try:
        config = from_hydra(composed(config_name, trial), config_class, trial=trial_of_sweep)
    except HydraException as problem:
        raise InputError(*_lines(config_name, trial, loader, problem)) from problem
    require_writable(config.runtime.home, "runtime.home")
    return config


def _lines(config_name: str, trial: list[str], loader: ConfigLoader, problem: HydraException) -> list[str]:
    """What is wrong with a trial that Hydra refused: the keys that the groups it chose do not have."""
    groups = [word for word in trial if loader.get_group_options(word.lstrip("+~").split("=")[0].partition("@")[0])]
    keys = [word.split("=")[0].lstrip("~") for word in trial if word not in groups and not word.startswith(_LEFT_ALONE)]
    try:
        known = composed(config_name, groups)
    except HydraException:
        return [reason_of(problem)]
    if twice := [key for key in keys if keys.count(key) > 1 and f"'{key}'" in reason_of(problem)]:
        value = [word for word in trial if word.startswith(f"{twice[0]}=")][-1].partition("=")[2]
        return [
            f"{twice[0]}: given twice, and the second value, {value}, has keys that the first has not; give it once"
        ]
    return [line for key in keys if (line := _unknown_key(known, key, loader))] or [reason_of(problem)]


def _unknown_key(known: DictConfig, key: str, loader: ConfigLoader) -> str | None:
    """The line for a dotted key that the composed configuration does not have."""
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
            allowed = sorted({*allowed, *loader.list_groups("")} - {"hydra"})
            return f"{part}: {unknown_message('key', part, allowed, longer(key, OmegaConf.to_container(known)))}"
        node = None if OmegaConf.is_missing(node, part) or OmegaConf.is_interpolation(node, part) else node[part]
    return None
