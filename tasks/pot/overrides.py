"""Settings in the grammar of Hydra's command line."""

import re
from collections.abc import Mapping
from typing import Any

# Groups come first, so that later settings can change their keys.
GROUPS = ("dataset", "validation", "evaluation")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_RESERVED = {"null", "true", "false", "nan", "inf"}


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """``key=value`` for each setting, groups first.

    Args:
        settings: Values by dotted key.

    Example:
        >>> as_overrides({"quantization.preset": "mixed", "model.path": "my model.xml"})
        ['quantization.preset=mixed', "model.path='my model.xml'"]
    """
    ordered = sorted(settings, key=lambda key: key not in GROUPS)
    return [f"{key}={spelled(settings[key])}" for key in ordered]


def spelled(value: Any) -> str:  # noqa: PLR0911 - one a type
    """A value as Hydra reads it back; texts are quoted where Hydra could read something else.

    Args:
        value: A plain value.
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case dict():
            return "{" + ",".join(f"{key}:{spelled(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(spelled, value)) + "]"
    text = str(value)
    if _PLAIN.fullmatch(text) and text.casefold() not in _RESERVED:
        return text
    # Only backslashes before the closing quote are doubled; interpolations are escaped.
    escaped = re.sub(r"(\\+)('|$)", r"\1\1\2", text).replace("'", "\\'").replace("${", "\\${")
    return f"'{escaped}'"
