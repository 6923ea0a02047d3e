"""Preprocessing against direct OpenCV and NumPy calls, written independently."""

import dataclasses
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.preprocessing import Preprocessing, check_preprocessing, decode, preprocess
from tasks.errors import InputError

HEIGHT, WIDTH = 37, 52
IMAGE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def chw(image: np.ndarray) -> np.ndarray:
    """BGR (height, width, 3) -> RGB (3, height, width), float32, by channel."""
    blue, green, red = cv2.split(image)
    return np.stack((red, green, blue)).astype(np.float32)


def gray_nhwc(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.resize(image, (8, 8)), cv2.COLOR_BGR2GRAY).astype(np.float32).reshape(8, 8, 1)


@dataclass(frozen=True)
class Recipe:
    id: str
    options: Preprocessing
    oracle: Callable[[np.ndarray], np.ndarray]


RECIPES = (
    Recipe("nothing", Preprocessing(), chw),
    # 0.875 of 37 and of 52 is 32.4 and 45.5, the latter to the even 46: rows 2 to 33, columns 3 to 48.
    Recipe("central-fraction", Preprocessing(central_fraction=0.875), lambda image: chw(image[2:34, 3:49])),
    Recipe(
        "efficientnet",
        Preprocessing(central_fraction=0.875, resize=24, interpolation="cubic", mean=127, scale=128),
        lambda image: (chw(cv2.resize(image[2:34, 3:49], (24, 24), interpolation=cv2.INTER_CUBIC)) - 127) / 128,
    ),
    # The shorter side 37 to 32: the longer is 52 * 32 / 37 = 44.97, rounded down.
    Recipe(
        "torchvision",
        Preprocessing(resize_shorter=32, crop=28),
        lambda image: chw(cv2.resize(image, (44, 32))[2:30, 8:36]),
    ),
    Recipe(
        "torchvision-upright",
        Preprocessing(resize_shorter=32, crop=28, layout="nhwc"),
        lambda image: cv2.resize(image, (44, 32))[2:30, 8:36, ::-1].astype(np.float32),
    ),
    Recipe("resize-pair", Preprocessing(resize=(20, 30)), lambda image: chw(cv2.resize(image, dsize=(30, 20)))),
    Recipe(
        "resize-then-crop-pair",
        Preprocessing(resize=(20, 30), crop=(10, 21)),
        lambda image: chw(cv2.resize(image, (30, 20))[5:15, 4:25]),
    ),
    Recipe("crop-only", Preprocessing(crop=(37, 10)), lambda image: chw(image[:, 21:31])),
    Recipe(
        "all-three",
        Preprocessing(central_fraction=0.5, resize_shorter=16, crop=(16, 12)),
        lambda image: chw(cv2.resize(image[9:27, 13:39], (23, 16))[:, 5:17]),
    ),
    Recipe(
        "nearest", Preprocessing(resize=9, interpolation="nearest"), lambda i: chw(cv2.resize(i, (9, 9), None, 0, 0, 0))
    ),
    Recipe("area", Preprocessing(resize=9, interpolation="area"), lambda i: chw(cv2.resize(i, (9, 9), None, 0, 0, 3))),
    Recipe(
        "lanczos", Preprocessing(resize=9, interpolation="lanczos"), lambda i: chw(cv2.resize(i, (9, 9), None, 0, 0, 4))
    ),
    Recipe("bgr", Preprocessing(channel_order="bgr"), lambda image: chw(image)[::-1]),
    Recipe(
        "gray",
        Preprocessing(channel_order="gray", mean=(10.0,)),
        lambda image: (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) - np.float32(10))[None],
    ),
    Recipe("gray-nhwc", Preprocessing(channel_order="gray", layout="nhwc", resize=8), gray_nhwc),
    Recipe(
        "per-channel-rgb",
        Preprocessing(mean=(123.7, 116.3, 103.5), scale=(58.4, 57.1, 57.4)),
        lambda image: np.stack(
            [
                (plane - np.float32(mean)) / np.float32(scale)
                for plane, mean, scale in zip(chw(image), (123.7, 116.3, 103.5), (58.4, 57.1, 57.4), strict=True)
            ]
        ),
    ),
    Recipe(
        "per-channel-bgr",
        Preprocessing(channel_order="bgr", mean=(1.0, 2.0, 3.0), layout="nhwc"),
        lambda image: image.astype(np.float32) - np.array([1, 2, 3], np.float32),
    ),
)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.id)
def test_equals_direct_opencv_calls(recipe: Recipe) -> None:
    check_preprocessing(recipe.options)
    before = IMAGE.copy()
    value = preprocess(IMAGE, recipe.options)
    assert value.dtype == np.float32
    assert value.flags.c_contiguous
    np.testing.assert_array_equal(value, recipe.oracle(IMAGE))
    np.testing.assert_array_equal(IMAGE, before)


def test_a_tall_image_is_resized_by_its_width() -> None:
    tall = np.ascontiguousarray(IMAGE.transpose(1, 0, 2))
    value = preprocess(tall, Preprocessing(resize_shorter=32))
    np.testing.assert_array_equal(value, chw(cv2.resize(tall, (32, 44))))


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.01, 1), st.integers(1, 40), st.booleans())
def test_any_image_gets_the_size_asked_for(height: int, width: int, fraction: float, size: int, exact: bool) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    how: dict[str, Any] = {"resize": size} if exact else {"resize_shorter": size, "crop": size}
    assert preprocess(image, Preprocessing(central_fraction=fraction, **how)).shape == (3, size, size)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tiff"])
def test_decodes_lossless_formats(suffix: str) -> None:
    decoded = decode(cv2.imencode(suffix, IMAGE)[1].tobytes())
    assert decoded is not None
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, IMAGE)


