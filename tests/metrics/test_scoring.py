"""Metrics: by hand on a few samples, against plain definitions, and refused where they cannot be computed."""

import math
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.algorithms.comparison import comparison_metrics, plan_comparison
from tasks.algorithms.evaluation import classification_metrics
from tasks.data.annotations import Annotations, Boxes
from tasks.data.operations import Sizes
from tasks.errors import InputError
from tasks.graph.parts import Part, Parts
from tasks.metrics.boxes import CallOnDetections, ClipBoxes, Nms, ResizePredictionBoxes, postprocess
from tasks.metrics.detection import Coco, MeanAveragePrecision, coco, mean_average_precision
from tasks.metrics.differences import Error, Psnr, Ssim
from tasks.metrics.predictions import Regression, Ssd
from tasks.metrics.scoring import RESERVED, Accuracy, CallMetric, F1Score, Scoring, metric_name, out_of_range, score
from tasks.metrics.yolo import Yolo, YoloV2
from tasks.numerics.detections import Detections

SIZES = Sizes((100, 200), (50, 50), (50, 50))
NOTHING = Boxes(np.empty(0, np.int64), np.empty((0, 4)), np.empty(0, bool))


def boxes(*rows: tuple[int, float, float, float, float], ignored: tuple[int, ...] = ()) -> Boxes:
    table = np.array(rows, np.float64).reshape(-1, 5)
    flags = np.isin(np.arange(len(rows)), ignored)
    return Boxes(table[:, 0].astype(np.int64), table[:, 1:], flags)


def found(*rows: tuple[int, float, float, float, float, float]) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, 0].astype(np.int64), table[:, 1], table[:, 2:])


def scores(metric: Any, outputs: list[list[float]], labels: list[int], **more: Any) -> dict[str, float]:
    annotations = Annotations(tuple(map(str, labels)), labels=np.array(labels, np.int64), **more)
    given = [{"out": np.array(each, np.float32)} for each in outputs]
    return score(Scoring(metrics=(metric,)), given, annotations, [SIZES] * len(labels))


