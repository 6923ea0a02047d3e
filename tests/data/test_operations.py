"""Preprocessing equals, to the bit, what Accuracy Checker made of OpenCV, Pillow and NumPy: the calls stand here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tasks.data.operations import (
    CallOnImage,
    Crop,
    Normalization,
    Operation,
    Resize,
    SwapChannels,
    ToGray,
    apply_operations,
    check_operations,
)
from tasks.errors import InputError

Array = NDArray[Any]
HEIGHT, WIDTH = 90, 131


@pytest.fixture(scope="module")
def image() -> Array:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def resized(image: Array, width: int, height: int, flag: int = cv2.INTER_LINEAR) -> Array:
    return cv2.resize(image, (width, height), interpolation=flag).astype(np.float32)


def pillow(image: Array, width: int, height: int, flag: Image.Resampling) -> Array:
    return np.array(Image.fromarray(image).resize((width, height), flag))


@dataclass(frozen=True)
class Case:
    operations: tuple[Operation, ...]
    golden: Callable[[Array], Array]


CASES = {
    "size": Case((Resize(size=32),), lambda x: resized(x, 32, 32)),
    "both sides": Case((Resize(dst_width=50, dst_height=20),), lambda x: resized(x, 50, 20)),
    "cubic": Case((Resize(size=32, interpolation="BICUBIC"),), lambda x: resized(x, 32, 32, cv2.INTER_CUBIC)),
    "nearest": Case((Resize(size=32, interpolation="NEAREST"),), lambda x: resized(x, 32, 32, cv2.INTER_NEAREST)),
    "area": Case((Resize(size=32, interpolation="AREA"),), lambda x: resized(x, 32, 32, cv2.INTER_AREA)),
    "lanczos": Case((Resize(size=32, interpolation="LANCZOS4"),), lambda x: resized(x, 32, 32, cv2.INTER_LANCZOS4)),
    # 131 x 90: the longer side in proportion, rounded down.
    "greater": Case((Resize(size=32, aspect_ratio_scale="greater"),), lambda x: resized(x, int(32 * 131 / 90), 32)),
    "width": Case((Resize(size=32, aspect_ratio_scale="width"),), lambda x: resized(x, int(32 * 131 / 90), 32)),
    "height": Case((Resize(size=32, aspect_ratio_scale="height"),), lambda x: resized(x, 32, int(32 * 90 / 131))),
    "fit to window": Case(
        (Resize(dst_width=40, dst_height=60, aspect_ratio_scale="fit_to_window"),),
        lambda x: resized(x, int(40 / 131 * 131), int(40 / 131 * 90)),
    ),
    "least ratio": Case(
        (Resize(dst_width=40, dst_height=60, aspect_ratio_scale="min_ratio"),),
        lambda x: resized(x, int(131 / (90 / 60)), 60),
    ),
    "frcnn": Case(
        (Resize(dst_width=80, dst_height=40, aspect_ratio_scale="frcnn_keep_aspect_ratio"),),
        lambda x: resized(x, int(40 * 131 / 90), 40),
    ),
    "frcnn, too long": Case(
        (Resize(dst_width=45, dst_height=40, aspect_ratio_scale="frcnn_keep_aspect_ratio"),),
        lambda x: resized(x, int(45 / 131 * 131), int(45 / 131 * 90)),
    ),
    "ctpn": Case(
        (Resize(dst_width=50, dst_height=40, aspect_ratio_scale="ctpn_keep_aspect_ratio"),),
        lambda x: resized(x, 50, int(np.round(90 * 50 / 131))),
    ),
    "mask r-cnn": Case(
        (Resize(dst_width=50, dst_height=40, aspect_ratio_scale="mask_rcnn_benchmark_aspect_ratio"),),
        lambda x: resized(x, int(131 * (40 / 90)), 40),
    ),
    "factor": Case(
        (Resize(size=50, aspect_ratio_scale="greater", factor=16),),
        lambda x: resized(x, 72 - (72 - 1) % 16, 50 - (50 - 1) % 16),
    ),
    "pillow": Case((Resize(size=32, use_pillow=True),), lambda x: pillow(x, 32, 32, Image.Resampling.BILINEAR)),
    "pillow, cubic": Case(
        (Resize(size=32, resize_realization="pillow", interpolation="BICUBIC"),),
        lambda x: pillow(x, 32, 32, Image.Resampling.BICUBIC),
    ),
    "crop": Case((Crop(size=32),), lambda x: x[29:61, 49:81]),
    "crop a fraction": Case((Crop(central_fraction=0.875),), lambda x: x[6 : 6 + 78, 8 : 8 + 114]),
    "crop a square": Case((Crop(max_square=True),), lambda x: x[:, 20:110]),
    "crop by pillow": Case((Crop(dst_width=33, dst_height=31, use_pillow=True),), lambda x: x[30:61, 49:82]),
    "crop more than there is": Case(
        (Crop(size=100),), lambda x: cv2.resize(x, (int(np.ceil(131 * 100 / 90)), 100))[:, 23:123]
    ),
    "mean": Case((Normalization(mean=127.5),), lambda x: x.astype(np.float64) - 127.5),
    "mean and std": Case(
        (Normalization(mean=(1.5, 2.5, 3.5), std=(2.0, 3.0, 4.0)),), lambda x: (x - (1.5, 2.5, 3.5)) / (2.0, 3.0, 4.0)
    ),
    "numbers of imagenet": Case(
        (Normalization(mean="imagenet"),), lambda x: x - np.array([104.00698793, 116.66876762, 122.67891434])
    ),
    "to rgb": Case((SwapChannels(),), lambda x: x[:, :, ::-1]),
    "to bgr": Case((SwapChannels(type="rgb_to_bgr"),), lambda x: x[:, :, ::-1]),
    "to gray": Case((ToGray(),), lambda x: cv2.cvtColor(x, cv2.COLOR_BGR2GRAY)[:, :, None].astype(np.float32)),
    "to gray, 8 bits": Case(
        (ToGray(type="rgb_to_gray", cast_to_float=False),), lambda x: cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[:, :, None]
    ),
    # Luma of float values is not rounded: the order matters.
    "resize, then gray": Case(
        (Resize(size=32), ToGray()), lambda x: cv2.cvtColor(resized(x, 32, 32), cv2.COLOR_BGR2GRAY)[:, :, None]
    ),
    "gray, then resize": Case(
        (ToGray(cast_to_float=False), Resize(size=32)),
        lambda x: resized(cv2.cvtColor(x, cv2.COLOR_BGR2GRAY), 32, 32)[:, :, None],
    ),
    "the usual recipe": Case(
        (
            Resize(size=40, aspect_ratio_scale="greater"),
            Crop(size=32),
            SwapChannels(),
            Normalization(mean=127, std=128),
        ),
        lambda x: (resized(x, int(40 * 131 / 90), 40)[4:36, 13:45, ::-1].astype(np.float64) - 127) / 128,
    ),
    "a function": Case((CallOnImage(path="tests.support.functions.invert"),), lambda x: 255 - x),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_golden_array(image: Array, name: str) -> None:
    case = CASES[name]
    check_operations(case.operations)
    array, sizes = apply_operations(image, case.operations)
    golden = case.golden(image)
    assert array.dtype == golden.dtype
    np.testing.assert_array_equal(array, golden)
    assert sizes.stored == (HEIGHT, WIDTH)
    assert sizes.fed == golden.shape[:2]
    resizes = any(isinstance(each, Resize) for each in case.operations)
    assert (sizes.resized == sizes.stored) != (resizes and sizes.resized != sizes.stored)


def test_sizes_remember_the_last_resize(image: Array) -> None:
    _, sizes = apply_operations(image, (Resize(size=64), Crop(size=32)))
    assert (sizes.resized, sizes.fed) == ((64, 64), (32, 32))


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (Resize(), "expected size, or dst_width and dst_height"),
        (Resize(dst_width=3), "expected size, or dst_width and dst_height"),
        (Resize(size=-3), "at least 1 pixel"),
        (Resize(size=8, interpolation="AREA", use_pillow=True), "'AREA': pillow has NEAREST, LINEAR"),
        (Resize(size=8, interpolation="BOX"), "'BOX': opencv has NEAREST, LINEAR"),
        (Resize(size=8, factor=4), "factor 4: has a meaning with aspect_ratio_scale only"),
        (Crop(), "expected one of size"),
        (Crop(size=8, central_fraction=0.5), "expected one of size"),
        (Crop(central_fraction=1.5), "central_fraction 1.5: expected 0 to 1"),
        (Normalization(), "expected mean, std or both"),
        (Normalization(std=(1.0, 0.0, 1.0)), "std: expected no 0"),
        (Normalization(mean=float("nan")), "expected finite numbers"),
        (CallOnImage(path="tests.support.functions.inver"), "has no 'inver'. Did you mean 'invert'?"),
        (CallOnImage(path="tests.function.invert"), "cannot import 'tests.function'"),
        (CallOnImage(path="invert"), "expected the dotted path"),
        (CallOnImage(path="tests.support.functions.VALUE"), "expected a function, it is int"),
    ],
)
def test_wrong_options_are_named(operation: Operation, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_operations((SwapChannels(), operation))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ((CallOnImage(path="tests.support.functions.flatten"),), "preprocessing.0 (callable)"),
        ((CallOnImage(path="tests.support.functions.text"),), "returned str; expected an array"),
        (
            (CallOnImage(path="tests.support.functions.fail"),),
            "tests.support.functions.fail: RuntimeError: it fell over",
        ),
        ((ToGray(), SwapChannels()), "preprocessing.1 (bgr_to_rgb) on an array of shape (90, 131, 1)"),
        ((Resize(size=8), Resize(size=4, use_pillow=True)), "preprocessing.1 (resize) on an array"),
        ((Normalization(mean=(1.0, 2.0)),), "preprocessing.0 (normalization)"),
    ],
)
def test_what_cannot_be_applied_is_named(image: Array, operations: tuple[Operation, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        apply_operations(image, operations)
    assert message in str(caught.value)
