"""Hydra's composition of a configuration, from files of a user's that may hold anything.

What is wrong with them is told in a line.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from hydra import compose, version
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from flows.running import interruptions
from tasks.errors import InputError
from tasks.pot.document import read_nodes

# What Hydra, OmegaConf and yaml raise, besides their own errors, for what they do not expect in a file or word.
_REFUSALS = (ValueError, TypeError, AttributeError, LookupError, AssertionError, OSError, RecursionError)


class CompositionError(Exception):
    """What Hydra cannot compose; the message is the reason, in one line."""


class UserFiles(FileConfigSource):
    """Files in the user's folders, checked before Hydra expands them: it copies what an alias only refers to."""

    def load_config(self, config_path: str) -> ConfigResult:
        """The content of a file. Raises InputError, with its name and line, for one that Hydra cannot take."""
        file = Path(self.path, self._normalize_file_name(config_path))
        node = read_nodes(file, "configuration")
        _require_form(node, file)
        try:
            return super().load_config(config_path)
        except yaml.MarkedYAMLError as failure:
            place = failure.problem_mark or failure.context_mark
            where = f"{file}:{place.line + 1}:{place.column + 1}" if place else str(file)
            raise InputError(f"{where}: no YAML: {failure.problem or failure.context}.") from failure
        except (*_REFUSALS, OmegaConfBaseException) as failure:
            interruptions.require_none(failure)
            raise InputError(f"{file}: expected a configuration: {_reason_of(failure)}") from failure


def _require_form(node: yaml.Node | None, file: Path) -> None:
    """Raise InputError for a file that is no mapping, or has ``defaults`` or ``hydra`` of a wrong form."""
    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        raise InputError(f"{file}:{node.start_mark.line + 1}: expected names and values, like a: 1")
    for key, value in node.value:
        where = f"{file}:{key.start_mark.line + 1}: {key.value}"
        if key.value == "hydra" and not isinstance(value, yaml.MappingNode):
            raise InputError(f"{where}: expected settings of Hydra, like {{sweep: {{dir: ...}}}}")
        if key.value == "defaults" and not (
            isinstance(value, yaml.SequenceNode) and all(map(_is_default, value.value))
        ):
            raise InputError(f"{where}: expected a list of names and groups, like [base, {{dataset: arrays}}, _self_]")


def _is_default(node: yaml.Node) -> bool:
    text = isinstance(node, yaml.ScalarNode) and node.tag.endswith(":str")
    return text or (isinstance(node, yaml.MappingNode) and len(node.value) == 1)


@contextmanager
def initialized(config_path: str, config_dir: str | None) -> Iterator[None]:
    """Have Hydra compose from where its flags say, and read files of folders as above.

    Args:
        config_path: ``--config-path``: a folder, or a package like ``pkg://conf``.
        config_dir: ``--config-dir``: a folder that is searched first; None for none.

    Raises InputError for a folder that is not there.
    """
    for flag, path in (("--config-path", config_path), ("--config-dir", config_dir)):
        if path is not None and not path.startswith("pkg://") and not Path(path).is_dir():
            raise InputError(f"{flag}: there is no folder '{path}'")
    before = get_gh_backup()
    version.setbase("1.3")
    places = create_automatic_config_search_path(None, None, config_path)
    if config_dir is not None:
        folder = f"file://{Path(config_dir).absolute()}"
        places.prepend("command-line", folder, anchor=SearchPathQuery(provider="schema"))
    Plugins.instance()  # which registers the sources
    types = SourcesRegistry.instance().types
    source = types["file"]
    types["file"] = UserFiles
    try:
        Hydra.create_main_hydra2(task_name="app", config_search_path=places)
        yield
    finally:
        restore_gh_from_backup(before)
        types["file"] = source


def composed(config_name: str, overrides: Sequence[str], *, with_hydra: bool = False) -> DictConfig:
    """The configuration, composed within :func:`initialized`.

    Args:
        config_name: The file that the configuration begins with, like ``quantize``.
        overrides: Words ``key=value`` of the command line.
        with_hydra: Whether to add Hydra's own settings, as the key ``hydra``.

    Raises InputError for files, CompositionError for all else that cannot be composed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of defaults without _self_, which stand where Hydra's documentation says
            return compose(config_name, overrides=list(overrides), return_hydra_config=with_hydra)
    except InputError as failure:
        interruptions.require_none(failure)
        raise
    except (*_REFUSALS, HydraException, OmegaConfBaseException) as failure:
        interruptions.require_none(failure)
        raise CompositionError(_reason_of(failure)) from failure


def sweeps_by_itself(settings: DictConfig) -> bool:
    """Whether Hydra's own settings ask for a sweep, as ``hydra.mode=MULTIRUN`` does."""
    return bool(settings.get("mode") == RunMode.MULTIRUN)


def group_options(group: str) -> list[str]:
    """The names that a config group has, within :func:`initialized`; none of what is no group."""
    return list(GlobalHydra.instance().config_loader().get_group_options(group))


def config_groups() -> list[str]:
    """The config groups of the first level, within :func:`initialized`."""
    return list(GlobalHydra.instance().config_loader().list_groups(""))


def _reason_of(failure: BaseException) -> str:
    """What an error of Hydra or OmegaConf says: its first line, and the next one where the first only says where."""
    if isinstance(failure, RecursionError):
        return "values go too deep, or refer to themselves"
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()] or [type(failure).__name__]
    vague = lines[0].endswith(":") or lines[0].startswith("Error merging override")
    cause = next((line for line in lines[1:] if not line.startswith(("full_key", "object_type", "reference"))), "")
    return f"{lines[0].rstrip(':.')}: {cause}" if vague and cause else lines[0]
