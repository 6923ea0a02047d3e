"""The outputs of a model on a data set, and what they are worth."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.algorithms.inference import Sample, compile_for_samples, infer, one_sample_at_a_time, whole_inputs
from tasks.errors import InputError
from tasks.graph.naming import output_names
from tasks.numerics.metrics import agreement, cosine_similarity, expected_agreement, sqnr, top_k

Outputs = dict[str, NDArray[Any]]


def compile_alone(model: ov.Model, whole: tuple[str, ...], threads: int | None = None) -> ov.CompiledModel:
    """Compile the model for one sample a request; ``whole`` are inputs without a batch axis."""
    return compile_for_samples(one_sample_at_a_time(model, whole), threads, as_deployed=True)


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


def collect_outputs(
    model: ov.Model, samples: Iterable[Sample], advance: Callable[[], None], threads: int | None = None
) -> tuple[Outputs, tuple[str, ...]]:
    """What :func:`stack` makes of the outputs of all samples."""
    return stack(collect_rows(model, samples, advance, lambda whole: compile_alone(model, whole, threads)))


def stack(rows: dict[str, list[NDArray[Any]]]) -> tuple[Outputs, tuple[str, ...]]:
    """Every output of shape (samples, ...), and a note for each that cannot be stacked; ``rows`` are used up.

    Outputs whose shape differs from sample to sample (detections, say) cannot be compared sample by sample.
    """
    stacked, notes = {}, []
    for name in tuple(rows):
        values = rows.pop(name)
        shapes = {value.shape for value in values}
        if len(shapes) > 1:
            notes.append(f"output '{name}' is not compared: its shape changes from sample to sample")
        else:
            # The batch axis of one sample becomes the axis of the samples.
            joined = np.concatenate(values) if values[0].ndim and values[0].shape[0] == 1 else np.stack(values)
            stacked[name] = joined
    return stacked, tuple(notes)


def sample_outputs(
    rows: Mapping[str, Sequence[NDArray[Any]]], place: int, aliases: Mapping[str, str]
) -> dict[str, NDArray[Any]]:
    """One sample's outputs without batch axes; the same again under their other names."""
    bare = {name: values[place] for name, values in rows.items()}
    bare = {name: value[0] if value.ndim and value.shape[0] == 1 else value for name, value in bare.items()}
    return bare | {alias: bare[name] for alias, name in aliases.items()}


def classification_metrics(outputs: Outputs, labels: NDArray[np.int64]) -> dict[str, float]:
    """``top1`` and, with more than five classes, ``top5`` of the first output, in percent."""
    name, scores = next(iter(outputs.items()), (None, np.empty((0,))))
    scores = scores.reshape(len(labels), -1) if len(scores) == len(labels) else scores
    if scores.ndim != 2 or labels.max() >= scores.shape[1]:
        classes = scores.shape[1] if scores.ndim == 2 else 0
        msg = f"labels go up to {labels.max()}, but the first output ('{name}') has {classes} classes"
        raise InputError(msg)
    metrics = {"top1": 100 * top_k(scores, labels, 1)}
    if scores.shape[1] > 5:
        metrics["top5"] = 100 * top_k(scores, labels, 5)
    return metrics


def comparison_metrics(reference: Mapping[str, NDArray[Any]], outputs: Outputs) -> dict[str, float]:
    """Of the first output ``sqnr_db``, ``cosine`` and, where it has classes, ``agreement`` in percent.

    ``expected_agreement`` is that which the margins between classes let expect, known better from few samples.

    With several outputs the SQNR of each follows as ``sqnr_db/<output>``. Outputs without values, or with other shapes
    than in the reference, are left out.
    """
    names = [name for name, values in reference.items() if name in outputs and _comparable(values, outputs[name])]
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


def _comparable(reference: NDArray[Any], values: NDArray[Any]) -> bool:
    return bool(np.issubdtype(reference.dtype, np.floating) and reference.shape == values.shape and values.size)


def _classes_last(values: NDArray[Any]) -> NDArray[Any]:
    """Images have their classes on axis 1, vectors and tokens on the last."""
    return np.moveaxis(values, 1, -1) if values.ndim >= 4 else values
