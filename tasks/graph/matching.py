"""A small language for patterns of operations, written in the order in which data flows.

``chain(op("MVN", keep=True), op("Multiply", const=True), op("Add", const=True))`` is an MVN whose result is multiplied
by a constant and then added to one. A pattern ends in one operation and is matched upwards from it, through inputs:
each input has exactly one producer, so a match costs about as much as the pattern is long.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import permutations

from tasks.graph.operations import Operation

# What may stand at one input: any of some patterns. No pattern at all: anything.
Alternatives = tuple["Pattern", ...]
# Continues what came before.
Step = Callable[[Alternatives], Alternatives]


@dataclass(frozen=True)
class Pattern:
    """One operation of a pattern; its operands match distinct inputs, in any order.

    ``const``: one more input has a value known before inference. ``keep``: the operation belongs to the context, not to
    what the match finds. ``sole``: one input only reads its results. ``label`` names it, and ``same`` asks that one
    more input is the operation so named.
    """

    types: frozenset[str]
    operands: tuple[Alternatives, ...] = ()
    const: bool = False
    keep: bool = False
    sole: bool = False
    label: str = ""
    same: str = ""


def op(
    types: str,
    *others: Step,
    const: bool = False,
    keep: bool = False,
    sole: bool = False,
    label: str = "",
    same: str = "",
) -> Step:
    """An operation of one of ``types``, separated by spaces, that reads what came before and each of ``others``."""

    def step(before: Alternatives) -> Alternatives:
        operands = tuple(each for each in (before, *(other(()) for other in others)) if each)
        return (Pattern(frozenset(types.split()), operands, const, keep, sole, label, same),)

    return step


def chain(*steps: Step) -> Step:
    """The steps one after the other."""
    return lambda before: reduce(lambda so_far, step: step(so_far), steps, before)


def either(*steps: Step) -> Step:
    """Any one of the steps."""
    return lambda before: tuple(pattern for step in steps for pattern in step(before))


def optional(step: Step) -> Step:
    """The step, or nothing in its place."""
    return lambda before: (*step(before), *before)


@dataclass(frozen=True)
class _Match:
    found: frozenset[Operation]
    labels: Mapping[str, Operation]


def match(pattern: Pattern, operation: Operation) -> frozenset[Operation] | None:
    """The operations found by the first match of ``pattern`` that ends in ``operation``; None without any."""
    first = next(_matches(pattern, operation, _Match(frozenset(), {})), None)
    return None if first is None else first.found


def _matches(pattern: Pattern, operation: Operation, so_far: _Match) -> Iterator[_Match]:
    if operation.type not in pattern.types or (pattern.sole and len(operation.readers) != 1):
        return
    found = so_far.found if pattern.keep else so_far.found | {operation}
    labels = {**so_far.labels, pattern.label: operation} if pattern.label else so_far.labels
    for ports in permutations(range(len(operation.sources)), len(pattern.operands)):
        rest = [source.operation for port, source in enumerate(operation.sources) if port not in ports]
        if pattern.const and not any(each.known for each in rest):
            continue
        chosen = [operation.sources[port].operation for port in ports]
        for each in _match_operands(pattern.operands, chosen, _Match(found, labels)):
            if not pattern.same or each.labels.get(pattern.same) in rest:
                yield each


def _match_operands(
    operands: tuple[Alternatives, ...], operations: list[Operation], so_far: _Match
) -> Iterator[_Match]:
    if not operands:
        yield so_far
        return
    for pattern in operands[0]:
        for each in _matches(pattern, operations[0], so_far):
            yield from _match_operands(operands[1:], operations[1:], each)
