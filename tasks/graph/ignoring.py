"""From the user's ignored scope to operations of one model; an entry without effect is an error."""

import difflib
import re
from collections.abc import Callable, Collection, Iterable

from tasks.errors import InputError
from tasks.graph.devices import row_name
from tasks.graph.insertion import BODY_TYPES
from tasks.graph.operations import Operation, shape_of
from tasks.graph.scope import IgnoredOperation, IgnoredScope

# Types that the model type ``transformer`` keeps float, as in POT but for Squeeze. Quantization passes through that: to
# keep it float would only take the quantization of the layers behind it.
TRANSFORMER_TYPES = frozenset({"Add", "Power", "Subtract", "ReduceMean", "SquaredDifference", "MVN", "Multiply"})

_MOST_NAMED = 3


def find_ignored(
    operations: tuple[Operation, ...], ignored: IgnoredScope, why_never: Callable[[Operation], str | None]
) -> frozenset[Operation]:
    """The operations that an ignored scope keeps float.

    Args:
        operations: All operations of a model.
        ignored: The ignored scope.
        why_never: Gives the reason why an operation is never quantized, None for one that could be.

    Raises:
        InputError: An entry names no operation, or only operations that are never quantized, or is no regular
            expression.
    """
    found: set[Operation] = set()
    by_name = {operation.name: operation for operation in operations}
    for name in ignored.scope:
        outer, _, inner = name.partition("|")
        if name not in by_name and inner and outer in by_name and by_name[outer].type in BODY_TYPES:
            raise InputError(
                f"quantization.ignored.scope: {name!r} has no effect: bodies of {by_name[outer].type} stay float anyway"
            )
        if name not in by_name:
            parts = [each.name for each in operations if each.name.startswith(f"{name}/") and not why_never(each)]
            hint = f"; it became {', '.join(map(repr, parts[:_MOST_NAMED]))}" if parts else _nearest(name, by_name)
            raise InputError(f"quantization.ignored.scope: the model has no operation {name!r}{hint}")
        found |= _useful(f"quantization.ignored.scope: {name!r}", [by_name[name]], why_never)
    for pattern in ignored.patterns:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise InputError(
                f"quantization.ignored.scope: the pattern {pattern!r} is no regular expression: {error}"
            ) from error
        matching = [operation for operation in operations if expression.fullmatch(operation.name)]
        if not matching:
            raise InputError(
                f"quantization.ignored.scope: the pattern {pattern!r} matches no operation{_nearest(pattern, by_name)}"
            )
        found |= _useful(f"quantization.ignored.scope: the pattern {pattern!r}", matching, why_never)
    for entry in ignored.operations:
        found |= _useful(f"quantization.ignored.operations: {spell(entry)}", _of_type(operations, entry), why_never)
    return frozenset(found)


def _useful(
    entry: str, operations: Collection[Operation], why_never: Callable[[Operation], str | None]
) -> set[Operation]:
    """Those of the operations that could be quantized; InputError if there are none."""
    reasons = {operation: why_never(operation) for operation in operations}
    useful = {operation for operation, reason in reasons.items() if reason is None}
    if not useful:
        first = next(iter(reasons))
        raise InputError(
            f"{entry} has no effect: {first.type} {first.name!r} is never quantized here ({reasons[first]})"
            + (f", nor are {len(reasons) - 1} others that match" if len(reasons) > 1 else "")
            + _layer_of(first, reasons[first], why_never)
        )
    return useful


def _layer_of(operation: Operation, reason: str | None, why_never: Callable[[Operation], str | None]) -> str:
    """Of a bias, which layer it belongs to: in ONNX both are one operation, whose name the bias has got."""
    sources = [source.operation for source in operation.sources if source is not None] if reason == "bias" else []
    layers = [source.name for source in sources if why_never(source) is None]
    return f"; its layer is {layers[0]!r}" if layers else ""


def _of_type(operations: Iterable[Operation], entry: IgnoredOperation) -> list[Operation]:
    """The operations that an entry names; InputError if there are none."""
    types: dict[str, list[Operation]] = {}
    for operation in operations:
        grouped = {"Convolution"} if operation.type == "GroupConvolution" else set()
        for name in {operation.type, row_name(operation)} | grouped:
            types.setdefault(name.casefold(), []).append(operation)
    same_type = types.get(entry.type.casefold(), [])
    if not same_type:
        known = {operation.type: operation for operation in operations}
        raise InputError(
            f"quantization.ignored.operations: the model has no {entry.type!r}{_nearest(entry.type, known)}"
        )
    for name, _ in entry.attributes:
        offered = {each for operation in same_type for each in _attributes(operation)}
        if name not in offered:
            raise InputError(
                f"quantization.ignored.operations: {entry.type} has no attribute {name!r}{_nearest(name, offered)}"
            )
    matching = [operation for operation in same_type if _has(operation, entry)]
    if not matching:
        seen = sorted({repr(_attributes(each).get(name)) for each in same_type for name, _ in entry.attributes})
        raise InputError(
            f"quantization.ignored.operations: {spell(entry)} matches no operation; the model has {', '.join(seen)}"
        )
    return matching


def _has(operation: Operation, entry: IgnoredOperation) -> bool:
    attributes = _attributes(operation)
    return all(name in attributes and attributes[name] == _plain(value) for name, value in entry.attributes)


def _attributes(operation: Operation) -> dict[str, object]:
    attributes = {name: _plain(value) for name, value in operation.node.get_attributes().items()}
    if operation.type == "GroupConvolution":
        # No attribute of OpenVINO: the number of groups is in the shape of the weights only.
        shape = shape_of(operation.sources[1])
        attributes["group"] = shape[0] if shape else None
    return attributes


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list | tuple) else value


def spell(entry: IgnoredOperation) -> str:
    """An entry as text, ``Type(name=value, ...)``.

    Args:
        entry: The entry of an ignored scope.
    """
    attributes = ", ".join(f"{name}={value}" for name, value in entry.attributes)
    return f"{entry.type}({attributes})" if attributes else entry.type


def _nearest(name: str, known: Iterable[str]) -> str:
    """The names nearest to ``name``, as the end of a message; empty if none is near."""
    folded = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=_MOST_NAMED)
    return f"; nearest: {', '.join(folded[each] for each in near)}" if near else ""
