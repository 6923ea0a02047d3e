"""Hydra's grammar: a word ``key=value`` of a command line, and the values that it stands for."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser import types
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from tasks.errors import LONGEST_LINE, InputError, shortened

_SHOWN = LONGEST_LINE // 2


@dataclass(frozen=True)
class Override:
    """A word as Hydra reads it. Its key keeps its sign: ``+key=value`` adds a key, ``~key`` removes it."""

    parsed: types.Override

    @property
    def word(self) -> str:
        """The whole word."""
        return str(self.parsed.input_line)

    @property
    def key(self) -> str:
        """What stands before ``=``, with the sign and the package of a group."""
        return self.parsed.get_key_element()

    @property
    def value(self) -> Any:
        """The value: a number, text, list or dictionary. Of a sweep it is Hydra's description of the values."""
        return self.parsed.value()

    @property
    def deletes(self) -> bool:
        """Whether the word removes its key."""
        return self.parsed.is_delete()

    @property
    def sweeps(self) -> bool:
        """Whether the value stands for several."""
        return self.parsed.is_sweep_override()

    @property
    def listed(self) -> bool:
        """Whether the several values can be listed: all but those of an interval."""
        return self.parsed.is_discrete_sweep()


def parse_override(word: str) -> Override:
    """The word as Hydra reads it. Raises InputError for one that it cannot read.

    Within ``hydra_composing.initialized`` a glob stands for the names in a config group.
    """
    hydra, shown = GlobalHydra.instance(), shortened(word, _SHOWN)
    parser = OverridesParser.create(hydra.config_loader() if hydra.is_initialized() else None)
    try:
        return Override(parser.parse_overrides([word])[0])
    except HydraException as failure:
        msg = "expected key=value; special characters of a value need quotes: key='value'"
        raise InputError(f"'{shown}': {msg}") from failure
    except RecursionError as failure:
        raise InputError(f"'{shown}': goes too deep") from failure
    except ValueError as failure:
        raise InputError(f"'{shown}': {str(failure).partition(';')[0]}") from failure


def values(override: Override) -> list[str]:
    """The values of a sweep, as text; none of an interval, from which the sweeper draws."""
    return list(override.parsed.sweep_string_iterator()) if override.listed else []


def choices(override: Override) -> list[str]:
    """The values that a sweep names one by one, as text; none of a range, which may stand for any number."""
    return values(override) if override.parsed.is_choice_sweep() else []


def count(override: Override) -> int:
    """The number of values of a sweep other than an interval. A range is not listed for it.

    Raises ValueError, ArithmeticError or TypeError for a range that cannot be, like one of step 0.
    """
    value = override.value
    if not isinstance(value, types.RangeSweep):
        return sum(1 for _ in override.parsed.sweep_iterator())
    numbers = value.range()
    if isinstance(numbers, types.FloatRange):
        return max(math.ceil((numbers.stop - numbers.start) / numbers.step), 0)  # type: ignore[operator]
    return len(numbers)


def chosen_text(override: Override) -> str:
    """The value of a word that is no sweep, as it was written."""
    return override.parsed.get_value_element_as_str()


def chosen_names(override: Override) -> list[str]:
    """The names that a word chooses from a config group; some groups take a list of them."""
    if override.sweeps:
        return choices(override)
    given = override.value
    return [str(each) for each in given] if isinstance(given, list) else [chosen_text(override)]


def plain_values(override: Override) -> list[Any]:
    """The values that a word spells out, as Python objects; none of ranges and intervals."""
    chooses = override.parsed.is_choice_sweep()
    if override.sweeps and not chooses:
        return []
    found: Iterable[Any] = (
        override.parsed.sweep_iterator(types.Transformer.identity) if chooses else [override.parsed.value()]
    )
    return [_plain(each) for each in found]


def _plain(value: Any) -> Any:
    """The value without Hydra's record of how its texts were quoted."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(_plain(name)): _plain(each) for name, each in value.items()}
    return getattr(value, "text", value)
