"""Postprocessing of boxes, with the names and options of Accuracy Checker's postprocessors."""

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from tasks.data.annotations import Boxes
from tasks.data.callables import call
from tasks.data.operations import Sizes
from tasks.errors import InputError
from tasks.metrics.predictions import as_detections
from tasks.numerics.detections import Detections


@dataclass(frozen=True, kw_only=True)
class ResizePredictionBoxes:
    """Scale boxes from 0 to 1 to pixels of the stored image; ``rescale``: from pixels of the resized one."""

    type: Literal["resize_prediction_boxes"] = "resize_prediction_boxes"
    rescale: bool = False


@dataclass(frozen=True, kw_only=True)
class Nms:
    """Non-maximum suppression: of boxes that overlap by more than ``overlap`` only the highest score stays.

    ``class_aware_nms`` treats each class alone. Boxes whose score is not above 0 are dropped as well.

    Attributes:
        overlap: Intersection over union, from 0 to 1.
        include_boundaries: Whether a box includes its last pixel, so that it is one wider and higher.
        keep_top_k: Most boxes to keep; None keeps all.
    """

    type: Literal["nms", "class_aware_nms"] = "nms"
    overlap: float = 0.5
    include_boundaries: bool = True
    keep_top_k: int | None = None


@dataclass(frozen=True, kw_only=True)
class ClipBoxes:
    """Clip boxes, found and annotated, to the stored image, the size given, or the unit square."""

    type: Literal["clip_boxes"] = "clip_boxes"
    size: int | None = None
    dst_width: int | None = None
    dst_height: int | None = None
    boxes_normalized: bool = False
    apply_to: Literal["prediction", "annotation", "all"] = "all"


@dataclass(frozen=True, kw_only=True)
class CallOnDetections:
    """A user's function: ``f(detections)`` takes and returns a dictionary of labels, scores and boxes."""

    path: str
    type: Literal["callable"] = "callable"


Postprocessor = ResizePredictionBoxes | Nms | ClipBoxes | CallOnDetections


def step_problem(step: Postprocessor) -> str | None:
    """The problem with the options of a step; None if there is none.

    Args:
        step: The step.
    """
    match step:
        case Nms(overlap=share) if not 0 <= share <= 1:
            return f"overlap {share}; expected 0 to 1"
        case Nms(keep_top_k=int(count)) if count < 0:
            return f"keep_top_k {count}; expected at least 0"
        case ClipBoxes(size=size, dst_width=width, dst_height=height):
            sides = [side for side in (size, width, height) if side is not None and side < 1]
            return f"a side of {sides[0]} pixels; expected at least 1" if sides else None
    return None


def postprocess(
    found: Detections, known: Boxes, steps: tuple[Postprocessor, ...], sizes: Sizes
) -> tuple[Detections, Boxes]:
    """The detections and the annotated boxes of one image after all steps.

    Args:
        found: Objects that the model found.
        known: Objects that are annotated.
        steps: What to do, in order.
        sizes: Sizes of the image.

    Raises:
        InputError: A function of the user's fails or returns no detections.
    """
    for step in steps:
        match step:
            case ResizePredictionBoxes(rescale=rescale):
                height, width = sizes.stored
                if rescale:
                    height, width = height / sizes.resized[0], width / sizes.resized[1]  # type: ignore[assignment]
                found = replace(found, corners=found.corners * [width, height, width, height])
            case Nms():
                found = found.take(_survivors(found, step))
            case ClipBoxes():
                limits = _limits(step, sizes)
                if step.apply_to != "annotation":
                    found = replace(found, corners=found.corners.clip(0, limits))
                if step.apply_to != "prediction":
                    known = replace(known, corners=known.corners.clip(0, limits))
            case CallOnDetections(path=path):
                given = {"labels": found.labels, "scores": found.scores, "boxes": found.corners}
                result = call(path, "postprocessing", given)
                if not isinstance(result, dict):
                    raise InputError(f"{path} returned {type(result).__name__}; expected a dictionary.")
                found = as_detections(result, path)
    return found, known


def _survivors(found: Detections, step: Nms) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """The indices of the boxes that non-maximum suppression keeps."""
    extents = found.corners[:, 2:] - found.corners[:, :2] + step.include_boundaries
    rectangles = np.hstack([found.corners[:, :2], extents])
    if step.type == "class_aware_nms":
        groups = [np.flatnonzero(found.labels == label) for label in np.unique(found.labels)]
    else:
        groups = [np.arange(len(found.labels))]
    kept = [np.empty(0, np.intp)]
    for group in groups:
        if group.size:
            best = cv2.dnn.NMSBoxes(
                rectangles[group].tolist(), found.scores[group].tolist(), 0.0, step.overlap, 1.0, step.keep_top_k or 0
            )
            kept.append(group[np.asarray(best, np.intp)])
    return np.concatenate(kept)


def _limits(step: ClipBoxes, sizes: Sizes) -> list[float]:
    """The largest x_min, y_min, x_max and y_max."""
    if step.boxes_normalized:
        return [1.0] * 4
    height, width = step.size or step.dst_height or sizes.stored[0], step.size or step.dst_width or sizes.stored[1]
    return [width, height, width, height]
