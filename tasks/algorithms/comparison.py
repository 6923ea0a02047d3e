"""Comparison: how near the outputs of a quantized model are to those of the float one, each kind of values apart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.algorithms.evaluation import IMAGE_RANK, SHAPES, Outputs, classes_last
from tasks.graph.activations import Kind
from tasks.graph.parts import Part, Parts
from tasks.numerics.metrics import agreement, cosine_similarity, expected_agreement, sqnr
from tasks.numerics.output_kinds import kinds_of_channels, looks_like_classes

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ComparedPart:
    """A part of ``output`` by which models are compared: ``channels`` (None for all) of an array, called ``label``."""

    label: str
    output: str
    array: str
    channels: tuple[int, int] | None = None


@dataclass(frozen=True)
class Comparison:
    """By what other models are compared with a float one.

    Attributes:
        parts: The parts that count, each alike.
        selected: Outputs that a selection shapes: nothing compares their places.
        classes: The array whose numbers are classes, and their axis; None where none are.
    """

    parts: tuple[ComparedPart, ...]
    selected: tuple[str, ...] = ()
    classes: tuple[str, int] | None = None

    @property
    def arrays(self) -> tuple[str, ...]:
        """The names of the arrays that hold the parts."""
        return tuple(dict.fromkeys(part.array for part in self.parts))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the parts that are not outputs as they are."""
        return tuple(part.label for part in self.parts if part.label != part.output)


def plan_comparison(parts: Parts, reference: Arrays, *, labels: bool) -> Comparison:
    """How other models are compared with a float one; parts that are outputs as they are part by scales of channels.

    Args:
        parts: The parts of the float model's outputs, as its graph tells them.
        reference: Its arrays by label of the part, (samples, ...).
        labels: Whether the data set has labels: classes of the first output.
    """
    known = [part for part in parts.parts if part.label in reference]
    compared = tuple(each for part in known for each in _by_scale(part, reference[part.label]))
    return Comparison(compared, parts.selected, _find_classes(known, reference, labels=labels))


def _by_scale(part: Part, values: NDArray[Any]) -> Iterator[ComparedPart]:
    kinds = () if part.name or not values.size else kinds_of_channels(classes_last(values))
    if len(kinds) < 2:
        yield ComparedPart(part.label, part.output, part.label)
        return
    for kind in kinds:
        last = kind.stop - 1
        name = f"{kind.start}-{last}" if last > kind.start else f"{last}"
        yield ComparedPart(f"{part.output}[{name}]", part.output, part.label, (kind.start, kind.stop))


def _find_classes(parts: Sequence[Part], reference: Arrays, *, labels: bool) -> tuple[str, int] | None:
    """The first array that holds classes, and their axis; None where no output is classes.

    The graph says so where a softmax over them, or the largest of them, is the end of it. A sigmoid for each of several
    numbers of a sample does as well. The numbers of a layer are classes if the data set has labels, or if one stands
    out at each place (:func:`~tasks.numerics.output_kinds.looks_like_classes`).
    """
    for place, part in enumerate(parts):
        axis = _classes_axis(part, reference, labels=labels and place == 0 and not part.name)
        if axis is not None and reference[part.label].shape[axis] > 1:
            return part.label, axis
    return None


def _classes_axis(part: Part, reference: Arrays, *, labels: bool) -> int | None:
    values = reference[part.label]
    if values.dtype.kind != "f" or not values.size or values.ndim < 2:
        return None
    shapes = reference.get(f"{part.label}{SHAPES}")
    rank = values.ndim if shapes is None else shapes.shape[1]
    usual = 1 - rank if rank >= IMAGE_RANK else -1
    found = usual if shapes is None else -1  # places of samples of several lengths have their channels last
    if part.classes is not None:
        return part.classes if shapes is None else found if part.classes == usual else None
    one_axis = sum(length > 1 for length in values.shape[1:]) == 1
    if labels or (part.kind == Kind.SIGMOID and one_axis):
        return found
    return found if part.kind == Kind.PLAIN and looks_like_classes(np.moveaxis(values, found, -1)) else None