OUTPUTS = [[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [2.0, 1.0, 3.0]]
LABELS = [0, 1, 2, 0]


def test_accuracy_overall_and_a_class() -> None:
    assert scores(Accuracy(), OUTPUTS, LABELS) == {"accuracy": 0.5}
    assert scores(Accuracy(name="top", top_k=2), OUTPUTS, LABELS) == {"top": 1.0}
    by_class = scores(Accuracy(type="accuracy_per_class"), OUTPUTS, LABELS, classes={0: "cat", 1: "dog", 2: "owl"})
    assert by_class == {
        "accuracy_per_class": 0.5,
        "accuracy_per_class/cat": 0.5,
        "accuracy_per_class/dog": 0.0,
        "accuracy_per_class/owl": 1.0,
    }


def test_classes_of_one_name_are_told_apart() -> None:
    metric = Accuracy(type="accuracy_per_class", name="a")
    values = scores(metric, OUTPUTS, LABELS, classes={0: "crane", 1: "cat", 2: "crane"})
    assert values == {"a": 0.5, "a/crane (0)": 0.5, "a/cat": 0.0, "a/crane (2)": 1.0}


def test_f1_is_two_true_positives_over_all_that_were_meant_or_said() -> None:
    values = scores(F1Score(), OUTPUTS, LABELS)
    assert values["f1-score/0"] == pytest.approx(2 * 1 / (2 + 2))
    assert values["f1-score/1"] == 0
    assert values["f1-score/2"] == pytest.approx(2 * 1 / (1 + 2))
    assert values["f1-score"] == pytest.approx((0.5 + 0 + 2 / 3) / 3)
    assert scores(F1Score(name="owl", pos_label=2), OUTPUTS, LABELS) == {"owl": pytest.approx(2 / 3)}


def test_functions_may_be_metrics() -> None:
    metric = CallMetric(path="tests.support.functions.share_of_class_one")
    assert scores(metric, OUTPUTS, LABELS) == {"share_of_class_one/predicted": 0.0, "share_of_class_one/real": 0.25}
    assert scores(CallMetric(path="tests.support.functions.half", name="h"), OUTPUTS, LABELS) == {"h": 0.5}
    for name, message in (
        ("not_a_number", "returned nan; expected a finite number"),
        ("text", "returned 'good'"),
        ("fail", "RuntimeError: it fell over"),
        ("hlf", "Did you mean 'half'?"),
    ):
        with pytest.raises(InputError) as caught:
            scores(CallMetric(path=f"tests.support.functions.{name}"), OUTPUTS, LABELS)
        assert message in str(caught.value)


# --- boxes


def test_boxes_are_resized_and_clipped_to_the_stored_image() -> None:
    detected = found((1, 0.9, 0.1, 0.5, 1.2, 0.8))
    annotated = boxes((1, -3, 0, 5, 5))
    resized, _ = postprocess(detected, annotated, (ResizePredictionBoxes(),), SIZES)
    np.testing.assert_allclose(resized.corners, [[20, 50, 240, 80]])
    both = postprocess(detected, annotated, (ResizePredictionBoxes(), ClipBoxes()), SIZES)
    np.testing.assert_allclose(both[0].corners, [[20, 50, 200, 80]])
    np.testing.assert_allclose(both[1].corners, [[0, 0, 5, 5]])
    kept = postprocess(detected, annotated, (ClipBoxes(boxes_normalized=True, apply_to="prediction"),), SIZES)
    np.testing.assert_allclose(kept[0].corners, [[0.1, 0.5, 1.0, 0.8]])
    np.testing.assert_allclose(kept[1].corners, annotated.corners)
    pixels, _ = postprocess(found((0, 1, 10, 10, 20, 20)), NOTHING, (ResizePredictionBoxes(rescale=True),), SIZES)
    np.testing.assert_allclose(pixels.corners, [[40, 20, 80, 40]])


def suppressed(detections: Detections, step: Nms) -> list[int]:
    """Non-maximum suppression written out: the oracle."""
    order = sorted(range(len(detections.scores)), key=lambda place: -detections.scores[place])
    order = order[: step.keep_top_k or len(order)]
    kept: list[int] = []
    for place in order:
        if all(
            overlap(detections.corners[place], detections.corners[other], step.include_boundaries) <= step.overlap
            for other in kept
        ):
            kept.append(place)
    return kept


def overlap(one: NDArray[np.float64], other: NDArray[np.float64], boundary: bool) -> float:
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]) + boundary)
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]) + boundary)
    areas = [(each[2] - each[0] + boundary) * (each[3] - each[1] + boundary) for each in (one, other)]
    return float(width * height / (sum(areas) - width * height))


@pytest.mark.parametrize("boundary", [True, False])
@pytest.mark.parametrize("top", [None, 12])
def test_nms_keeps_what_nothing_better_overlaps(boundary: bool, top: int | None) -> None:
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 20, (40, 2))
    detected = Detections(
        rng.integers(0, 2, 40),
        rng.permutation(40) / 41 + 0.01,
        np.hstack([corners, corners + rng.uniform(3, 12, (40, 2))]),
    )
    step = Nms(overlap=0.4, include_boundaries=boundary, keep_top_k=top)
    kept, _ = postprocess(detected, NOTHING, (step,), SIZES)
    expected = suppressed(detected, step)
    assert 2 < len(expected) < 40
    np.testing.assert_array_equal(kept.scores, detected.scores[expected])


def test_nms_of_classes_leaves_other_classes_alone() -> None:
    detected = found((0, 0.9, 0, 0, 10, 10), (1, 0.8, 0, 0, 10, 10), (1, 0.7, 0, 0, 10, 11))
    assert len(postprocess(detected, NOTHING, (Nms(),), SIZES)[0].labels) == 1
    assert sorted(postprocess(detected, NOTHING, (Nms(type="class_aware_nms"),), SIZES)[0].scores) == [0.8, 0.9]


def test_functions_may_postprocess() -> None:
    detected = found((0, 0.9, 0, 0, 10, 10))
    assert (
        len(
            postprocess(detected, NOTHING, (CallOnDetections(path="tests.support.functions.drop_all"),), SIZES)[
                0
            ].labels
        )
        == 0
    )
    with pytest.raises(InputError, match="fail: RuntimeError: it fell over"):
        postprocess(detected, NOTHING, (CallOnDetections(path="tests.support.functions.fail"),), SIZES)
    with pytest.raises(InputError, match="returned str; expected a dictionary"):
        postprocess(detected, NOTHING, (CallOnDetections(path="tests.support.functions.text"),), SIZES)


