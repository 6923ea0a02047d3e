"""Mistakes on the command line, found before Hydra runs: one readable line each, for sweeps as well."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Generic, TypeVar

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from yaml import MarkedYAMLError

from flows.flags import Flags, initialized, parse
from flows.points import Sweep
from tasks.config import QuantizeConfig, from_hydra
from tasks.errors import InputError, longer, unknown
from tasks.write_output import require_writable

T = TypeVar("T", bound=QuantizeConfig)

DIRECTIONS = ("maximize", "minimize")
# New keys, which are checked when all are there, and Hydra's own.
_LEFT_ALONE = ("+", "hydra")


@dataclass(frozen=True)
class Checked(Generic[T]):
    """The lines to print, none if all is well; the configuration, None where Hydra has to compose it (again).

    ``sweep`` is there if the arguments describe several points, and ``config`` is that of the first one then.
    """

    problems: tuple[str, ...] = ()
    config: T | None = None
    sweep: Sweep | None = None


def check(config_name: str, config_class: type[T], arguments: Sequence[str]) -> Checked[T]:
    """Compose every point that the arguments describe and check it."""
    try:
        flags = parse(arguments)
        if flags.asks:
            return Checked()
        with initialized(flags):
            return _check(flags.config_name or config_name, config_class, flags)
    except InputError as mistake:
        return Checked((str(mistake),))
    except MarkedYAMLError as mistake:  # in a file of the user's
        place = mistake.problem_mark or mistake.context_mark
        where = f"{place.name}: line {place.line + 1}" if place else "configuration"
        return Checked((f"{where}: expected YAML: {mistake.problem or mistake.context}",))


def _check(config_name: str, config_class: type[T], flags: Flags) -> Checked[T]:
    overrides, lines = parsed(flags.overrides)
    configs: list[T] = []
    loader = GlobalHydra.instance().config_loader()
    settings = _settings_of_hydra(config_name, overrides)
    sweeps = flags.multirun or settings.get("mode") == RunMode.MULTIRUN
    for override in overrides:
        if override.is_sweep_override() and not sweeps:
            lines[f"{override.get_key_element()}: a sweep of several values needs --multirun"] = None
        lines |= dict.fromkeys(_group_problems(loader, override))
    searches = sweeps and "objectives" in settings.sweeper
    varied = overrides
    if sweeps:
        params = settings.sweeper.get("params") or {}
        parameters, mistaken = parsed([f"{key}={value}" for key, value in params.items()])
        varied = [*parameters, *overrides]
        lines |= mistaken | dict.fromkeys(_sweep_problems(settings, varied))
    if not lines:
        for point in _each_value(varied) if searches else _points(varied):
            try:
                configs.append(_compose(config_name, config_class, point, loader, point_of_sweep=sweeps))
            except InputError as mistake:
                lines |= dict.fromkeys(str(mistake).splitlines())
    if lines:
        return Checked(tuple(lines))
    if sweeps:
        return Checked(config=configs[0], sweep=_sweep(settings, varied, configs[0], len(configs), flags))
    alone = not flags.words and not any(override.get_key_element().startswith("hydra") for override in overrides)
    return Checked(config=configs[0] if alone else None)


def _settings_of_hydra(config_name: str, overrides: Sequence[Override]) -> DictConfig:
    """Hydra's own part of the configuration of the first point; empty where it cannot be composed."""
    try:
        composed = compose(config_name, overrides=next(_points(overrides)), return_hydra_config=True)
    except (HydraException, ValueError, TypeError):  # how it refuses null, and a list that holds no names
        return OmegaConf.create({"sweeper": {}})
    settings: DictConfig = composed.hydra
    return settings


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
            yield f"hydra.sweeper.objectives.{name}: {unknown('value', str(direction), DIRECTIONS)}"


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

    Raises InputError with a line for each mistake.
    """
    checked = check("quantize", QuantizeConfig, overrides)
    if checked.config is None:
        raise InputError("\n".join(checked.problems) or f"expected key=value, got {' '.join(overrides)}")
    return checked.config


def parsed(words: Sequence[str]) -> tuple[list[Override], dict[str, None]]:
    """The overrides, and a line for each word that is none."""
    parser = OverridesParser.create()
    overrides: list[Override] = []
    lines: dict[str, None] = {}
    for word in words:
        try:
            override = parser.parse_overrides([word])[0]
        except HydraException:
            lines[f"'{word}': expected key=value; special characters of a value need quotes: key='value'"] = None
            continue
        if override.get_key_element().lstrip("+~").partition("@")[0]:
            overrides.append(override)
        else:
            lines[f"'{word}': expected key=value; the key is missing"] = None
    return overrides, lines


def _points(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """Every combination of the values given, as overrides. Continuous sweeps are left out: their sweeper knows them."""
    choices = []
    for override in overrides:
        if not override.is_sweep_override():
            choices.append([str(override.input_line)])
        elif override.is_discrete_sweep():
            key = override.get_key_element()
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
    return (list(point) for point in product(*choices))


def _each_value(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """Every value given, each at least once, as a search may need years for every combination of them."""
    choices = [list(_points([override])) for override in overrides]
    for row in range(max((len(each) for each in choices), default=1)):
        yield [word for each in choices if each for word in each[min(row, len(each) - 1)]]


def _group_problems(loader: ConfigLoader, override: Override) -> Iterator[str]:
    """Names that a config group does not have."""
    group = override.get_key_element().lstrip("+~").partition("@")[0]
    options = loader.get_group_options(group)
    if not options or override.is_delete():
        return
    if override.is_sweep_override():
        values = [str(value) for value in override.sweep_string_iterator()] if override.is_discrete_sweep() else []
    else:
        # A group whose default is one name takes several as well: experiment=[mine,search].
        given = override.value()
        values = [str(each) for each in given] if isinstance(given, list) else [override.get_value_element_as_str()]
    for value in values:
        if value not in options:
            yield f"{group}: {unknown('value', value, options)}"


def _compose(
    config_name: str, config_class: type[T], point: list[str], loader: ConfigLoader, *, point_of_sweep: bool
) -> T:
    """One point, checked; InputError with a line for each of its mistakes."""
    try:
        config = from_hydra(compose(config_name, overrides=point), config_class, point=point_of_sweep)
    except HydraException as mistake:
        raise InputError("\n".join(_lines(config_name, point, loader, mistake))) from mistake
    require_writable(config.runtime.home, "runtime.home")
    return config


def _lines(config_name: str, point: list[str], loader: ConfigLoader, mistake: HydraException) -> list[str]:
    """What is wrong with a point that Hydra refused: the keys that the groups it chose do not have."""
    groups = [word for word in point if loader.get_group_options(word.lstrip("+~").split("=")[0].partition("@")[0])]
    keys = [word.split("=")[0].lstrip("~") for word in point if word not in groups and not word.startswith(_LEFT_ALONE)]
    try:
        known = compose(config_name, overrides=groups)
    except HydraException:
        return [_first_line(mistake)]
    if twice := [key for key in keys if keys.count(key) > 1 and f"'{key}'" in _first_line(mistake)]:
        value = [word for word in point if word.startswith(f"{twice[0]}=")][-1].partition("=")[2]
        return [
            f"{twice[0]}: given twice, and the second value, {value}, has keys that the first has not; give it once"
        ]
    return [line for key in keys if (line := _unknown_key(known, key, loader))] or [_first_line(mistake)]


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
                return f"{'.'.join(parts[: position + 1])}: {unknown('key', part, allowed)}"
            allowed = sorted({*allowed, *loader.list_groups("")} - {"hydra"})
            return f"{part}: {unknown('key', part, allowed, longer(key, OmegaConf.to_container(known)))}"
        node = None if OmegaConf.is_missing(node, part) or OmegaConf.is_interpolation(node, part) else node[part]
    return None


def _first_line(mistake: Exception) -> str:
    return str(mistake).strip().splitlines()[0]
