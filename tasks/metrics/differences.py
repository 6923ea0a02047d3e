"""Metrics of predicted values against annotated ones: errors, and the quality of images."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.data.annotations import Annotations
from tasks.errors import InputError
from tasks.metrics.predictions import Prediction

Array = NDArray[Any]
# Luma of BT.601 in video range: Accuracy Checker's weights of red, green and blue.
_LUMA = np.array([65.738, 129.057, 25.064]) / 256


@dataclass(frozen=True, kw_only=True)
class Error:
    """The mean squared error of a sample, its root, or the mean absolute error."""

    type: Literal["mse", "rmse", "mae"] = "mse"
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Psnr:
    """Peak signal-to-noise ratio in dB.

    Attributes:
        name: Name in reports; None stands for the type.
        scale_border: Pixels to leave out at each side.
        color_order: Order of three channels, whose luma is compared.
        normalized_images: Whether the peak is 1, not 255.
    """

    type: Literal["psnr"] = "psnr"
    name: str | None = None
    scale_border: int = 4
    color_order: Literal["RGB", "BGR"] = "RGB"
    normalized_images: bool = False


@dataclass(frozen=True, kw_only=True)
class Ssim:
    """Structural similarity as scikit-image computes it; needs the extra ``ssim``."""

    type: Literal["ssim"] = "ssim"
    name: str | None = None


Difference = Error | Psnr | Ssim


def differences(metric: Difference, predictions: Sequence[Prediction], annotations: Annotations) -> dict[str, float]:
    """The mean over samples, under the key "", and if all values are finite their standard deviation, under "@std".

    Args:
        metric: The metric of each sample.
        predictions: What the model predicts for each sample.
        annotations: What is to be predicted, and the names of the samples.

    Raises:
        InputError: Shapes differ, except for axes of length 1, or values are not finite.
    """
    values = []
    for name, found, target in zip(annotations.names, predictions, annotations.targets or (), strict=True):
        if not isinstance(found, np.ndarray) or found.squeeze().shape != target.squeeze().shape:
            shape = found.shape if isinstance(found, np.ndarray) else "boxes"
            raise InputError(f"{name}: the model predicts {shape}, the annotation has {target.shape}.")
        if not (np.isfinite(found).all() and np.isfinite(target).all()):
            raise InputError(f"{name}: the prediction or the annotation holds NaN or infinite values.")
        values.append(_difference(metric)(target.squeeze().astype(np.float64), found.squeeze().astype(np.float64)))
    spread = {"@std": float(np.std(values))} if np.isfinite(values).all() else {}
    return {"": float(np.mean(values)), **spread}


def _difference(metric: Difference) -> Callable[[Array, Array], float]:
    if isinstance(metric, Psnr):
        return lambda target, found: _psnr(metric, target, found)
    if isinstance(metric, Ssim):
        similarity = structural_similarity()
        return lambda target, found: float(
            similarity(target, found, data_range=255, channel_axis=-1 if target.ndim == 3 else None)
        )
    from sklearn import metrics  # noqa: PLC0415 - takes a second

    function = {
        "mse": metrics.mean_squared_error,
        "rmse": metrics.root_mean_squared_error,
        "mae": metrics.mean_absolute_error,
    }[metric.type]
    return lambda target, found: float(function(target.reshape(-1), found.reshape(-1)))


def _psnr(metric: Psnr, target: Array, found: Array) -> float:
    border = metric.scale_border
    if target.ndim < 2 or min(target.shape[:2]) <= 2 * border:
        shape = " x ".join(map(str, target.shape))
        raise InputError(f"metric psnr: values of {shape}; expected an image beyond a border of {border} pixels.")
    inner = slice(border, -border or None)
    target, found = target[inner, inner], found[inner, inner]
    if target.ndim == 3 and target.shape[2] == 3:
        weights = _LUMA if metric.color_order == "RGB" else _LUMA[::-1]
        target, found = target @ weights, found @ weights
    if np.array_equal(target, found):
        return math.inf
    return float(cv2.PSNR(target, found, 1.0 if metric.normalized_images else 255.0))


def structural_similarity() -> Callable[..., Any]:
    """The function of scikit-image.

    Raises:
        InputError: scikit-image is not installed.
    """
    try:
        from skimage.metrics import structural_similarity  # noqa: PLC0415 - an extra
    except ImportError as failure:
        raise InputError("metric ssim needs scikit-image; install it with: pip install scikit-image") from failure
    return structural_similarity  # type: ignore[no-any-return]
