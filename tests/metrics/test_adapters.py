"""Adapters: classes, SSD's rows, YOLO's grids against a decoder written cell by cell, and the user's own."""

import math
from typing import Any

import numpy as np
import pytest

from tasks.data.operations import Sizes
from tasks.errors import InputError
from tasks.metrics.predictions import (
    CallAdapter,
    Classification,
    ImageProcessing,
    Regression,
    Ssd,
    choose_output,
    predict,
)
from tasks.metrics.yolo import KNOWN_ANCHORS, Yolo, YoloV2, decode_yolo, decode_yolo_v2
from tasks.numerics.detections import Detections

SIZES = Sizes((48, 64), (32, 32), (32, 32))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def detections(adapter: Any, **outputs: Any) -> Detections:
    found = predict(adapter, {name: np.asarray(value, np.float32) for name, value in outputs.items()}, SIZES)
    assert isinstance(found, Detections)
    return found


def array(adapter: Any, **outputs: Any) -> Any:
    found = predict(adapter, {name: np.asarray(value, np.float32) for name, value in outputs.items()}, SIZES)
    assert isinstance(found, np.ndarray)
    return found


def test_scores_are_those_of_the_output_asked_for() -> None:
    assert list(array(Classification(), a=[1, 2], b=[3, 4])) == [1, 2]
    assert list(array(Classification(classification_output="b"), a=[1, 2], b=[[[3]], [[4]]])) == [3, 4]
    assert list(array(Classification(argmax_output=True), a=[7])) == [7]
    shares = array(Classification(do_softmax=True), a=[1000, 1000 + math.log(3)])
    np.testing.assert_allclose(shares, [0.25, 0.75], rtol=1e-4)


def test_outputs_are_found_by_name_and_without_a_port() -> None:
    outputs = {"boxes:0": np.zeros(1), "scores": np.ones(1)}
    assert choose_output(outputs, "boxes") is outputs["boxes:0"]
    with pytest.raises(InputError, match="no output 'score'; it has boxes:0, scores"):
        choose_output(outputs, "score")


def test_ssd_ends_at_the_first_empty_row() -> None:
    rows = [[0, 2, 0.9, 0.1, 0.2, 0.3, 0.4], [0, 1, 0.5, 0, 0, 1, 1], [-1, 0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 1, 1]]
    found = detections(Ssd(), out=[[rows]])
    assert list(found.labels) == [2, 1]
    np.testing.assert_allclose(found.corners[0], [0.1, 0.2, 0.3, 0.4])
    assert len(detections(Ssd(), out=np.array(rows)[2:]).labels) == 0
    with pytest.raises(InputError, match=r"adapter ssd: the output has shape \[3, 4\]"):
        detections(Ssd(), out=np.zeros((3, 4)))


@pytest.mark.parametrize("kind", ["yolo_v3", "yolo_v5"])
@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("order", ["BHW", "HWB"])
def test_yolo_equals_a_decoder_written_cell_by_cell(kind: Any, raw: bool, order: Any) -> None:
    rows, columns, classes, anchors = 3, 4, 2, (8.0, 6.0, 12.0, 20.0)
    grid = np.random.default_rng(0).normal(size=(2, 5 + classes, rows, columns))
    if not raw:
        grid[:, 4:] = 1 / (1 + np.exp(-grid[:, 4:]))
    adapter = Yolo(
        outputs=("g",),
        type=kind,
        classes=classes,
        num=2,
        anchors=anchors,
        raw_output=raw,
        threshold=0.3,
        output_format=order,
    )
    expected = []
    for row in range(rows):
        for column in range(columns):
            for anchor in range(2):
                x, y, w, h, confidence, *scores = grid[anchor, :, row, column]
                width, height = anchors[2 * anchor : 2 * anchor + 2]
                if raw:
                    confidence, scores = sigmoid(confidence), [sigmoid(score) for score in scores]
                    x, y = (
                        (2 * sigmoid(x) - 0.5, 2 * sigmoid(y) - 0.5) if kind == "yolo_v5" else (sigmoid(x), sigmoid(y))
                    )
                if raw and kind == "yolo_v5":
                    w, h = width * (2 * sigmoid(w)) ** 2, height * (2 * sigmoid(h)) ** 2
                else:
                    w, h = width * math.exp(w), height * math.exp(h)
                x, y, w, h = (x + column) / columns, (y + row) / rows, w / 32, h / 32
                if confidence > 0.3:
                    label = int(np.argmax(scores))
                    corners = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
                    expected.append((label, confidence * scores[label], *corners))
    stored = grid.reshape(-1, rows, columns)
    stored = stored.transpose(1, 2, 0) if order == "HWB" else stored
    found = decode_yolo(adapter, [stored], (32, 32))
    assert 3 < len(expected) < 2 * rows * columns
    assert list(found.labels) == [each[0] for each in expected]
    np.testing.assert_allclose(found.scores, [each[1] for each in expected])
    np.testing.assert_allclose(found.corners, [each[2:] for each in expected])


