"""Metrics of a model on annotated samples, with the names and options of Accuracy Checker's metrics.

A user's own function, for example in ``my_metrics.py`` in the working directory::

    def within_one(predictions, annotations):
        return float(np.mean([abs(p.argmax() - label) <= 1 for p, label in zip(predictions, annotations.labels)]))

    ptq-evaluate ... evaluation.metrics=[{type:callable,path:my_metrics.within_one}]
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.data.annotations import Annotations, Boxes
from tasks.data.callables import call, load_callable
from tasks.data.operations import Sizes
from tasks.errors import InputError
from tasks.metrics.boxes import Postprocessor, postprocess, step_problem
from tasks.metrics.detection import Coco, MeanAveragePrecision, coco, coco_thresholds, mean_average_precision
from tasks.metrics.differences import Difference, Error, Psnr, Ssim, differences, structural_similarity
from tasks.metrics.predictions import Adapter, Classification, Outputs, Prediction, predict
from tasks.metrics.yolo import Yolo, YoloV2, grid_problem
from tasks.numerics.detections import Detections
from tasks.numerics.metrics import top_k

Array = NDArray[Any]
# Names that reports use for their own figures.
RESERVED = (
    *("top1", "top5", "sqnr_db", "cosine", "agreement", "expected_agreement"),
    *("latency_ms", "throughput_fps"),
)


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The share of samples whose class is among the ``top_k`` largest scores, in all or per class."""

    type: Literal["accuracy", "accuracy_per_class"] = "accuracy"
    name: str | None = None
    top_k: int = 1


@dataclass(frozen=True, kw_only=True)
class F1Score:
    """The F1 score of the class ``pos_label``, or of each class and their mean."""

    type: Literal["f1-score", "classification_f1-score"] = "f1-score"
    name: str | None = None
    pos_label: int | None = None


@dataclass(frozen=True, kw_only=True)
class CallMetric:
    """A user's function: ``f(predictions, annotations)`` returns a number or a dictionary of numbers.

    ``predictions`` holds what the adapter made of each sample; ``annotations`` is
    :class:`tasks.data.annotations.Annotations`.
    """

    path: str
    type: Literal["callable"] = "callable"
    name: str | None = None


Metric = Accuracy | F1Score | MeanAveragePrecision | Coco | Difference | CallMetric


@dataclass(frozen=True)
class Scoring:
    """From outputs to metrics: an adapter reads the outputs, boxes are postprocessed, each metric is computed."""

    adapter: Adapter = field(default_factory=Classification)
    postprocessing: tuple[Postprocessor, ...] = ()
    metrics: tuple[Metric, ...] = ()

    def callables(self) -> Iterator[str]:
        """The dotted paths of the user's functions."""
        for part in (self.adapter, *self.postprocessing, *self.metrics):
            if part.type == "callable":
                yield part.path


def metric_name(metric: Metric) -> str:
    """The name of a metric in reports.

    Args:
        metric: The metric.
    """
    return metric.name or (metric.path.rpartition(".")[2] if isinstance(metric, CallMetric) else metric.type)


def out_of_range(scoring: Scoring) -> Iterator[tuple[str, str]]:
    """The options without meaning: pairs of their place and the problem.

    Args:
        scoring: How outputs become metrics.
    """
    if isinstance(scoring.adapter, Yolo | YoloV2) and (problem := grid_problem(scoring.adapter)):
        yield "adapter", problem
    for place, step in enumerate(scoring.postprocessing):
        if problem := step_problem(step):
            yield f"postprocessing.{place}", problem
    for place, metric in enumerate(scoring.metrics):
        if problem := _problem(metric):
            yield f"metrics.{place}", problem


def _problem(metric: Metric) -> str | None:
    match metric:
        case Accuracy(top_k=count) if count < 1:
            return f"top_k {count}; expected at least 1"
        case MeanAveragePrecision(overlap_threshold=share) if not 0 < share <= 1:
            return f"overlap_threshold {share}; expected above 0 and up to 1"
        case Coco(max_detections=count) if count < 1:
            return f"max_detections {count}; expected at least 1"
        case Psnr(scale_border=border) if border < 0:
            return f"scale_border {border}; expected at least 0"
    return None


