"""Evaluation: the outputs of a model on a data set, and metrics of them."""

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
from tasks.graph.naming import output_names
from tasks.graph.parts import show_parts
from tasks.numerics.guessing import chance_level
from tasks.numerics.metrics import sqnr, top_k

Outputs = dict[str, NDArray[Any]]
# The end of a name under which the shapes of an output are kept if samples have different ones.
SHAPES = "::shapes"
# Outputs of so many axes are images.
IMAGE_RANK = 4
# Least SQNR in dB between outputs of one model that differ by the rounding of other kernels only.
_SAME = 30.0


def compile_alone(
    model: ov.Model, whole: tuple[str, ...], threads: int | None = None, *, parts: bool = False
) -> ov.CompiledModel:
    """The model, compiled for one sample per request.

    Args:
        model: The model.
        whole: Names of the inputs without a batch axis.
        threads: Number of threads; None for all that the process may use.
        parts: Whether the outputs are the parts by which they are compared (:mod:`tasks.graph.parts`).
    """
    alone = one_sample_at_a_time(model, whole)
    return compile_for_samples(show_parts(alone) if parts else alone, threads, as_deployed=True)


def collect_rows(
    model: ov.Model,
    samples: Iterable[Sample],
    advance: Callable[[], None],
    compiled: Callable[[tuple[str, ...]], ov.CompiledModel],
    names: Sequence[str] | None = None,
) -> dict[str, list[NDArray[Any]]]:
    """By output, its array for each sample, in the order of the samples, with the batch axis where it has one.

    Args:
        model: The model.
        samples: The samples, at least one.
        advance: Called after each sample.
        compiled: Gives the compiled model (:func:`compile_alone`) for the names of the inputs without a batch axis.
        names: Names of its outputs; None for those of the model.
    """
    remaining = iter(samples)
    first = next(remaining)
    rows: dict[int, list[NDArray[Any]]] = {}

    def receive(index: int, outputs: list[NDArray[Any]]) -> None:
        rows[index] = [np.array(output) for output in outputs]
        advance()

    count = infer(compiled(whole_inputs(model, first)), chain([first], remaining), receive, spare=1)
    named = enumerate(output_names(model) if names is None else names)
    return {name: [rows[index][position] for index in range(count)] for position, name in named}


def written_otherwise(
    model: ov.Model, sample: Iterable[Sample], outputs: Mapping[str, NDArray[Any]]
) -> tuple[str, ...]:
    """A note for each output that OpenVINO computes differently with the model's dynamic axes than with a batch of 1.

    A model without dynamic axes is what was evaluated: nothing is read or inferred for it.

    Args:
        model: The model as it is written.
        sample: One sample.
        outputs: Outputs of this sample with a batch of 1, by name.
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
    """All outputs of all samples, and notes, as :func:`stack` gives them.

    Args:
        model: The model.
        samples: The samples, at least one.
        advance: Called after each sample.
        threads: Number of threads; None for all that the process may use.

    Example:
        >>> from openvino import opset13 as ops
        >>> data = ops.parameter([-1, 2], name="data")
        >>> relu = ops.relu(data)
        >>> relu.output(0).set_names({"positive"})
        >>> model = ov.Model([relu], [data])
        >>> samples = [{"data": np.float32([-1, 2])}, {"data": np.float32([3, -4])}]
        >>> outputs, notes = collect_outputs(model, samples, lambda: None)
        >>> outputs["positive"].tolist()
        [[0.0, 2.0], [3.0, 0.0]]
    """
    return stack(collect_rows(model, samples, advance, lambda whole: compile_alone(model, whole, threads)))


def stack(rows: dict[str, list[NDArray[Any]]]) -> tuple[Outputs, tuple[str, ...]]:
    """Every output of shape (samples, ...), by name, and a note for each that cannot be stacked.

    A real output whose lengths differ from sample to sample (tokens, images of any size) becomes (places, classes),
    with the places of all samples one below the other, or (numbers, 1) if the classes differ too. Its shapes are kept
    beside it, since only outputs of the same shapes can be compared.

    Args:
        rows: By output, its array for each sample; emptied, to save memory.
    """
    stacked, notes = {}, []
    for name in tuple(rows):
        values = rows.pop(name)
        if len({value.shape for value in values}) == 1:
            # The batch axis of one sample becomes the axis of the samples.
            joined = np.concatenate(values) if values[0].ndim and values[0].shape[0] == 1 else np.stack(values)
            stacked[name] = joined
        elif values[0].dtype.kind == "f" and len({value.ndim for value in values}) == 1:
            stacked |= {name: _places(values), f"{name}{SHAPES}": np.array([value.shape for value in values])}
        else:
            notes.append(f"output '{name}' is not compared: its shape changes from sample to sample")
    return stacked, tuple(notes)


def _places(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The values of all samples, (places, classes)."""
    turned = [classes_last(value) for value in values]
    widths = {value.shape[-1] for value in turned}
    width = max(widths.pop(), 1) if len(widths) == 1 else 1
    return np.concatenate([value.reshape(-1, width) for value in turned])


def sample_outputs(
    rows: Mapping[str, Sequence[NDArray[Any]]], place: int, aliases: Mapping[str, str]
) -> dict[str, NDArray[Any]]:
    """The outputs of one sample without batch axes, by each of their names.

    Args:
        rows: By output, its array for each sample.
        place: Number of the sample.
        aliases: Other names of outputs, each with the name in ``rows``.
    """
    bare = {name: values[place] for name, values in rows.items()}
    bare = {name: value[0] if value.ndim and value.shape[0] == 1 else value for name, value in bare.items()}
    return bare | {alias: bare[name] for alias, name in aliases.items()}


def classification_metrics(outputs: Outputs, labels: NDArray[np.int64]) -> dict[str, float]:
    """The accuracies ``top1`` and, with more than five classes, ``top5`` of the first output, in percent.

    Args:
        outputs: Outputs by name, (samples, ...).
        labels: Class of each sample, (samples,), int64.

    Raises:
        InputError: A label is no class of the output.
    """
    scores = _class_scores(outputs, labels)
    metrics = {"top1": 100 * top_k(scores, labels, 1)}
    if scores.shape[1] > 5:
        metrics["top5"] = 100 * top_k(scores, labels, 5)
    return metrics


def guessing(outputs: Outputs, labels: NDArray[np.int64]) -> tuple[str, ...]:
    """A warning if the classes of the first output are no better than guesses (see ``numerics.guessing``).

    Args:
        outputs: Outputs by name, (samples, ...).
        labels: Class of each sample, (samples,), int64.
    """
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
    whole = (item for item in outputs.items() if f"{item[0]}{SHAPES}" not in outputs and SHAPES not in item[0])
    name, scores = next(whole, (None, np.empty((0,))))
    scores = scores.reshape(len(labels), -1) if len(scores) == len(labels) else scores
    if scores.ndim != 2 or labels.max() >= scores.shape[1]:
        classes = scores.shape[1] if scores.ndim == 2 else 0
        msg = f"labels go up to {labels.max()}, but the first output ('{name}') has {classes} classes"
        raise InputError(msg)
    return scores


def classes_last(values: NDArray[Any]) -> NDArray[Any]:
    """The values with their classes on the last axis: images have them on axis 1, vectors and tokens on the last.

    Args:
        values: Output of all samples, (samples, ...), or of one.
    """
    return np.moveaxis(values, 1, -1) if values.ndim >= IMAGE_RANK else values
