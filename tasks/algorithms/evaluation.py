"""The outputs of a model on a data set, and what they are worth."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.algorithms.inference import (
    Sample,
    compile_for_samples,
    compile_on_cpu,
    infer,
    one_sample_at_a_time,
    whole_inputs,
)
from tasks.errors import InputError
from tasks.graph.logits import take_logits
from tasks.graph.naming import output_names
from tasks.numerics.guessing import chance_level
from tasks.numerics.metrics import agreement, cosine_similarity, expected_agreement, sqnr, top_k

Outputs = dict[str, NDArray[Any]]
# What the shapes of an output that are not the same for all samples are kept as.
_SHAPES = "::shapes"
# Rounding of other kernels leaves more dB between two outputs of one model.
_SAME = 30.0


def compile_alone(
    model: ov.Model, whole: tuple[str, ...], threads: int | None = None, *, logits: bool = False
) -> ov.CompiledModel:
    """Compile the model for one sample a request; ``whole`` are inputs without a batch axis.

    With ``logits`` it gives what a last softmax or sigmoid reads (see :func:`~tasks.graph.logits.take_logits`).
    """
    alone = one_sample_at_a_time(model, whole)
    if logits:
        take_logits(alone)
    return compile_for_samples(alone, threads, as_deployed=True)


def collect_rows(
    model: ov.Model,
    samples: Iterable[Sample],
    advance: Callable[[], None],
    compiled: Callable[[tuple[str, ...]], ov.CompiledModel],
) -> dict[str, list[NDArray[Any]]]:
    """Every output of every sample, in the order of the samples, with its batch axis where it has one.

    ``compiled`` is what :func:`compile_alone` makes of the model for inputs without a batch axis.
    """
    remaining = iter(samples)
    first = next(remaining)
    rows: dict[int, list[NDArray[Any]]] = {}

    def receive(index: int, outputs: list[NDArray[Any]]) -> None:
        rows[index] = [np.array(output) for output in outputs]
        advance()

    count = infer(compiled(whole_inputs(model, first)), chain([first], remaining), receive, spare=1)
    return {
        name: [rows[index][position] for index in range(count)] for position, name in enumerate(output_names(model))
    }


def written_otherwise(
    model: ov.Model, sample: Iterable[Sample], outputs: Mapping[str, NDArray[Any]]
) -> tuple[str, ...]:
    """A note for each output that OpenVINO computes otherwise with the free axes of the model than with a batch of 1.

    ``outputs`` are those of the one ``sample`` with a batch of 1. A model without free axes is what was evaluated, and
    nothing is read for it.
    """
    if not model.is_dynamic():
        return ()
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    try:
        found = collect_rows(model, sample, lambda: None, lambda _: compile_on_cpu(model, settings))
    except InputError as refusal:
        return (f"with the free axes of the model, not those of one sample: {refusal}",)
    decibels = {
        name: sqnr(wanted, found[name][0])
        for name, wanted in outputs.items()
        if wanted.dtype.kind == "f" and wanted.shape == found[name][0].shape
    }
    return tuple(
        f"output '{name}': with the free axes of the model OpenVINO computes something else than with a batch of 1, of"
        f" which all figures are ({value:.1f} dB between them); model.reshape gives it fixed ones"
        for name, value in decibels.items()
        if value < _SAME
    )


def collect_outputs(
    model: ov.Model, samples: Iterable[Sample], advance: Callable[[], None], threads: int | None = None
) -> tuple[Outputs, tuple[str, ...]]:
    """What :func:`stack` makes of the outputs of all samples."""
    return stack(collect_rows(model, samples, advance, lambda whole: compile_alone(model, whole, threads)))


def stack(rows: dict[str, list[NDArray[Any]]]) -> tuple[Outputs, tuple[str, ...]]:
    """Every output of shape (samples, ...), and a note for each that cannot be stacked; ``rows`` are used up.

    An output of real numbers whose lengths differ from sample to sample (tokens, images of any size) becomes (places,
    classes), the places of all samples one below the other, or (numbers, 1) where classes differ too; its shapes are
    kept beside it, as only outputs of the same shapes can be compared.
    """
    stacked, notes = {}, []
    for name in tuple(rows):
        values = rows.pop(name)
        if len({value.shape for value in values}) == 1:
            # The batch axis of one sample becomes the axis of the samples.
            joined = np.concatenate(values) if values[0].ndim and values[0].shape[0] == 1 else np.stack(values)
            stacked[name] = joined
        elif values[0].dtype.kind == "f" and len({value.ndim for value in values}) == 1:
            stacked |= {name: _places(values), f"{name}{_SHAPES}": np.array([value.shape for value in values])}
        else:
            notes.append(f"output '{name}' is not compared: its shape changes from sample to sample")
    return stacked, tuple(notes)


def _places(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    turned = [_classes_last(value) for value in values]
    widths = {value.shape[-1] for value in turned}
    width = max(widths.pop(), 1) if len(widths) == 1 else 1
    return np.concatenate([value.reshape(-1, width) for value in turned])


def sample_outputs(
    rows: Mapping[str, Sequence[NDArray[Any]]], place: int, aliases: Mapping[str, str]
) -> dict[str, NDArray[Any]]:
    """One sample's outputs without batch axes; the same again under their other names."""
    bare = {name: values[place] for name, values in rows.items()}
    bare = {name: value[0] if value.ndim and value.shape[0] == 1 else value for name, value in bare.items()}
    return bare | {alias: bare[name] for alias, name in aliases.items()}