# --- average precision


def test_map_of_a_ranking_done_by_hand() -> None:
    known = [boxes((0, 0, 0, 9, 9), (0, 20, 20, 29, 29)), boxes((0, 0, 0, 9, 9))]
    # Right, wrong, right, and one object is never found: precisions 1 and 2/3 at recalls 1/3 and 2/3.
    detected = [
        found((0, 0.9, 0, 0, 9, 9), (0, 0.8, 50, 50, 59, 59)),
        found((0, 0.7, 0, 0, 9, 9)),
    ]
    area = mean_average_precision(MeanAveragePrecision(), detected, known, [0])
    assert area == {0: pytest.approx((1 + 2 / 3) / 3)}
    points = mean_average_precision(MeanAveragePrecision(integral="11point"), detected, known, [0])
    assert points == {0: pytest.approx((4 * 1 + 3 * 2 / 3) / 11)}


def test_map_leaves_out_classes_without_objects_and_counts_unfound_ones() -> None:
    known = [boxes((0, 0, 0, 9, 9), (1, 20, 20, 29, 29))]
    detected = [found((0, 0.9, 0, 0, 9, 9), (2, 0.9, 0, 0, 9, 9))]
    assert mean_average_precision(MeanAveragePrecision(), detected, known, [0, 1, 2]) == {
        0: pytest.approx(1),
        1: pytest.approx(0),
    }


def test_difficult_objects_count_neither_way() -> None:
    known = [boxes((0, 0, 0, 9, 9), (0, 20, 20, 29, 29), ignored=(1,))]
    detected = [found((0, 0.9, 20, 20, 29, 29), (0, 0.8, 0, 0, 9, 9))]
    assert mean_average_precision(MeanAveragePrecision(), detected, known, [0])[0] == pytest.approx(1)
    known = [boxes((0, 0, 0, 9, 9), (0, 20, 20, 29, 29), ignored=(1,))]
    missed = [found((0, 0.8, 0, 0, 9, 9))]
    assert mean_average_precision(MeanAveragePrecision(), missed, known, [0])[0] == pytest.approx(1)
    counted = MeanAveragePrecision(ignore_difficult=False)
    assert mean_average_precision(counted, missed, known, [0])[0] == pytest.approx(0.5)


def average_precision(detected: list[Detections], known: list[Boxes]) -> float:
    """Pascal VOC's area written out: the oracle. Any number of boxes may lie on a difficult object."""
    ranking = sorted(
        (
            (score, image, box)
            for image, each in enumerate(detected)
            for score, box in zip(each.scores, each.corners, strict=True)
        ),
        key=lambda row: -row[0],
    )
    hits, used = [], set()
    for _, image, box in ranking:
        overlaps = [overlap(box, other, True) for other in known[image].corners]
        near = [place for place, value in enumerate(overlaps) if value >= 0.5]
        free = [place for place in near if not known[image].ignored[place] and (image, place) not in used]
        if free:
            used.add((image, max(free, key=lambda place: overlaps[place])))
        if free or not any(known[image].ignored[place] for place in near):
            hits.append(bool(free))
    count = sum(int((~each.ignored).sum()) for each in known)
    precisions = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(sum(precisions[place:].max() for place, hit in enumerate(hits) if hit)) / count


@pytest.mark.parametrize("seed", range(20))
def test_map_equals_one_written_out_with_difficult_objects(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 100, (4, 3, 2))
    known = [Boxes(np.zeros(3, np.int64), np.hstack([each, each + 40.0]), rng.random(3) < 0.4) for each in corners]
    known[0].ignored[0] = False
    detected = []
    for each in known:
        near = each.corners[rng.integers(0, 3, 6)] + rng.integers(-8, 9, (6, 4))
        small = np.hstack([each.corners[:, :2] + 5, each.corners[:, :2] + 15])
        boxes_found = np.vstack([near, small])
        detected.append(Detections(np.zeros(9, np.int64), rng.permutation(9) + rng.random(9), boxes_found))
    ours = mean_average_precision(MeanAveragePrecision(), detected, known, [0])[0]
    assert ours == pytest.approx(average_precision(detected, known))


