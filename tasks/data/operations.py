"""Operations on images as in Accuracy Checker, in any order, with equal pixels to the bit.

Names, options, defaults, rounding and element types are those of its preprocessors: ``resize`` gives float32,
``normalization`` computes in float64. Images are arrays (height, width, channels) as a reader gives them.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.data.aspect_ratio import AspectRatio, Shape, scaled_shape
from tasks.data.callables import call, load_callable
from tasks.errors import InputError

Array = NDArray[Any]
Numbers = float | tuple[float, ...] | Literal["imagenet", "cifar10"] | None
Library = Literal["opencv", "pillow"]
Interpolation = Literal[
    "NEAREST", "LINEAR", "BILINEAR", "CUBIC", "BICUBIC", "AREA", "LANCZOS4", "BOX", "LANCZOS", "ANTIALIAS", "HAMMING"
]
FLAGS: dict[str, dict[str, int]] = {
    "opencv": {
        "NEAREST": cv2.INTER_NEAREST,
        "LINEAR": cv2.INTER_LINEAR,
        "BILINEAR": cv2.INTER_LINEAR,
        "CUBIC": cv2.INTER_CUBIC,
        "BICUBIC": cv2.INTER_CUBIC,
        "AREA": cv2.INTER_AREA,
        "LANCZOS4": cv2.INTER_LANCZOS4,
    },
    "pillow": {
        "NEAREST": Image.Resampling.NEAREST,
        "LINEAR": Image.Resampling.BILINEAR,
        "BILINEAR": Image.Resampling.BILINEAR,
        "CUBIC": Image.Resampling.BICUBIC,
        "BICUBIC": Image.Resampling.BICUBIC,
        "BOX": Image.Resampling.BOX,
        "LANCZOS": Image.Resampling.LANCZOS,
        "ANTIALIAS": Image.Resampling.LANCZOS,
        "HAMMING": Image.Resampling.HAMMING,
    },
}
# Numbers with a name in Accuracy Checker, in BGR; the same names for mean and std.
KNOWN_NUMBERS = {
    "imagenet": (104.00698793, 116.66876762, 122.67891434),
    "cifar10": (125.307, 122.961, 113.8575),
}


@dataclass(frozen=True, kw_only=True)
class Sized:
    """A size in pixels: ``size`` for both sides, or ``dst_width`` and ``dst_height``."""

    size: int | None = None
    dst_width: int | None = None
    dst_height: int | None = None

    @property
    def shape(self) -> Shape | None:
        """The height and width; None unless both are given."""
        height, width = self.size or self.dst_height, self.size or self.dst_width
        return (height, width) if height and width else None


@dataclass(frozen=True, kw_only=True)
class Resize(Sized):
    """Resize to the size, or to what ``aspect_ratio_scale`` makes of it.

    With ``factor`` sides are reduced to its multiples, plus 1 unless ``include_boundary``.
    """

    type: Literal["resize"] = "resize"
    aspect_ratio_scale: AspectRatio | None = None
    interpolation: Interpolation = "LINEAR"
    use_pillow: bool = False
    resize_realization: Library | None = None
    factor: int | None = None
    include_boundary: bool = False

    @property
    def library(self) -> Library:
        """The library that resizes."""
        return self.resize_realization or ("pillow" if self.use_pillow else "opencv")


@dataclass(frozen=True, kw_only=True)
class Crop(Sized):
    """Cut out the middle: the size, a ``central_fraction`` of both sides (rounded down), or the largest square.

    An image smaller than the size is enlarged first.
    """

    type: Literal["crop"] = "crop"
    central_fraction: float | None = None
    max_square: bool = False
    use_pillow: bool = False


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """``(values - mean) / std`` in float64: one number, one per channel, or those known as imagenet or cifar10."""

    type: Literal["normalization"] = "normalization"
    mean: Numbers = None
    std: Numbers = None


@dataclass(frozen=True, kw_only=True)
class SwapChannels:
    """Exchange the first and the last of three channels; both names do the same."""

    type: Literal["bgr_to_rgb", "rgb_to_bgr"] = "bgr_to_rgb"


@dataclass(frozen=True, kw_only=True)
class ToGray:
    """Reduce three channels to their luma, float32 unless ``cast_to_float`` is false."""

    type: Literal["bgr_to_gray", "rgb_to_gray"] = "bgr_to_gray"
    cast_to_float: bool = True


@dataclass(frozen=True, kw_only=True)
class CallOnImage:
    """A user's function, ``f(image) -> image``: arrays of numbers with two or three axes."""

    path: str
    type: Literal["callable"] = "callable"


Operation = Resize | Crop | Normalization | SwapChannels | ToGray | CallOnImage


@dataclass(frozen=True)
class Sizes:
    """The height and width of one image: as stored, after the last ``resize``, and as the model reads it."""

    stored: Shape
    resized: Shape
    fed: Shape


def check_operations(operations: tuple[Operation, ...]) -> None:
    """Check the options of operations.

    Args:
        operations: What to do with an image, in order.

    Raises:
        InputError: Options are out of range or contradict each other; the message has the place in the list.
    """
    for place, operation in enumerate(operations):
        if problem := _problem(operation):
            raise InputError(f"preprocessing.{place} ({operation.type}): {problem}")