def comparison_metrics(
    outputs: tuple[Arrays, Arrays], parts: tuple[Arrays, Arrays], comparison: Comparison
) -> dict[str, float]:
    """How near one model comes to another: each output as it is, and what decides it.

    ``sqnr_db`` and ``cosine`` are of the first output; with several, ``sqnr_db/<output>`` follows of each. Of an output
    that a selection shapes these are of what the selection reads, as if that were one output. ``agreement`` and
    ``expected_agreement`` in percent are there for classes. The SQNR of each part that is no output as it is follows,
    as ``sqnr_db/<output>[<part>]``. Outputs of :func:`not_compared` are left out.

    Args:
        outputs: Outputs of the float model by name, (samples, ...), and of the other one.
        parts: Arrays of the parts of both.
        comparison: How they are compared.
    """
    pairs = {}
    for name in outputs[0]:
        arrays = [part.array for part in comparison.parts if part.output == name] if name in comparison.selected else []
        both = parts if arrays else outputs
        names = [each for each in _comparable(*both) if each in (arrays or [name])]
        if names and (arrays or name not in comparison.selected):
            pairs[name] = tuple(_as_one(each, names) for each in both)
    metrics = {}
    if pairs:
        first = next(iter(pairs.values()))
        metrics = {"sqnr_db": sqnr(*first), "cosine": cosine_similarity(*first)}
    metrics |= _agreement_metrics(*parts, comparison)
    if len(pairs) > 1:
        metrics |= {f"sqnr_db/{name}": sqnr(*pair) for name, pair in pairs.items()}
    decibels = part_decibels(*parts, comparison)
    return metrics | {f"sqnr_db/{label}": decibels[label] for label in comparison.labels if label in decibels}


def gate_metrics(reference: Arrays, found: Arrays, comparison: Comparison) -> dict[str, float]:
    """What acceptance judges by: ``sqnr_db``, with several parts ``sqnr_db/<part>`` of each, and agreement of classes.

    Args:
        reference: Arrays of the parts of the float model by name, (samples, ...).
        found: Those of the other model.
        comparison: How they are compared.
    """
    decibels = part_decibels(reference, found, comparison)
    one = len(decibels) == 1
    metrics = {"sqnr_db" if one else f"sqnr_db/{label}": value for label, value in decibels.items()}
    return metrics | _agreement_metrics(reference, found, comparison)


def part_decibels(reference: Arrays, found: Arrays, comparison: Comparison) -> dict[str, float]:
    """The SQNR of each part in dB by its label; parts that cannot be compared are left out.

    Args:
        reference: Arrays of the parts of the float model by name, (samples, ...).
        found: Those of the other model.
        comparison: How they are compared.
    """
    comparable = {*_comparable(reference, found)}
    return {
        part.label: sqnr(*(_channels(each[part.array], part.channels) for each in (reference, found)))
        for part in comparison.parts
        if part.array in comparable
    }


def _agreement_metrics(reference: Arrays, found: Arrays, comparison: Comparison) -> dict[str, float]:
    """Top-1 agreement, counted, and as margins between classes let expect: that is known better from few samples."""
    if comparison.classes is None or comparison.classes[0] not in _comparable(reference, found):
        return {}
    name, axis = comparison.classes
    scores = [np.moveaxis(each[name], axis, -1) for each in (reference, found)]
    return {"agreement": 100 * agreement(*scores), "expected_agreement": 100 * expected_agreement(*scores)}


def _as_one(arrays: Arrays, names: Sequence[str]) -> NDArray[Any]:
    """The arrays as one, (samples, values); where samples have several lengths the first alone."""
    if len(names) == 1 or len({len(arrays[name]) for name in names}) > 1:
        return arrays[names[0]]
    return np.concatenate([arrays[name].reshape(len(arrays[name]), -1) for name in names], axis=1)


def not_compared(reference: Arrays, outputs: Outputs) -> tuple[str, ...]:
    """A note for each real output that comparisons leave out: it has no values, or other shapes.

    Args:
        reference: Outputs of the float model by name, (samples, ...).
        outputs: Outputs of the other model.
    """
    compared = _comparable(reference, outputs)
    left = [name for name, values in reference.items() if values.dtype.kind == "f" and name not in compared]
    return tuple(
        f"output '{name}' is not compared: "
        + (
            "it has no values, or other shapes than the float model's"
            if name in outputs
            else "the model has no such one"
        )
        for name in left
    )


def _channels(values: NDArray[Any], channels: tuple[int, int] | None) -> NDArray[Any]:
    return values if channels is None else classes_last(values)[..., slice(*channels)]


def _comparable(reference: Arrays, outputs: Arrays) -> list[str]:
    """The names of the real outputs that have values, and the same shapes in both models."""

    def shapes(arrays: Arrays, name: str) -> list[Any]:
        return [arrays[name].shape, arrays.get(f"{name}{SHAPES}", np.empty(0)).tolist()]

    return [
        name
        for name, values in reference.items()
        if name in outputs
        and values.dtype.kind == "f"
        and values.size
        and shapes(reference, name) == shapes(outputs, name)
    ]