def test_objects_of_any_size_count() -> None:
    huge = boxes((0, 0, 0, 4e5, 4e5))
    detected = [found((0, 0.9, 0, 0, 4e5, 4e5))]
    assert mean_average_precision(MeanAveragePrecision(), detected, [huge], [0])[0] == pytest.approx(1)
    # A box that ends before it begins is a wrong one, not one that does not count.
    inverted = [found((0, 0.95, 9, 0, 0, 9), (0, 0.9, 0, 0, 9, 9))]
    assert mean_average_precision(MeanAveragePrecision(), inverted, [boxes((0, 0, 0, 9, 9))], [0])[0] == pytest.approx(
        0.5
    )


def test_boundaries_belong_to_boxes_or_not() -> None:
    known, detected = [boxes((0, 0, 0, 4, 4))], [found((0, 0.9, 2, 0, 6, 4))]
    # 3 of 7 columns with the last pixel, 2 of 6 without.
    for threshold, boundary, expected in ((0.42, True, 1), (0.44, True, 0), (0.32, False, 1), (0.35, False, 0)):
        metric = MeanAveragePrecision(overlap_threshold=threshold, include_boundaries=boundary)
        assert mean_average_precision(metric, detected, known, [0])[0] == pytest.approx(expected)


def test_coco_takes_the_mean_over_thresholds() -> None:
    known = [boxes((0, 0, 0, 10, 10), (1, 0, 0, 10, 10))]
    # An overlap of 0.72: found at .5 .55 .6 .65 .7 of ten thresholds.
    detected = [found((0, 0.9, 0, 0, 10, 7.2), (1, 0.9, 0, 0, 10, 10))]
    assert coco(Coco(), detected, known, [0, 1]) == {0: pytest.approx(0.5), 1: pytest.approx(1)}
    assert coco(Coco(type="coco_recall"), detected, known, [0, 1]) == {0: pytest.approx(0.5), 1: pytest.approx(1)}
    assert coco(Coco(threshold=0.75), detected, known, [0, 1])[0] == pytest.approx(0)
    assert coco(Coco(), detected, known, [0, 1, 2]).keys() == {0, 1}


def test_coco_takes_the_best_detections_only() -> None:
    known = [boxes((0, 0, 0, 10, 10))]
    detected = [found((0, 0.9, 50, 50, 60, 60), (0, 0.8, 0, 0, 10, 10))]
    assert coco(Coco(max_detections=1), detected, known, [0])[0] == pytest.approx(0)
    assert coco(Coco(max_detections=2), detected, known, [0])[0] == pytest.approx(0.5)


@pytest.mark.parametrize("threshold", ["x", "0.5:0.9", "0.5:0:0.9", 0, "1.5"])
def test_wrong_thresholds_are_named(threshold: Any) -> None:
    with pytest.raises(InputError, match="threshold"):
        coco(Coco(threshold=threshold), [found((0, 0.9, 0, 0, 1, 1))], [boxes((0, 0, 0, 1, 1))], [0])


def test_detection_from_outputs_to_figures() -> None:
    annotations = Annotations(
        ("a", "b"),
        boxes=(boxes((1, 20, 10, 60, 50)), boxes((2, 0, 0, 100, 50))),
        classes={0: "-", 1: "x", 2: "y"},
        background=0,
    )
    rows = [[[0, 1, 0.9, 0.1, 0.1, 0.3, 0.5]], [[0, 2, 0.8, 0.0, 0.0, 0.5, 0.5], [0, 1, 0.95, 0.9, 0.9, 1, 1]]]
    scoring = Scoring(Ssd(), (ResizePredictionBoxes(),), (MeanAveragePrecision(), Coco()))
    values = score(scoring, [{"out": np.array(each)} for each in rows], annotations, [SIZES] * 2)
    # The wrong box of class x stands before the right one.
    assert values["map"] == pytest.approx(0.75)
    assert values["map/x"] == pytest.approx(0.5)
    assert values["map/y"] == pytest.approx(1)
    assert set(values) == {f"{name}{suffix}" for name in ("map", "coco_precision") for suffix in ("", "/x", "/y")}