def check_scoring(scoring: Scoring, annotations: Annotations) -> None:
    """Check that metrics can be computed.

    Args:
        scoring: How outputs become metrics.
        annotations: Annotations of the samples.

    Raises:
        InputError: Metrics share a name, lack a function or a library, or need annotations that are missing.
    """
    names = [metric_name(metric) for metric in scoring.metrics]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"metrics: {twice[0]!r} twice; give each a name of its own.")
    if taken := [name for name in names if name.partition("/")[0] in RESERVED]:
        raise InputError(f"metrics: {taken[0]!r} is a figure of every report; give the metric another name.")
    for place, problem in out_of_range(scoring):
        raise InputError(f"{place}: {problem}.")
    for path in scoring.callables():
        load_callable(path, "function")
    for metric in scoring.metrics:
        needed, there = _needed(metric, annotations)
        if not there:
            raise InputError(f"metrics: {metric_name(metric)} needs {needed}; the samples' annotations have none.")
        if isinstance(metric, Coco):
            coco_thresholds(metric.threshold)
        if isinstance(metric, Ssim):
            structural_similarity()


def score(
    scoring: Scoring, outputs: Sequence[Outputs], annotations: Annotations, sizes: Sequence[Sizes]
) -> dict[str, float]:
    """Every metric by its name; ``name/class`` for the values of classes and ``name@std`` for standard deviations.

    Args:
        scoring: How outputs become metrics.
        outputs: Outputs of each sample by name, without batch axes.
        annotations: What is known of the samples.
        sizes: Sizes of each sample's image.

    Raises:
        InputError: Metrics cannot be computed (see :func:`check_scoring`), or outputs do not fit.
    """
    check_scoring(scoring, annotations)
    predictions = [predict(scoring.adapter, each, size) for each, size in zip(outputs, sizes, strict=True)]
    known = annotations.boxes or ()
    if known:
        _require_detections(scoring, predictions)
        pairs = [
            postprocess(found, boxes, scoring.postprocessing, size)
            for found, boxes, size in zip(predictions, known, sizes, strict=True)
            if isinstance(found, Detections)
        ]
        predictions, known = [found for found, _ in pairs], tuple(boxes for _, boxes in pairs)
    values: dict[str, float] = {}
    for metric in scoring.metrics:
        for suffix, value in _evaluate(metric, predictions, annotations, known).items():
            name = metric_name(metric) + suffix
            if name in values:
                raise InputError(f"metrics: {name!r} twice; give each metric a name of its own.")
            values[name] = value
    return values


def _needed(metric: Metric, annotations: Annotations) -> tuple[str, bool]:
    match metric:
        case Accuracy() | F1Score():
            return "classes", annotations.labels is not None
        case MeanAveragePrecision() | Coco():
            return "boxes", annotations.boxes is not None
        case Error() | Psnr() | Ssim():
            return "values to be predicted", annotations.targets is not None
        case CallMetric():
            return "", True


def _require_detections(scoring: Scoring, predictions: Sequence[Prediction]) -> None:
    if not all(isinstance(found, Detections) for found in predictions):
        raise InputError(
            f"adapter {scoring.adapter.type} finds no boxes, which the samples' annotations have; try ssd."
        )


def _evaluate(
    metric: Metric, predictions: Sequence[Prediction], annotations: Annotations, known: Sequence[Boxes]
) -> dict[str, float]:
    """The values of a metric, by what is appended to its name."""
    classes = _classes(annotations)
    match metric:
        case Accuracy():
            return _accuracy(metric, _scores(predictions), _labels(annotations), classes)
        case F1Score():
            return _f1(metric, _scores(predictions), _labels(annotations), classes)
        case MeanAveragePrecision():
            return _per_class(mean_average_precision(metric, _found(predictions), known, list(classes)), classes)
        case Coco():
            return _per_class(coco(metric, _found(predictions), known, list(classes)), classes)
        case Error() | Psnr() | Ssim():
            return differences(metric, predictions, annotations)
        case CallMetric(path=path):
            return _called(path, predictions, annotations)


