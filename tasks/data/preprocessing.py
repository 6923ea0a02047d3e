"""From the bytes of an image file to the array that a model reads."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.errors import InputError, did_you_mean

Interpolation = Literal["nearest", "linear", "cubic", "area", "lanczos"]
ChannelOrder = Literal["rgb", "bgr", "gray"]
Layout = Literal["nchw", "nhwc"]
Size = int | tuple[int, int]

LONGEST_SIDE = 2**15 - 1  # in pixels; more than any model reads

FLAGS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The steps from the file of an image to the input of a model, in this order.

    1. Decode: 8 bits per channel, three channels, transparency dropped. The pixels are taken as stored; an EXIF
       orientation is ignored, as the training pipelines of torchvision and TensorFlow do.
    2. ``central_fraction``: keep this fraction of height and of width, in the middle.
    3. ``resize`` to exactly this height and width, or ``resize_shorter``: the shorter side to this length, the
       longer one in proportion (rounded down), with ``interpolation`` on 8-bit values.
    4. ``crop`` this height and width from the middle (an odd remainder leaves one more pixel below and right).
    5. ``channel_order``.
    6. ``(value - mean) / scale`` in float32; a number for all channels or one per channel, in ``channel_order``.
    7. ``layout``, without the batch axis: nchw gives (channels, height, width), nhwc (height, width, channels).

    A single number as size means a square. The usual recipes: ``central_fraction=0.875, resize=224`` (EfficientNet)
    and ``resize_shorter=256, crop=224`` (torchvision).
    """

    central_fraction: float | None = None
    resize: Size | None = None
    resize_shorter: int | None = None
    crop: Size | None = None
    interpolation: Interpolation = "linear"
    channel_order: ChannelOrder = "rgb"
    mean: float | tuple[float, ...] = 0.0
    scale: float | tuple[float, ...] = 1.0
    layout: Layout = "nchw"


def check_preprocessing(options: Preprocessing) -> None:
    """Check the options of preprocessing.

    Args:
        options: What to do with an image.

    Raises:
        InputError: Values are out of range, or options contradict each other.
    """
    _check_choice("interpolation", options.interpolation, get_args(Interpolation))
    _check_choice("channel_order", options.channel_order, get_args(ChannelOrder))
    _check_choice("layout", options.layout, get_args(Layout))
    fraction = options.central_fraction
    if fraction is not None and not 0 < fraction <= 1:
        raise InputError(f"central_fraction {fraction}: expected a number above 0 and up to 1.")
    for key, size in (("resize", options.resize), ("resize_shorter", options.resize_shorter), ("crop", options.crop)):
        if size is not None and not all(1 <= side <= LONGEST_SIDE for side in _pair(size)):
            raise InputError(f"{key} {size}: expected 1 to {LONGEST_SIDE} pixels.")
    if options.resize is not None and options.resize_shorter is not None:
        raise InputError(
            f"resize {options.resize} and resize_shorter {options.resize_shorter}: expected at most one of the two."
        )
    if options.crop is not None:
        height, width = _pair(options.crop)
        if options.resize is not None and (height > _pair(options.resize)[0] or width > _pair(options.resize)[1]):
            raise InputError(f"crop {options.crop}: expected no more than resize {options.resize}.")
        # The smaller crop side counts: either side of an image may be the shorter one.
        if options.resize_shorter is not None and min(height, width) > options.resize_shorter:
            raise InputError(f"crop {options.crop}: expected no more than resize_shorter {options.resize_shorter}.")
    _check_numbers("mean", options.mean, options.channel_order)
    _check_numbers("scale", options.scale, options.channel_order)


def decode(data: bytes) -> NDArray[np.uint8] | None:
    """An image file decoded to (height, width, 3), uint8, BGR; None if the bytes are no whole image.

    Args:
        data: The content of the file.
    """
    if not data:
        return None
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return None if image is None else image.astype(np.uint8, copy=False)


def preprocess(image: NDArray[np.uint8], options: Preprocessing) -> NDArray[np.float32]:
    """The array that the model reads: float32, (channels, height, width) or as ``layout`` says.

    Args:
        image: The decoded image, (height, width, 3), uint8, BGR.
        options: What to do with it.

    Raises:
        InputError: The image is smaller than ``crop``, or does not fit into memory after ``resize``.
    """
    height, width = image.shape[:2]
    if options.central_fraction is not None:
        fraction = options.central_fraction
        image = _crop(image, max(1, round(height * fraction)), max(1, round(width * fraction)))
    size = _resized(image.shape[0], image.shape[1], options)
    if size != image.shape[:2]:
        try:
            resized = cv2.resize(image, (size[1], size[0]), interpolation=FLAGS[options.interpolation])
        except cv2.error as error:  # it does not fit into memory
            raise InputError(
                f"cannot be resized to {size[0]}x{size[1]} pixels ({' '.join(str(error).split())})."
            ) from error
        image = resized.astype(np.uint8, copy=False)
    if options.crop is not None:
        crop_height, crop_width = _pair(options.crop)
        if crop_height > size[0] or crop_width > size[1]:
            raise InputError(
                f"an image of {size[0]}x{size[1]} pixels where it is cropped (stored: {height}x{width});"
                f" expected at least crop {crop_height}x{crop_width}."
            )
        image = _crop(image, crop_height, crop_width)
    values = _ordered(image, options.channel_order).astype(np.float32)
    values -= np.array(options.mean, np.float32)
    values /= np.array(options.scale, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1) if options.layout == "nchw" else values)


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _crop(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _resized(height: int, width: int, options: Preprocessing) -> tuple[int, int]:
    if options.resize is not None:
        return _pair(options.resize)
    if options.resize_shorter is not None:
        shorter = min(height, width)
        return options.resize_shorter * height // shorter, options.resize_shorter * width // shorter
    return height, width


def _ordered(image: NDArray[np.uint8], order: ChannelOrder) -> NDArray[np.uint8]:
    if order == "gray":
        return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)[:, :, np.newaxis]
    return image[:, :, ::-1] if order == "rgb" else image


def _check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{key} {value!r}: expected one of {', '.join(choices)}.{did_you_mean(value, choices)}")


def _check_numbers(key: str, value: float | tuple[float, ...], order: ChannelOrder) -> None:
    channels = 1 if order == "gray" else 3
    numbers = value if isinstance(value, tuple) else (value,)
    if isinstance(value, tuple) and len(value) != channels:
        raise InputError(f"{key} {value}: expected one number, or {channels} for channel_order {order!r}.")
    if not all(math.isfinite(number) for number in numbers):
        raise InputError(f"{key} {value}: expected finite numbers.")
    if key == "scale" and 0 in numbers:
        raise InputError(f"scale {value}: expected no 0, the values are divided by it.")