# --- values


def predicted(metric: Any, outputs: list[Any], targets: list[Any]) -> dict[str, float]:
    annotations = Annotations(tuple(map(str, range(len(targets)))), targets=tuple(map(np.asarray, targets)))
    given = [{"out": np.asarray(each)} for each in outputs]
    return score(Scoring(adapter=Regression(), metrics=(metric,)), given, annotations, [SIZES] * len(targets))


def test_errors_are_means_over_samples() -> None:
    outputs, targets = [[1.0, 2.0], [0.0, 0.0]], [[1.0, 4.0], [0.0, 0.0]]
    assert predicted(Error(), outputs, targets) == {"mse": 1.0, "mse@std": 1.0}
    assert predicted(Error(type="mae"), outputs, targets)["mae"] == 0.5
    assert predicted(Error(type="rmse"), outputs, targets)["rmse"] == pytest.approx(math.sqrt(2) / 2)
    with pytest.raises(InputError, match=r"0: the model predicts \(3,\), the annotation has \(2,\)"):
        predicted(Error(), [[1.0, 2.0, 3.0]], [[1.0, 2.0]])


def test_psnr_is_that_of_luma_inside_of_the_border() -> None:
    target = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.float64)
    image = target + np.random.default_rng(1).normal(0, 5, target.shape)
    weights = np.array([65.738, 129.057, 25.064]) / 256
    inner = ((image - target) / 255)[4:-4, 4:-4] @ weights
    assert predicted(Psnr(), [image], [target])["psnr"] == pytest.approx(-10 * math.log10((inner**2).mean()))
    inner = ((image - target) / 255)[4:-4, 4:-4] @ weights[::-1]
    bgr = predicted(Psnr(color_order="BGR"), [image], [target])["psnr"]
    assert bgr == pytest.approx(-10 * math.log10((inner**2).mean()))
    gray = predicted(Psnr(scale_border=0), [image[:, :, 0]], [target[:, :, 0]])["psnr"]
    assert gray == pytest.approx(cv2.PSNR(image[:, :, 0], target[:, :, 0], 255))
    assert predicted(Psnr(), [target], [target])["psnr"] == math.inf
    with pytest.raises(InputError, match="values of 8 x 9 x 3; expected an image beyond a border of 4 pixels"):
        predicted(Psnr(), [target[:8, :9]], [target[:8, :9]])
    with pytest.raises(InputError, match="NaN or infinite"):
        predicted(Psnr(), [target * np.nan], [target])


def test_ssim_needs_its_library() -> None:
    images = [np.random.default_rng(0).uniform(0, 255, (16, 16))]
    try:
        import skimage  # noqa: F401, PLC0415
    except ImportError:
        with pytest.raises(InputError, match="pip install scikit-image"):
            predicted(Ssim(), images, images)
    else:
        assert predicted(Ssim(), images, images)["ssim"] == pytest.approx(1)


# --- what is refused


def test_metrics_need_what_they_compare_with() -> None:
    none = Annotations(("a",))
    for metric, needed in ((Accuracy(), "classes"), (Coco(), "boxes"), (Psnr(), "values to be predicted")):
        with pytest.raises(InputError, match=f"{metric_name(metric)} needs {needed}"):
            score(Scoring(metrics=(metric,)), [{"out": np.zeros(3)}], none, [SIZES])


def test_two_metrics_of_a_name_are_refused() -> None:
    with pytest.raises(InputError, match="'accuracy' twice; give each a name"):
        score(Scoring(metrics=(Accuracy(), Accuracy(top_k=5))), [], Annotations((), labels=np.empty(0, np.int64)), [])


@pytest.mark.parametrize("name", RESERVED)
def test_names_of_our_own_figures_are_refused(name: str) -> None:
    for taken in (name, f"{name}/cat"):
        with pytest.raises(InputError, match=f"'{taken}' is a figure of every report; give the metric another name"):
            scores(Accuracy(name=taken), OUTPUTS, LABELS)
    with pytest.raises(InputError, match="'a/0' twice"):
        labels = Annotations(("a",), labels=np.zeros(1, np.int64))
        metrics = (Accuracy(name="a/0"), Accuracy(type="accuracy_per_class", name="a"))
        score(Scoring(metrics=metrics), [{"out": np.ones(2)}], labels, [SIZES])


