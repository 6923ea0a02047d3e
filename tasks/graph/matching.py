"""A small language for patterns of operations, written in the order in which data flow.

``chain(op("MVN", keep=True), op("Multiply", const=True), op("Add", const=True))`` is an MVN whose result is multiplied
by a constant and then added to one. A pattern ends in one operation and is matched upwards from it, through inputs:
each input has exactly one producer, so that a match costs about as much as the pattern is long.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import permutations

from tasks.graph.operations import Operation

# The patterns that may match at one input; without any, everything does.
Alternatives = tuple["Pattern", ...]
# Continues the patterns that come before it.
Step = Callable[[Alternatives], Alternatives]


@dataclass(frozen=True)
class Pattern:
    """One operation of a pattern.

    Attributes:
        types: Types of the operation.
        operands: For each of some inputs, distinct and in any order, the patterns that may match there.
        const: Whether one more input has a value known before inference.
        keep: Whether the operation belongs to the context, not to what the match finds.
        sole: Whether one input only reads its results.
        label: Its name for ``same``.
        same: Label of an operation that one more input reads.
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
    """A step to one operation, which reads what comes before and what each of ``others`` describes.

    Args:
        types: Types of the operation, separated by spaces.
        *others: Patterns of further inputs.
        const: Whether one more input has a value known before inference.
        keep: Whether the operation belongs to the context, not to what the match finds.
        sole: Whether one input only reads its results.
        label: Its name for ``same``.
        same: Label of an operation that one more input reads.
    """

    def step(before: Alternatives) -> Alternatives:
        operands = tuple(each for each in (before, *(other(()) for other in others)) if each)
        return (Pattern(frozenset(types.split()), operands, const, keep, sole, label, same),)

    return step


def chain(*steps: Step) -> Step:
    """A step through all steps, one after the other.

    Args:
        *steps: The steps, in the order in which data flow.
    """
    return lambda before: reduce(lambda so_far, step: step(so_far), steps, before)


def either(*steps: Step) -> Step:
    """A step through any one of the steps.

    Args:
        *steps: The alternatives.
    """
    return lambda before: tuple(pattern for step in steps for pattern in step(before))


def optional(step: Step) -> Step:
    """A step that may be missing.

    Args:
        step: The step.
    """
    return lambda before: (*step(before), *before)


@dataclass(frozen=True)
class _Match:
    """The operations found so far, and those with labels."""

    found: frozenset[Operation]
    labels: Mapping[str, Operation]


def match(pattern: Pattern, operation: Operation) -> frozenset[Operation] | None:
    """The operations of the first match that ends in an operation, without its context; None without a match.

    Args:
        pattern: The last operation of the pattern.
        operation: The operation of the model to match it with.
    """
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
