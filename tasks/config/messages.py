"""Pydantic's errors of a configuration as one readable line per problem: the dotted key, what was expected."""

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_args

from pydantic import ValidationError

from tasks.config.options import NamePattern, OperationFilter
from tasks.data.annotated_files import Converter
from tasks.data.operations import Operation
from tasks.data.readers import Reader
from tasks.errors import did_you_mean, longer, unknown_message
from tasks.metrics.boxes import Postprocessor
from tasks.metrics.predictions import Adapter
from tasks.metrics.scoring import Metric

MISSING = "a value is needed"
# What pydantic says in terms of Python, and the user's terms for it.
_EXPECTED = {
    "path_type": "a path",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list in brackets, [a, b]",
    "dict_type": "names and values in braces, {name: value}",
}
# What some keys accept besides the names in their type.
_BESIDES = {
    "channel_alignment": "true false",
    "cross_layer_equalization": "true false",
    "model_type": "null",
    "anchors": "[width,height,...]",
}
# The field that tells the members of a union apart, by the key of the union.
_UNIONS: dict[str, Any] = {
    "annotation": Converter,
    "reader": Reader,
    "preprocessing": Operation,
    "adapter": Adapter,
    "postprocessing": Postprocessor,
    "metrics": Metric,
}
TAGGED: tuple[type[Any], ...] = tuple(member for union in _UNIONS.values() for member in get_args(union))


def lines_of(failure: ValidationError, composed: Any, option_classes: Sequence[type[Any]]) -> list[str]:
    """One line per key, although a union reports an error for each of its members.

    Args:
        failure: What pydantic raised.
        composed: The configuration as plain values.
        option_classes: Classes whose fields are the known keys.
    """
    lines: dict[str, str] = {}
    for error in failure.errors(include_url=False):
        key, text = _line(dict(error), composed, option_classes)
        # The last member of a union is the most specific: auto, or an entry with keys.
        if key not in lines or error["type"] in ("literal_error", "dataclass_type", "tuple_type"):
            lines[key] = text
    return drop_repeats(lines)


def drop_repeats(lines: dict[str, str]) -> list[str]:
    """The lines without repetitions: of ``dataset`` for validation, and of what another line says more exactly.

    Args:
        lines: Messages by dotted key.
    """
    unknown_keys = {key.rpartition(".")[0] for key, text in lines.items() if text.startswith("unknown key")}
    return [
        f"{key}: {text}"
        for key, text in lines.items()
        if (lines.get(key.replace("validation.", "dataset.", 1)) != text or not key.startswith("validation."))
        and not any(other.startswith(f"{key}.") for other in lines)
        and not (text == MISSING and key.rpartition(".")[0] in unknown_keys)
    ]


def _line(error: dict[str, Any], composed: Any, option_classes: Sequence[type[Any]]) -> tuple[str, str]:
    """The key and the message for one error of pydantic, whose path also names members of unions."""
    kind, node, parent, keys = error["type"], composed, composed, []
    for part in error["loc"]:
        if isinstance(node, dict) and (part in node or (kind == "missing" and part == error["loc"][-1])):
            keys.append(str(part))
            parent, node = node, node.get(part)
        elif isinstance(node, list) and isinstance(part, int):
            keys.append(str(part))
            parent, node = node, node[part]
    key, value, context = ".".join(keys), error["input"], error.get("ctx", {})
    if kind == "unexpected_keyword_argument":
        meant = longer(key, composed) if len(keys) == 1 else []
        return key, unknown_message("key", keys[-1], _known_keys(parent, keys), meant)
    if kind == "missing":
        return key, MISSING
    if kind in ("enum", "literal_error"):
        allowed = re.findall(r"'([^']*)'", context["expected"]) + _BESIDES.get(keys[-1], "").split()
        return key, unknown_message("value", "null" if value is None else str(value), allowed)
    if kind == "union_tag_invalid":
        tag = context["discriminator"].strip("'")
        return f"{key}.{tag}", unknown_message(
            "value", context["tag"], re.findall(r"'([^']*)'", context["expected_tags"])
        )
    if kind == "model_attributes_type" and (group := next((each for each in reversed(keys) if each in _UNIONS), None)):
        return key, _tagged(group, value)
    return key, f"{_expectation(error, option_classes)}, got {'null' if value is None else repr(value)}"


def _tagged(group: str, value: Any) -> str:
    """The message for a value in the place of a union's member: often only the member's name."""
    tag = "converter" if group == "annotation" else "type"
    tags = [each.type for member in get_args(_UNIONS[group]) for each in fields(member) if each.name == tag]
    names = [name for each in tags for name in get_args(each)]
    hint = "" if value in names else did_you_mean(str(value), names)
    return f"expected {{{tag}: NAME}}, got {value!r}.{hint} Names: {', '.join(names)}"


def _expectation(error: dict[str, Any], option_classes: Sequence[type[Any]]) -> str:
    """What an error of pydantic expected, in the user's terms."""
    kind, message = error["type"], error["msg"]
    if kind == "union_tag_not_found":
        return f"expected a {error['ctx']['discriminator']}"
    if kind == "dataclass_type":
        name = error["ctx"]["class_name"]
        keys = [item.name for item in fields(next(each for each in option_classes if each.__name__ == name))]
        return "expected a name or {re: pattern}" if keys == ["re"] else f"expected the keys {', '.join(keys)}"
    return f"expected {_EXPECTED[kind]}" if kind in _EXPECTED else f"{message[0].lower()}{message[1:]}"


def _known_keys(parent: Any, keys: list[str]) -> list[str]:
    """The keys that may stand beside an unknown one; composed files list every key, except in entries of lists."""
    entry = {"scope": NamePattern, "operations": OperationFilter}.get(keys[-3]) if len(keys) > 2 else None
    for member in TAGGED:
        tags = [item for item in fields(member) if item.name in ("type", "converter")]
        if any(parent.get(tag.name) in get_args(tag.type) for tag in tags):
            entry = member
    return [item.name for item in fields(entry)] if entry else [name for name in parent if name != keys[-1]]
