"""Average precision of detections: COCO's evaluator, set up for COCO's metrics and for those of Pascal VOC."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.data.annotations import Boxes
from tasks.errors import InputError
from tasks.numerics.detections import Detections

_EVERY = 10**9


@dataclass(frozen=True, kw_only=True)
class MeanAveragePrecision:
    """Pascal VOC's mean average precision: for each class the area under precision over recall.

    Each box is matched to the unmatched object that it overlaps most. A class that is annotated but never found has 0.

    Attributes:
        name: Name in reports; None stands for the type.
        overlap_threshold: Least intersection over union of a box with its object, from 0 to 1.
        ignore_difficult: Whether difficult objects do not count, found or missed.
        include_boundaries: Whether boxes include their last pixel.
        integral: The area itself (``max``), or the mean of the precision at 11 recalls (``11point``).
    """

    type: Literal["map"] = "map"
    name: str | None = None
    overlap_threshold: float = 0.5
    ignore_difficult: bool = True
    include_boundaries: bool = True
    integral: Literal["max", "11point"] = "max"


@dataclass(frozen=True, kw_only=True)
class Coco:
    """COCO's average precision or recall.

    Attributes:
        name: Name in reports; None stands for the type.
        max_detections: Most boxes of an image and a class, by their scores.
        threshold: Intersections over union, ``start:step:stop`` or one number.
    """

    type: Literal["coco_precision", "coco_recall"] = "coco_precision"
    name: str | None = None
    max_detections: int = 20
    threshold: float | str = ".50:.05:.95"


def mean_average_precision(
    metric: MeanAveragePrecision, found: Sequence[Detections], known: Sequence[Boxes], classes: Sequence[int]
) -> dict[int, float]:
    """The average precision of each class that is annotated, from 0 to 1, by class.

    Args:
        metric: Options.
        found: Objects that the model found in each image.
        known: Objects that are annotated in each image.
        classes: Classes to evaluate.
    """
    scores = {}
    for label in classes:
        ignored = [boxes.ignored & metric.ignore_difficult for boxes in known]
        positives = sum(int(((boxes.labels == label) & ~out).sum()) for boxes, out in zip(known, ignored, strict=True))
        if not positives:
            continue
        # Recall rises in steps of 1 / positives: the mean of the interpolated precision at these is exactly the area.
        steps = np.arange(1, positives + 1) / positives
        recalls = steps if metric.integral == "max" else np.arange(0.0, 1.1, 0.1)
        evaluation = _evaluate(
            found,
            known,
            ignored,
            [label],
            thresholds=[metric.overlap_threshold],
            most=_EVERY,
            recalls=recalls,
            boundary=metric.include_boundaries,
            crowds=False,
        )
        scores[label] = float(evaluation["precision"].mean())
    return scores


def coco(metric: Coco, found: Sequence[Detections], known: Sequence[Boxes], classes: Sequence[int]) -> dict[int, float]:
    """The average precision or recall of each class that is annotated, from 0 to 1, by class.

    Args:
        metric: Options.
        found: Objects that the model found in each image.
        known: Objects that are annotated in each image.
        classes: Classes to evaluate.

    Raises:
        InputError: The thresholds are malformed (see :func:`coco_thresholds`).
    """
    evaluation = _evaluate(
        found,
        known,
        [boxes.ignored for boxes in known],
        classes,
        thresholds=coco_thresholds(metric.threshold),
        most=metric.max_detections,
        recalls=np.linspace(0, 1, 101),
        boundary=False,
    )
    values = evaluation["precision" if metric.type == "coco_precision" else "recall"]
    by_class = values.reshape(-1, len(classes)) if values.ndim < 3 else values.reshape(-1, values.shape[2])
    return {label: float(by_class[:, place].mean()) for place, label in enumerate(classes) if by_class[0, place] > -1}


def coco_thresholds(given: float | str) -> list[float]:
    """The thresholds of intersection over union.

    Args:
        given: ``start:step:stop`` or one number.

    Raises:
        InputError: It is neither, or a threshold does not lie above 0 and up to 1.
    """
    try:
        numbers = [float(part) for part in str(given).split(":")]
        if len(numbers) == 3:
            start, step, stop = numbers
            numbers = [float(value) for value in np.linspace(start, stop, round((stop - start) / step) + 1)]
        elif len(numbers) == 2:
            raise ValueError
    except (ValueError, ZeroDivisionError) as failure:
        raise InputError(f"threshold {given!r}: expected a number or start:step:stop, like .50:.05:.95.") from failure
    if not all(0 < number <= 1 for number in numbers):
        raise InputError(f"threshold {given!r}: expected overlaps above 0 and up to 1.")
    return numbers


def _evaluate(
    found: Sequence[Detections],
    known: Sequence[Boxes],
    ignored: Sequence[NDArray[np.bool_]],
    classes: Sequence[int],
    *,
    thresholds: Sequence[float],
    most: int,
    recalls: NDArray[np.float64],
    boundary: bool,
    crowds: bool = True,
) -> Mapping[str, Any]:
    """The evaluator's ``precision`` (thresholds, recalls, classes) and ``recall`` (thresholds, classes).

    With ``crowds`` the overlap of a box with an ignored object is the share of the box in it; else it is that of any
    object.
    """
    from pycocotools import mask  # noqa: PLC0415 - only detection needs it
    from pycocotools.coco import COCO  # noqa: PLC0415
    from pycocotools.cocoeval import COCOeval  # noqa: PLC0415

    class Evaluator(COCOeval):  # type: ignore[misc]
        def computeIoU(self, image: int, label: int) -> Any:  # noqa: N802
            objects, boxes = self._gts[image, label], self._dts[image, label]
            if crowds or not objects or not boxes:
                return super().computeIoU(image, label)
            boxes = sorted(boxes, key=lambda box: -box["score"])[:most]
            return mask.iou([box["bbox"] for box in boxes], [each["bbox"] for each in objects], [0] * len(objects))

    def described(image: int, label: int, corners: NDArray[np.float64], **more: Any) -> dict[str, Any]:
        width, height = (float(side) + boundary for side in corners[2:] - corners[:2])
        box = [float(corners[0]), float(corners[1]), width, height]
        return {"image_id": image, "category_id": label, "bbox": box, "area": max(width, 0) * max(height, 0), **more}

    objects = [
        described(image, int(label), corners, iscrowd=int(out))
        for image, (boxes, outs) in enumerate(zip(known, ignored, strict=True))
        for label, corners, out in zip(boxes.labels, boxes.corners, outs, strict=True)
    ]
    detections = [
        described(image, int(label), corners, iscrowd=0, score=float(score))
        for image, each in enumerate(found)
        for label, score, corners in zip(each.labels, each.scores, each.corners, strict=True)
    ]
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress there
        for entries in (objects, detections):
            side = COCO()
            side.dataset = {
                "images": [{"id": image} for image in range(len(known))],
                "categories": [{"id": label} for label in classes],
                "annotations": [{"id": number, **entry} for number, entry in enumerate(entries, start=1)],
            }
            side.createIndex()
            sides.append(side)
        evaluator = Evaluator(*sides, "bbox")
        evaluator.params.imgIds = list(range(len(known)))
        evaluator.params.catIds = list(classes)
        evaluator.params.iouThrs = np.array(thresholds)
        evaluator.params.recThrs = recalls
        evaluator.params.maxDets = [most]
        evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, float("inf")]], ["all"]
        evaluator.evaluate()
        evaluator.accumulate()
    return {"precision": evaluator.eval["precision"][..., 0, 0], "recall": evaluator.eval["recall"][..., 0, 0]}