def test_decodes_gray_deep_and_transparent_images_to_three_channels_of_8_bits() -> None:
    gray = IMAGE[:, :, 0]
    transparent = np.dstack((IMAGE, gray))
    for stored, expected in ((gray, np.dstack([gray] * 3)), (gray.astype(np.uint16) * 256, np.dstack([gray] * 3))):
        np.testing.assert_array_equal(np.asarray(decode(cv2.imencode(".png", stored)[1].tobytes())), expected)
    np.testing.assert_array_equal(np.asarray(decode(cv2.imencode(".png", transparent)[1].tobytes())), IMAGE)


def test_pixels_are_taken_as_stored_whatever_the_exif_orientation() -> None:
    jpeg = cv2.imencode(".jpg", IMAGE)[1].tobytes()
    # Big-endian TIFF header, one directory entry: tag 0x112 (orientation), type 3 (short), value 6 (a quarter turn).
    entry = struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)
    exif = b"Exif\0\0MM" + struct.pack(">HIH", 42, 8, 1) + entry + struct.pack(">I", 0)
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    default = cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR)
    assert default is not None
    assert default.shape == (WIDTH, HEIGHT, 3), "the marker is one that OpenCV would follow"
    np.testing.assert_array_equal(np.asarray(decode(turned)), np.asarray(decode(jpeg)))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
def test_a_cut_off_image_is_none(suffix: str) -> None:
    whole = cv2.imencode(suffix, IMAGE)[1].tobytes()
    assert decode(whole) is not None
    for size in (0, 10, len(whole) // 2, len(whole) - 10):
        assert decode(whole[:size]) is None


@pytest.mark.parametrize("data", [b"", b"not an image", bytes(1000), b"GIF89a" + bytes(50), b"\xff\xd8"])
def test_what_is_no_image_is_none(data: bytes) -> None:
    assert decode(data) is None


@dataclass(frozen=True)
class Bad:
    options: dict[str, Any]
    words: tuple[str, ...]


BAD = (
    Bad({"interpolation": "cubik"}, ("interpolation 'cubik'", "nearest, linear", "Did you mean 'cubic'?")),
    Bad({"channel_order": "RGB"}, ("channel_order 'RGB'", "rgb, bgr, gray")),
    Bad({"layout": "nchv"}, ("layout 'nchv'", "Did you mean 'nchw'?")),
    Bad({"central_fraction": 0.0}, ("central_fraction 0.0", "above 0")),
    Bad({"central_fraction": 87.5}, ("central_fraction 87.5", "up to 1")),
    Bad({"central_fraction": float("nan")}, ("central_fraction nan", "expected")),
    Bad({"resize": 0}, ("resize 0", "1 to 32767 pixels")),
    Bad({"resize": (224, -1)}, ("resize (224, -1)", "1 to 32767 pixels")),
    Bad({"resize": 99_999_999_999}, ("resize 99999999999", "1 to 32767 pixels")),
    Bad({"resize_shorter": -5}, ("resize_shorter -5", "1 to 32767 pixels")),
    Bad({"crop": (0, 10)}, ("crop (0, 10)", "1 to 32767 pixels")),
    Bad({"resize": 256, "resize_shorter": 256}, ("resize 256", "resize_shorter 256", "at most one")),
    Bad({"resize": 224, "crop": 256}, ("crop 256", "no more than resize 224")),
    Bad({"resize": (224, 300), "crop": (224, 301)}, ("crop (224, 301)", "resize (224, 300)")),
    Bad({"resize_shorter": 224, "crop": 256}, ("crop 256", "no more than resize_shorter 224")),
    Bad({"mean": (1.0, 2.0)}, ("mean (1.0, 2.0)", "3 for channel_order 'rgb'")),
    Bad({"scale": (1.0, 2.0, 3.0), "channel_order": "gray"}, ("scale (1.0, 2.0, 3.0)", "1 for channel_order 'gray'")),
    Bad({"mean": float("inf")}, ("mean inf", "finite")),
    Bad({"scale": (1.0, float("nan"), 1.0)}, ("scale", "finite")),
    Bad({"scale": 0.0}, ("scale 0.0", "divided")),
    Bad({"scale": (1.0, 0.0, 1.0)}, ("scale (1.0, 0.0, 1.0)", "divided")),
)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: "-".join(f"{key}={value}" for key, value in bad.options.items()))
def test_contradictory_options_are_refused(bad: Bad) -> None:
    with pytest.raises(InputError) as caught:
        check_preprocessing(dataclasses.replace(Preprocessing(), **bad.options))
    for word in bad.words:
        assert word in str(caught.value)


def test_a_crop_may_exceed_the_shorter_side_along_the_longer() -> None:
    options = Preprocessing(resize_shorter=32, crop=(32, 40))
    check_preprocessing(options)
    assert preprocess(IMAGE, options).shape == (3, 32, 40)
    upright = np.ascontiguousarray(IMAGE.transpose(1, 0, 2))
    with pytest.raises(InputError, match=r"44x32 pixels where it is cropped \(stored: 52x37\).* crop 32x40"):
        preprocess(upright, options)


def test_an_image_smaller_than_the_crop_is_refused() -> None:
    with pytest.raises(InputError, match=r"37x52 pixels .*at least crop 38x10"):
        preprocess(IMAGE, Preprocessing(crop=(38, 10)))


def test_image_that_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise cv2.error("Insufficient memory")

    monkeypatch.setattr("tasks.data.preprocessing.cv2.resize", fail)
    with pytest.raises(InputError, match=r"cannot be resized to 9x9 pixels \(.*Insufficient memory"):
        preprocess(np.zeros((8, 8, 3), np.uint8), Preprocessing(resize=9))
