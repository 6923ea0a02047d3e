"""The size to which an image is resized so that it keeps its aspect ratio, rounded as in Accuracy Checker."""

from collections.abc import Callable
from typing import Literal

import numpy as np

Shape = tuple[int, int]
AspectRatio = Literal[
    "width",
    "height",
    "greater",
    "fit_to_window",
    "frcnn_keep_aspect_ratio",
    "ctpn_keep_aspect_ratio",
    "min_ratio",
    "mask_rcnn_benchmark_aspect_ratio",
]


def scaled_shape(scale: AspectRatio, wanted: Shape, image: Shape) -> Shape:
    """The height and width to resize to, in pixels.

    Args:
        scale: The rule, by Accuracy Checker's name.
        wanted: Height and width that the options give.
        image: Height and width of the image.
    """
    return _SCALES[scale](*wanted, *image)


def _by_width(height: int, width: int, image_height: int, image_width: int) -> Shape:
    return height, int(width * image_width / image_height)


def _by_height(height: int, width: int, image_height: int, image_width: int) -> Shape:
    return int(height * image_height / image_width), width


def _greater(height: int, width: int, image_height: int, image_width: int) -> Shape:
    scale = _by_height if image_height > image_width else _by_width
    return scale(height, width, image_height, image_width)


def _fit_to_window(height: int, width: int, image_height: int, image_width: int) -> Shape:
    scale = min(height / image_height, width / image_width)
    return int(scale * image_height), int(scale * image_width)


def _frcnn(height: int, width: int, image_height: int, image_width: int) -> Shape:
    least, most = min(height, width), max(height, width)
    scaled = _greater(least, least, image_height, image_width)
    return scaled if max(scaled) <= most else _fit_to_window(most, most, image_height, image_width)


def _ctpn(height: int, width: int, image_height: int, image_width: int) -> Shape:
    scale = min(height, width) / min(image_height, image_width)
    if np.round(scale * max(image_height, image_width)) > max(height, width):
        scale = max(height, width) / max(image_height, image_width)
    return int(np.round(image_height * scale)), int(np.round(image_width * scale))


def _min_ratio(height: int, width: int, image_height: int, image_width: int) -> Shape:
    ratio = min(image_height / height, image_width / width)
    return int(image_height / ratio), int(image_width / ratio)


def _mask_rcnn(height: int, width: int, image_height: int, image_width: int) -> Shape:
    ratio = min(height, width) / min(image_height, image_width)
    return int(image_height * ratio), int(image_width * ratio)


_SCALES: dict[str, Callable[[int, int, int, int], Shape]] = {
    "width": _by_width,
    "height": _by_height,
    "greater": _greater,
    "fit_to_window": _fit_to_window,
    "frcnn_keep_aspect_ratio": _frcnn,
    "ctpn_keep_aspect_ratio": _ctpn,
    "min_ratio": _min_ratio,
    "mask_rcnn_benchmark_aspect_ratio": _mask_rcnn,
}
