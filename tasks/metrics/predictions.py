"""Adapters: from a model's outputs for one sample to a prediction, with Accuracy Checker's names and options."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.data.callables import call
from tasks.data.operations import Sizes
from tasks.errors import InputError, did_you_mean
from tasks.metrics.yolo import Yolo, YoloV2, decode_yolo, decode_yolo_v2
from tasks.numerics.activations import softmax
from tasks.numerics.detections import Detections

Array = NDArray[Any]
Outputs = Mapping[str, Array]
Prediction = Array | Detections


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Scores, one per class; with ``argmax_output`` the output is the class itself."""

    type: Literal["classification"] = "classification"
    classification_output: str | None = None
    argmax_output: bool = False
    do_softmax: bool = False


@dataclass(frozen=True, kw_only=True)
class Ssd:
    """Rows ``image, class, score, x_min, y_min, x_max, y_max`` up to the first image -1; coordinates from 0 to 1."""

    type: Literal["ssd"] = "ssd"
    output: str | None = None


@dataclass(frozen=True, kw_only=True)
class Regression:
    """The values of the output as they are."""

    type: Literal["regression"] = "regression"
    output: str | None = None


@dataclass(frozen=True, kw_only=True)
class ImageProcessing:
    """An image, (height, width, channels): values times ``std`` plus ``mean``, rounded down to uint8 if wanted."""

    type: Literal["image_processing"] = "image_processing"
    output: str | None = None
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 255.0
    reverse_channels: bool = False
    cast_to_uint8: bool = True


@dataclass(frozen=True, kw_only=True)
class CallAdapter:
    """A user's function: ``f(outputs)`` takes arrays by name, without batch axes.

    It returns an array, or for detection a dictionary with ``labels`` (n,), ``scores`` (n,) and ``boxes`` (n, 4).
    """

    path: str
    type: Literal["callable"] = "callable"


Adapter = Classification | Ssd | Yolo | YoloV2 | Regression | ImageProcessing | CallAdapter


def predict(adapter: Adapter, outputs: Outputs, sizes: Sizes) -> Prediction:  # noqa: PLR0911 - one an adapter
    """The prediction for one sample: an array or detections.

    Args:
        adapter: How to read the outputs.
        outputs: Arrays by the names of outputs, without batch axes.
        sizes: Sizes of the sample's image.

    Raises:
        InputError: An output is missing, or its shape does not fit the adapter.
    """
    match adapter:
        case Classification(classification_output=name):
            return _scores(adapter, choose_output(outputs, name).reshape(-1))
        case Ssd(output=name):
            return _ssd(choose_output(outputs, name))
        case Yolo(outputs=names):
            return decode_yolo(adapter, [choose_output(outputs, name) for name in names], sizes.fed)
        case YoloV2(output=name):
            return decode_yolo_v2(adapter, choose_output(outputs, name))
        case Regression(output=name):
            return choose_output(outputs, name)
        case ImageProcessing(output=name):
            return _image(adapter, choose_output(outputs, name))
        case CallAdapter(path=path):
            result = call(path, "adapter", dict(outputs))
            return as_detections(result, path) if isinstance(result, dict) else _checked(result, path)


def choose_output(outputs: Outputs, name: str | None) -> Array:
    """The output of that name, or the first output.

    Args:
        outputs: Arrays by the names of outputs.
        name: Name of an output, where ``:0`` at the end may be left out; None takes the first.

    Raises:
        InputError: There is no such output.
    """
    if name is None:
        return next(iter(outputs.values()))
    bare = {key.rpartition(":")[0] if key.rpartition(":")[2].isdigit() else key: key for key in outputs}
    if name not in outputs and name not in bare:
        raise InputError(f"the model has no output {name!r}; it has {', '.join(outputs)}.{did_you_mean(name, outputs)}")
    return outputs[name if name in outputs else bare[name]]


def as_detections(result: Mapping[str, Any], path: str) -> Detections:
    """The detections in a dictionary that a user's function returned.

    Args:
        result: ``labels`` (n,), ``scores`` (n,) and ``boxes`` (n, 4).
        path: Dotted path of the function, for messages.

    Raises:
        InputError: Keys, shapes or dtypes differ from these.
    """
    wanted = ("labels", "scores", "boxes")
    if set(result) != set(wanted):
        raise InputError(f"{path} returned keys {', '.join(map(str, result))}; expected {', '.join(wanted)}.")
    try:
        labels, scores, boxes = (np.asarray(result[key]) for key in wanted)
    except ValueError as failure:  # rows of different lengths
        raise InputError(f"{path} returned {failure}; expected arrays of numbers.") from failure
    if any(values.dtype.kind not in "biuf" for values in (labels, scores, boxes)):
        raise InputError(f"{path} returned {labels.dtype}, {scores.dtype} and {boxes.dtype}; expected numbers.")
    if labels.ndim != 1 or scores.shape != labels.shape or boxes.shape != (len(labels), 4):
        raise InputError(
            f"{path} returned labels {labels.shape}, scores {scores.shape} and boxes {boxes.shape};"
            " expected (n,), (n,) and (n, 4)."
        )
    return Detections(labels.astype(np.int64), scores.astype(np.float64), boxes.astype(np.float64))


def _scores(adapter: Classification, scores: Array) -> Array:
    if adapter.argmax_output:
        return np.asarray(scores[:1], np.int64)
    if adapter.do_softmax:
        return softmax(scores)
    return scores


def _ssd(output: Array) -> Detections:
    if output.shape[-1] != 7:
        raise InputError(f"adapter ssd: the output has shape {list(output.shape)}; expected rows of 7 numbers.")
    rows = output.reshape(-1, 7).astype(np.float64)
    ends = np.flatnonzero(rows[:, 0] == -1)
    rows = rows[: ends[0]] if ends.size else rows
    return Detections(rows[:, 1].astype(np.int64), rows[:, 2], rows[:, 3:])


def _image(adapter: ImageProcessing, output: Array) -> Array:
    image = output.transpose(1, 2, 0) if output.ndim == 3 and output.shape[0] in (1, 3) else output
    shape = list(output.shape)
    if not np.isfinite(image).all():
        raise InputError(f"adapter image_processing: the output {shape} holds NaN or infinite values.")
    if adapter.reverse_channels and image.ndim != 3:
        raise InputError(f"adapter image_processing: reverse_channels needs an output of three axes, it has {shape}.")
    for name, numbers in (("mean", adapter.mean), ("std", adapter.std)):
        if isinstance(numbers, tuple) and len(numbers) not in (1, *image.shape[2:]):
            raise InputError(
                f"adapter image_processing: {name} has {len(numbers)} numbers;"
                f" expected one, or one for each channel of the output {shape}."
            )
    image = image[:, :, ::-1] if adapter.reverse_channels else image
    image = image * np.asarray(adapter.std) + np.asarray(adapter.mean)
    return np.asarray(np.clip(image, 0, 255), np.uint8) if adapter.cast_to_uint8 else np.asarray(image)


def _checked(result: Any, path: str) -> Array:
    if not isinstance(result, np.ndarray) or result.dtype.kind not in "biuf":
        raise InputError(f"{path} returned {type(result).__name__}; expected an array of numbers or a dictionary.")
    return result