def _labels(annotations: Annotations) -> NDArray[np.int64]:
    assert annotations.labels is not None  # noqa: S101 - check_scoring has checked it
    return annotations.labels


def _found(predictions: Sequence[Prediction]) -> list[Detections]:
    return [each for each in predictions if isinstance(each, Detections)]


def _classes(annotations: Annotations) -> Mapping[int, str]:
    """The names of the classes that are no background; without names, the classes that occur."""
    if annotations.classes:
        return {label: name for label, name in annotations.classes.items() if label != annotations.background}
    occurring = [annotations.labels] if annotations.labels is not None else []
    occurring += [boxes.labels for boxes in annotations.boxes or ()]
    return {int(label): str(label) for label in np.unique(np.concatenate(occurring))} if occurring else {}


def _scores(predictions: Sequence[Prediction]) -> Array:
    """The scores, (samples, classes), or the predicted classes, (samples, 1)."""
    lengths = {each.size for each in predictions if isinstance(each, np.ndarray)}
    if len(lengths) != 1 or any(isinstance(each, Detections) for each in predictions):
        raise InputError("metrics of classes need one score a class from every sample; try the adapter classification.")
    return np.stack([each.reshape(-1) for each in predictions if isinstance(each, np.ndarray)])


def _hits(scores: Array, labels: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Whether the class of each sample is found, (samples,)."""
    if scores.dtype.kind in "iu" and scores.shape[1] == 1:
        return np.asarray(scores[:, 0] == labels)
    if labels.max() >= scores.shape[1]:
        raise InputError(f"labels go up to {labels.max()}, but the output has {scores.shape[1]} classes.")
    return np.array([top_k(row[None], labels[place][None], k) == 1 for place, row in enumerate(scores)])


def _accuracy(
    metric: Accuracy, scores: Array, labels: NDArray[np.int64], classes: Mapping[int, str]
) -> dict[str, float]:
    hits = _hits(scores, labels, metric.top_k)
    if metric.type == "accuracy":
        return {"": float(hits.mean())}
    return _per_class({int(label): float(hits[labels == label].mean()) for label in np.unique(labels)}, classes)


def _f1(metric: F1Score, scores: Array, labels: NDArray[np.int64], classes: Mapping[int, str]) -> dict[str, float]:
    from sklearn.metrics import f1_score  # noqa: PLC0415 - takes a second

    predicted = scores[:, 0] if scores.dtype.kind in "iu" and scores.shape[1] == 1 else scores.argmax(axis=1)
    occurring = [int(label) for label in np.unique(np.concatenate([labels, predicted]))]
    values = f1_score(labels, predicted, labels=occurring, average=None, zero_division=0)
    by_class = dict(zip(occurring, map(float, values), strict=True))
    if metric.pos_label is None:
        return _per_class(by_class, classes)
    return {"": by_class.get(metric.pos_label, 0.0)}


def _per_class(values: Mapping[int, float], classes: Mapping[int, str]) -> dict[str, float]:
    """The mean, then each class by its name; 0 if nothing is annotated, as in Accuracy Checker."""
    mean = float(np.mean(list(values.values()))) if values else 0.0
    names = {label: classes.get(label, str(label)) for label in values}
    shared = {name for name, count in Counter(names.values()).items() if count > 1}
    named = {label: f"{name} ({label})" if name in shared else name for label, name in names.items()}
    return {"": mean, **{f"/{named[label]}": value for label, value in values.items()}}


def _called(path: str, predictions: Sequence[Prediction], annotations: Annotations) -> dict[str, float]:
    result = call(path, "metric", predictions, annotations)
    named = {f"/{name}": value for name, value in result.items()} if isinstance(result, dict) else {"": result}
    for value in named.values():
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not np.isfinite(value):
            raise InputError(f"{path} returned {value!r}; expected a finite number, or a dictionary of such.")
    return {name: float(value) for name, value in named.items()}