def test_yolo_with_several_labels_a_box_and_flat_grids() -> None:
    grid = np.zeros((7, 2, 2))
    grid[4], grid[5], grid[6] = 1, 0.6, 0.5
    adapter = Yolo(
        outputs=("g", "h"),
        classes=2,
        anchors=(4, 4, 8, 8),
        anchor_masks=((0,), (1,)),
        cells=(2, 2),
        do_reshape=True,
        multiple_labels=True,
        threshold=0.55,
    )
    found = decode_yolo(adapter, [grid.reshape(-1), grid.reshape(-1)], (16, 16))
    assert list(found.labels) == [0] * 8
    np.testing.assert_allclose(found.corners[0], [-0.125, -0.125, 0.125, 0.125])
    np.testing.assert_allclose(found.corners[7], [0.25, 0.25, 0.75, 0.75])
    both = decode_yolo(Yolo(outputs=("g",), classes=2, num=1, anchors=(4, 4), multiple_labels=True), [grid], (16, 16))
    assert list(both.labels) == [0, 1] * 4


def test_yolo_v2_counts_anchors_in_cells() -> None:
    grid = np.zeros((1, 7, 2, 2))
    grid[0, :, 1, 0] = [logit(0.5), logit(0.25), math.log(2), 0, logit(0.8), 0, math.log(3)]
    grid[0, 4] = np.where(grid[0, 4] == 0, -20, grid[0, 4])
    adapter = YoloV2(classes=2, num=1, anchors=(1.0, 0.5), cells=2, raw_output=True)
    for output in (grid[0], grid.reshape(-1)):
        found = decode_yolo_v2(adapter, output)
        assert list(found.labels) == [1]
        np.testing.assert_allclose(found.scores, [0.8 * 0.75])
        # Centre (0.5, 1.25) of 2 cells, 2 x 0.5 cells in size.
        np.testing.assert_allclose(found.corners, [[-0.25, 0.5, 0.75, 0.75]])
    assert len(KNOWN_ANCHORS["yolo_v2"]) == 10


@pytest.mark.parametrize(
    ("adapter", "shape", "message"),
    [
        (Yolo(outputs=("g",), classes=3, num=2, anchors=(1, 2, 3, 4)), (15, 2, 2), "has 15 values a cell; expected 16"),
        (
            Yolo(outputs=("g",), classes=3, num=3, anchors=(1, 2, 3, 4)),
            (24, 2, 2),
            "do not fit 1 outputs and 2 anchors",
        ),
        (Yolo(outputs=("g",), classes=3, num=1, anchors=(1, 2, 3)), (8, 2, 2), "expected pairs of width and height"),
        (Yolo(outputs=("g",), classes=3, num=1, anchors=(1, 2), cells=(3,)), (32,), "do not fill 3 x 3 cells"),
        (Yolo(outputs=("g",), classes=3, num=1, anchors=(1, 2), cells=()), (32,), "needs cells"),
    ],
)
def test_grids_of_other_sizes_are_named(adapter: Yolo, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        decode_yolo(adapter, [np.zeros(shape)], (8, 8))
    assert message in str(caught.value)


def test_images_come_out_in_eight_bits() -> None:
    output = np.array([[[0.5]], [[2.0]], [[-1.0]]])
    assert array(ImageProcessing(), a=output).tolist() == [[[127, 255, 0]]]
    assert array(ImageProcessing(reverse_channels=True), a=output).tolist() == [[[0, 255, 127]]]
    assert array(ImageProcessing(std=1.0, mean=2.0, cast_to_uint8=False), a=output).tolist() == [[[2.5, 4.0, 1.0]]]
    assert array(Regression(output="b"), a=[0], b=[1, 2]).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("adapter", "output", "message"),
    [
        (
            ImageProcessing(mean=(1.0, 2.0)),
            np.ones((3, 4, 4)),
            "mean has 2 numbers; expected one, or one for each channel",
        ),
        (ImageProcessing(std=(1.0, 2.0)), np.ones((4, 4)), "std has 2 numbers"),
        (ImageProcessing(reverse_channels=True), np.ones((4, 4)), "reverse_channels needs an output of three axes"),
        (ImageProcessing(), np.full((3, 4, 4), np.nan), "NaN or infinite"),
    ],
)
def test_outputs_that_are_no_such_images_are_named(adapter: ImageProcessing, output: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"adapter image_processing: .*{message}"):
        array(adapter, a=output)


def test_functions_may_be_adapters() -> None:
    found = detections(CallAdapter(path="tests.support.functions.one_detection"), a=[0, 1, 2, 3])
    assert found.corners.tolist() == [[0, 1, 2, 3]]
    for name, message in (
        ("uneven_detections", r"labels \(2,\), scores \(1,\) and boxes \(1, 4\)"),
        ("worded_detections", "returned <U3, float64 and int64; expected numbers"),
        ("ragged_detections", "expected arrays of numbers"),
        ("text", "returned str; expected an array"),
        ("fail", "fail: RuntimeError: it fell over"),
    ):
        with pytest.raises(InputError, match=message):
            predict(CallAdapter(path=f"tests.support.functions.{name}"), {"a": np.zeros(1)}, SIZES)