def classification_metrics(outputs: Outputs, labels: NDArray[np.int64]) -> dict[str, float]:
    """``top1`` and, with more than five classes, ``top5`` of the first output, in percent."""
    scores = _class_scores(outputs, labels)
    metrics = {"top1": 100 * top_k(scores, labels, 1)}
    if scores.shape[1] > 5:
        metrics["top5"] = 100 * top_k(scores, labels, 5)
    return metrics


def guessing(outputs: Outputs, labels: NDArray[np.int64]) -> tuple[str, ...]:
    """A warning if the classes of the first output are no better than guesses (see ``numerics.guessing``)."""
    answers, classes = (scores := _class_scores(outputs, labels)).argmax(axis=1), scores.shape[1]
    level = chance_level(answers, labels, classes)
    if level is None:
        return ()
    same = f"; it answers class {answers[0]} for every sample" if (answers == answers[0]).all() else ""
    right = 100 * (answers == labels).mean()
    return (
        f"the model guesses: top-1 is {right:.1f} % of {len(labels)} samples, where guessing gives {100 * level:.1f} %"
        f"{same}; check mean, scale, channel_order and layout of the samples, and their labels",
    )


def _class_scores(outputs: Outputs, labels: NDArray[np.int64]) -> NDArray[Any]:
    """The first output as (samples, classes)."""
    whole = (item for item in outputs.items() if f"{item[0]}{_SHAPES}" not in outputs and _SHAPES not in item[0])
    name, scores = next(whole, (None, np.empty((0,))))
    scores = scores.reshape(len(labels), -1) if len(scores) == len(labels) else scores
    if scores.ndim != 2 or labels.max() >= scores.shape[1]:
        classes = scores.shape[1] if scores.ndim == 2 else 0
        msg = f"labels go up to {labels.max()}, but the first output ('{name}') has {classes} classes"
        raise InputError(msg)
    return scores


def comparison_metrics(reference: Mapping[str, NDArray[Any]], outputs: Outputs) -> dict[str, float]:
    """Of the first output ``sqnr_db``, ``cosine`` and, where it has classes, ``agreement`` in percent.

    ``expected_agreement`` is that which the margins between classes let expect, known better from few samples.

    With several outputs the SQNR of each follows as ``sqnr_db/<output>``. Outputs without values, or with other shapes
    than in the reference, are left out (see :func:`not_compared`).
    """
    names = _compared(reference, outputs)
    if not names:
        return {}
    first = names[0]
    metrics = {
        "sqnr_db": sqnr(reference[first], outputs[first]),
        "cosine": cosine_similarity(reference[first], outputs[first]),
    }
    classes = _classes_last(reference[first]), _classes_last(outputs[first])
    if classes[0].ndim > 1 and classes[0].shape[-1] > 1:
        metrics["agreement"] = 100 * agreement(*classes)
        metrics["expected_agreement"] = 100 * expected_agreement(*classes)
    if len(names) > 1:
        metrics |= {f"sqnr_db/{name}": sqnr(reference[name], outputs[name]) for name in names}
    return metrics


def not_compared(reference: Mapping[str, NDArray[Any]], outputs: Outputs) -> tuple[str, ...]:
    """A note for each output of real numbers that :func:`comparison_metrics` leaves out."""
    compared = _compared(reference, outputs)
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


def _compared(reference: Mapping[str, NDArray[Any]], outputs: Outputs) -> list[str]:
    def shapes(arrays: Mapping[str, NDArray[Any]], name: str) -> list[Any]:
        return [arrays[name].shape, arrays.get(f"{name}{_SHAPES}", np.empty(0)).tolist()]

    return [
        name
        for name, values in reference.items()
        if name in outputs
        and values.dtype.kind == "f"
        and values.size
        and shapes(reference, name) == shapes(outputs, name)
    ]


def _classes_last(values: NDArray[Any]) -> NDArray[Any]:
    """Images have their classes on axis 1, vectors and tokens on the last."""
    return np.moveaxis(values, 1, -1) if values.ndim >= 4 else values