def _problem(operation: Operation) -> str | None:  # noqa: PLR0911 - one a problem
    match operation:
        case Resize(shape=None):
            return "expected size, or dst_width and dst_height"
        case Resize(library=library, interpolation=name) if name not in FLAGS[library]:
            return f"interpolation {name!r}: {library} has {', '.join(FLAGS[library])}"
        case Resize(factor=int(factor), aspect_ratio_scale=None):
            return f"factor {factor}: has a meaning with aspect_ratio_scale only"
        case Sized(size=size, dst_width=width, dst_height=height) if min(size or 1, width or 1, height or 1) < 1:
            return "expected sizes of at least 1 pixel"
        case Crop():
            given = [operation.shape is not None, operation.central_fraction is not None, operation.max_square]
            if sum(given) != 1:
                return "expected one of size (or dst_width and dst_height), central_fraction, max_square"
            fraction = operation.central_fraction
            return None if fraction is None or 0 < fraction <= 1 else f"central_fraction {fraction}: expected 0 to 1"
        case Normalization(mean=None, std=None):
            return "expected mean, std or both"
        case Normalization(mean=mean, std=std):
            if not all(map(math.isfinite, (*_numbers(mean), *_numbers(std)))):
                return "expected finite numbers"
            return "std: expected no 0, the values are divided by it" if 0 in _numbers(std) else None
        case CallOnImage(path=path):
            load_callable(path, "function")
    return None


def apply_operations(image: Array, operations: tuple[Operation, ...]) -> tuple[Array, Sizes]:
    """The image after all operations, and its sizes.

    Args:
        image: The image as read, (height, width) or (height, width, channels), any dtype.
        operations: What to do, in order.

    Raises:
        InputError: An operation cannot be applied; the message has its place in the list.
    """
    stored: Shape = image.shape[:2]
    sizes = Sizes(stored, stored, stored)
    for place, operation in enumerate(operations):
        try:
            image = _apply(image, operation)
        except (cv2.error, ValueError, TypeError) as failure:
            text = failure if isinstance(failure, InputError) else " ".join(str(failure).split())
            raise InputError(
                f"preprocessing.{place} ({operation.type}) on an array of shape {image.shape}, {image.dtype}: {text}"
            ) from failure
        if isinstance(operation, Resize):
            sizes = replace(sizes, resized=(image.shape[0], image.shape[1]))
    return image, replace(sizes, fed=image.shape[:2])


def _apply(image: Array, operation: Operation) -> Array:
    match operation:
        case Resize():
            return _resize(image, operation)
        case Crop():
            return _crop(image, operation)
        case Normalization(mean=mean, std=std):
            values = image if mean is None else image - np.asarray(_numbers(mean), np.float64)
            return values if std is None else values / np.asarray(_numbers(std), np.float64)
        case SwapChannels():
            _require_color(image)
            return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        case ToGray(type=kind, cast_to_float=cast):
            _require_color(image)
            gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY if kind == "bgr_to_gray" else cv2.COLOR_RGB2GRAY)
            return gray[:, :, None].astype(np.float32) if cast else gray[:, :, None]
        case CallOnImage(path=path):
            return _call(image, path)


def _require_color(image: Array) -> None:
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError("expected three channels")


def _resize(image: Array, operation: Resize) -> Array:
    height, width = operation.shape or image.shape[:2]
    if operation.aspect_ratio_scale is not None:
        height, width = scaled_shape(operation.aspect_ratio_scale, (height, width), image.shape[:2])
        if operation.factor:
            boundary = int(not operation.include_boundary)
            height -= (height - boundary) % operation.factor
            width -= (width - boundary) % operation.factor
    flag = FLAGS[operation.library][operation.interpolation]
    if operation.library == "opencv":
        resized = cv2.resize(image, (width, height), interpolation=flag).astype(np.float32)
    else:
        resized = np.array(Image.fromarray(image).resize((width, height), Image.Resampling(flag)))
    return resized[:, :, None] if resized.ndim == 2 else resized


def _crop(image: Array, operation: Crop) -> Array:
    height, width = image.shape[:2]
    if operation.max_square:
        new_height = new_width = min(height, width)
    elif operation.central_fraction is not None:
        new_height, new_width = int(height * operation.central_fraction), int(width * operation.central_fraction)
    else:
        new_height, new_width = operation.shape or (height, width)
    if operation.use_pillow:
        top, left = round((height - new_height) / 2), round((width - new_width) / 2)
        return np.array(Image.fromarray(image).crop((left, top, left + new_width, top + new_height)))
    if width < new_width or height < new_height:
        enlarged = np.array([width, height])
        enlarged = enlarged * new_width / enlarged[0] if enlarged[0] < new_width else enlarged
        enlarged = enlarged * new_height / enlarged[1] if enlarged[1] < new_height else enlarged
        image = cv2.resize(image, [int(side) for side in np.ceil(enlarged)])
        height, width = image.shape[:2]
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return image[top : top + new_height, left : left + new_width]


def _numbers(value: Numbers) -> tuple[float, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return KNOWN_NUMBERS[value]
    return value if isinstance(value, tuple) else (value,)


def _call(image: Array, path: str) -> Array:
    result = call(path, "function", image)
    if not isinstance(result, np.ndarray) or result.ndim not in (2, 3) or result.dtype.kind not in "biuf":
        got = f"{result.dtype} of shape {result.shape}" if isinstance(result, np.ndarray) else type(result).__name__
        raise InputError(f"{path} returned {got}; expected an array (height, width[, channels]) of real numbers.")
    return result