def test_reports_have_no_figures_but_those_that_are_reserved() -> None:
    values = {"out": np.random.default_rng(0).random((4, 6)), "more": np.ones((4, 2))}
    parts = Parts(tuple(Part(name, "", (name,)) for name in values), ())
    comparison = plan_comparison(parts, values, labels=True)
    ours = classification_metrics(values, np.zeros(4, np.int64))
    ours |= comparison_metrics((values, values), (values, values), comparison)
    assert {name.partition("/")[0] for name in ours} | {"latency_ms", "throughput_fps"} == set(RESERVED)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (MeanAveragePrecision(overlap_threshold=50), "metrics.0: overlap_threshold 50; expected above 0 and up to 1"),
        (MeanAveragePrecision(overlap_threshold=0), "metrics.0: overlap_threshold 0; expected"),
        (MeanAveragePrecision(overlap_threshold=math.nan), "metrics.0: overlap_threshold nan; expected"),
        (Coco(max_detections=0), "metrics.0: max_detections 0; expected at least 1"),
        (Psnr(scale_border=-1), "metrics.0: scale_border -1; expected at least 0"),
        (Accuracy(top_k=0), "metrics.0: top_k 0; expected at least 1"),
        (Nms(overlap=50), "postprocessing.0: overlap 50; expected 0 to 1"),
        (Nms(keep_top_k=-1), "postprocessing.0: keep_top_k -1; expected at least 0"),
        (ClipBoxes(dst_width=-5, dst_height=3), "postprocessing.0: a side of -5 pixels; expected at least 1"),
        (YoloV2(cells=0), "adapter: cells 0; expected at least 1"),
        (YoloV2(num=0), "adapter: num 0; expected at least 1"),
        (Yolo(outputs=()), "adapter: outputs: expected at least one"),
        (Yolo(outputs=("g",), classes=0), "adapter: classes 0; expected at least 1"),
        (Yolo(outputs=("g",), coords=2), "adapter: coords 2; expected at least 4"),
        (Yolo(outputs=("g",), cells=(13, 0)), "adapter: cells (13, 0); expected at least 1"),
        (Yolo(outputs=("g",), anchor_masks=((0,), ())), "adapter: anchor_masks [[0], []]; expected numbers of anchors"),
        (Yolo(outputs=("g",), anchor_masks=((-1, 0),)), "adapter: anchor_masks [[-1, 0]]; expected"),
    ],
)
def test_options_out_of_range_are_named(part: Any, message: str) -> None:
    scoring = Scoring(
        part if isinstance(part, Yolo | YoloV2) else Ssd(),
        (part,) if isinstance(part, Nms | ClipBoxes) else (),
        () if isinstance(part, Yolo | YoloV2 | Nms | ClipBoxes) else (part,),
    )
    (found,) = out_of_range(scoring)
    assert ": ".join(found).startswith(message)
    with pytest.raises(InputError):
        score(scoring, [], Annotations(()), [])


def test_adapters_and_metrics_have_to_fit() -> None:
    annotations = Annotations(("a",), boxes=(boxes((0, 0, 0, 1, 1)),), classes={0: "x"})
    with pytest.raises(InputError, match="adapter classification finds no boxes"):
        score(Scoring(metrics=(Coco(),)), [{"out": np.zeros(3)}], annotations, [SIZES])
    with pytest.raises(InputError, match="need one score a class from every sample"):
        scores(Accuracy(), [[1.0, 2.0], [1.0, 2.0, 3.0]], [0, 1])
    with pytest.raises(InputError, match="labels go up to 7, but the output has 3 classes"):
        scores(Accuracy(), [[1.0, 2.0, 3.0]], [7])
    with pytest.raises(InputError, match="top_k 0; expected at least 1"):
        scores(Accuracy(top_k=0), [[1.0, 2.0, 3.0]], [0])
