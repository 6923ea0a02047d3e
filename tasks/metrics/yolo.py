"""Decoding of YOLO's outputs, grids of cells with a few anchors each, as Accuracy Checker decodes them.

A cell holds for each anchor t_x, t_y, t_w, t_h, a confidence and a score per class. Decoded boxes lie within 0 and 1.
Sources: Redmon and Farhadi, "YOLO9000", arXiv:1612.08242, and "YOLOv3", arXiv:1804.02767; YOLOv5 as published.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.errors import InputError
from tasks.numerics.activations import exponential, sigmoid, softmax
from tasks.numerics.detections import Detections, from_centres

Array = NDArray[Any]
Anchors = tuple[float, ...]

KNOWN_ANCHORS: dict[str, Anchors] = {
    "yolo_v2": (1.3221, 1.73145, 3.19275, 4.00944, 5.05587, 8.09892, 9.47112, 4.84053, 11.2364, 10.0071),
    "tiny_yolo_v2": (1.08, 1.19, 3.42, 4.41, 6.63, 11.38, 9.42, 5.11, 16.62, 10.52),
    "yolo_v3": (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326),
    "tiny_yolo_v3": (10, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319),
}
AnchorName = Literal["yolo_v2", "tiny_yolo_v2", "yolo_v3", "tiny_yolo_v3"]


@dataclass(frozen=True, kw_only=True)
class YoloV2:
    """One square grid of ``cells`` x ``cells``, with anchors in units of its cells.

    ``raw_output``: the network applies no sigmoid to coordinates and confidences and no softmax to scores.
    """

    type: Literal["yolo_v2"] = "yolo_v2"
    output: str | None = None
    classes: int = 20
    coords: int = 4
    num: int = 5
    anchors: Anchors | AnchorName = "yolo_v2"
    cells: int = 13
    raw_output: bool = False
    output_format: Literal["BHW", "HWB"] = "BHW"


@dataclass(frozen=True, kw_only=True)
class Yolo:
    """Several grids, the ``outputs``, with anchors in pixels of the input.

    ``anchor_masks`` lists the anchors of each grid by their numbers. ``raw_output``: the network applies a sigmoid to
    nothing but the sizes. Boxes below ``threshold`` are dropped. Grids that are stored flat need ``do_reshape`` and
    their ``cells``.
    """

    outputs: tuple[str, ...]
    type: Literal["yolo_v3", "yolo_v5"] = "yolo_v3"
    classes: int = 80
    coords: int = 4
    num: int = 3
    anchors: Anchors | AnchorName = "yolo_v3"
    anchor_masks: tuple[tuple[int, ...], ...] | None = None
    threshold: float = 0.001
    cells: tuple[int, ...] = (13, 26, 52)
    do_reshape: bool = False
    raw_output: bool = False
    output_format: Literal["BHW", "HWB"] = "BHW"
    multiple_labels: bool = False


@dataclass(frozen=True)
class _Grid:
    """The cells of one output, one row per cell and anchor.

    Attributes:
        coordinates: t_x and t_y, (rows, 2).
        sizes: t_w and t_h, (rows, 2).
        confidences: (rows,).
        scores: (rows, classes).
        anchors: Width and height of each row's anchor, (rows, 2).
        places: Column and row of the cell, (rows, 2).
        shape: Rows and columns of the grid.
    """

    coordinates: Array
    sizes: Array
    confidences: Array
    scores: Array
    anchors: Array
    places: Array
    shape: tuple[int, int]


def grid_problem(adapter: Yolo | YoloV2) -> str | None:
    """The problem with the options of an adapter; None if there is none.

    Args:
        adapter: The adapter.
    """
    counts = {"classes": adapter.classes, "num": adapter.num}
    if wrong := [f"{name} {count}; expected at least 1" for name, count in counts.items() if count < 1]:
        return wrong[0]
    if adapter.coords < 4:
        return f"coords {adapter.coords}; expected at least 4"
    cells = adapter.cells if isinstance(adapter, Yolo) else (adapter.cells,)
    if not all(count > 0 for count in cells):
        return f"cells {adapter.cells}; expected at least 1"
    if isinstance(adapter, Yolo) and not adapter.outputs:
        return "outputs: expected at least one"
    if isinstance(adapter, Yolo) and not all(mask and min(mask) >= 0 for mask in adapter.anchor_masks or ()):
        return f"anchor_masks {[list(mask) for mask in adapter.anchor_masks or ()]}; expected numbers of anchors from 0"
    return None


def decode_yolo(adapter: Yolo, outputs: list[Array], fed: tuple[int, int]) -> Detections:
    """The boxes of all grids, with coordinates from 0 to 1.

    Args:
        adapter: Options.
        outputs: The outputs of one sample, without batch axes.
        fed: Height and width of the model's input, in pixels.

    Raises:
        InputError: Outputs, anchors and masks do not fit together.
    """
    anchors = _anchors(adapter.anchors)
    masks = adapter.anchor_masks or [range(adapter.num)] * len(outputs)
    if len(masks) != len(outputs) or max(max(mask) for mask in masks) >= len(anchors):
        raise InputError(
            f"adapter {adapter.type}: anchor_masks {[list(mask) for mask in masks]} do not fit"
            f" {len(outputs)} outputs and {len(anchors)} anchors."
        )
    found = []
    for place, (output, mask) in enumerate(zip(outputs, masks, strict=True)):
        cells = adapter.cells[place] if place < len(adapter.cells) else None
        flat = adapter.do_reshape or output.ndim != 3
        grid = _grid(adapter, output, anchors[list(mask)], (cells, cells) if flat and cells else None)
        if adapter.raw_output and adapter.type == "yolo_v5":
            centres = 2 * sigmoid(grid.coordinates) - 0.5 + grid.places
            extents = (2 * sigmoid(grid.sizes)) ** 2 * grid.anchors
        else:
            shift = sigmoid(grid.coordinates) if adapter.raw_output else grid.coordinates
            centres, extents = shift + grid.places, exponential(grid.sizes) * grid.anchors
        corners = from_centres(centres / grid.shape[::-1], extents / fed[::-1])
        confidences = sigmoid(grid.confidences) if adapter.raw_output else grid.confidences
        scores = sigmoid(grid.scores) if adapter.raw_output else grid.scores
        found.append(_choose(corners, confidences, scores, adapter.threshold, several=adapter.multiple_labels))
    return Detections(*(np.concatenate([getattr(each, name) for each in found]) for name in vars(found[0])))


def decode_yolo_v2(adapter: YoloV2, output: Array) -> Detections:
    """The boxes of the grid with a confidence above 0.001, with coordinates from 0 to 1.

    Args:
        adapter: Options.
        output: The output of one sample, without its batch axis.

    Raises:
        InputError: The output has another size.
    """
    anchors = _anchors(adapter.anchors)[: adapter.num]
    grid = _grid(adapter, output, anchors, None if output.ndim == 3 else (adapter.cells, adapter.cells))
    confidences, scores, shift = grid.confidences, grid.scores, grid.coordinates
    if adapter.raw_output:
        confidences, shift = sigmoid(confidences), sigmoid(shift)
        scores = softmax(scores)
    extents = exponential(grid.sizes) * grid.anchors
    corners = from_centres((shift + grid.places) / grid.shape[::-1], extents / grid.shape[::-1])
    return _choose(corners, confidences, scores, 0.001, several=False)


def _grid(adapter: Yolo | YoloV2, output: Array, anchors: Array, cells: tuple[int, int] | None) -> _Grid:
    """The cells of an output, row by row, with their anchors."""
    number, width = len(anchors), adapter.coords + 1 + adapter.classes
    by_channel = adapter.output_format == "BHW"
    if cells:
        per_cell, rest = divmod(output.size, cells[0] * cells[1])
        if rest:
            raise InputError(f"adapter {adapter.type}: {output.size} values do not fill {cells[0]} x {cells[1]} cells.")
        output = output.reshape((per_cell, *cells) if by_channel else (*cells, per_cell))
    if output.ndim != 3:
        raise InputError(f"adapter {adapter.type}: an output of shape {list(output.shape)} needs cells.")
    values = output if by_channel else output.transpose(2, 0, 1)
    if values.shape[0] != number * width:
        raise InputError(
            f"adapter {adapter.type}: the output has {values.shape[0]} values a cell; expected {number * width},"
            f" {number} anchors with {adapter.coords} coordinates, a confidence and {adapter.classes} classes."
        )
    rows, columns = values.shape[1:]
    flat = values.reshape(number, width, rows, columns).transpose(2, 3, 0, 1).reshape(-1, width).astype(np.float64)
    row, column, anchor = (each.reshape(-1) for each in np.indices((rows, columns, number)))
    return _Grid(
        coordinates=flat[:, :2],
        sizes=flat[:, 2:4],
        confidences=flat[:, adapter.coords],
        scores=flat[:, adapter.coords + 1 :],
        anchors=anchors[anchor],
        places=np.stack([column, row], axis=1),
        shape=(rows, columns),
    )


def _choose(corners: Array, confidences: Array, scores: Array, threshold: float, *, several: bool) -> Detections:
    """Boxes above the threshold: with ``several``, one for each class whose score is; else the best class of each."""
    weighted = scores * confidences[:, None]
    if several:
        boxes, labels = np.nonzero(weighted > threshold)
    else:
        boxes = np.flatnonzero(confidences > threshold)
        labels = weighted[boxes].argmax(axis=1) if boxes.size else np.empty(0, np.int64)
    return Detections(labels.astype(np.int64), weighted[boxes, labels], corners[boxes])


def _anchors(given: str | Anchors) -> Array:
    """The anchors by width and height, (anchors, 2)."""
    values = KNOWN_ANCHORS[given] if isinstance(given, str) else given
    if not values or len(values) % 2:
        raise InputError(f"anchors: expected pairs of width and height, got {len(values)} numbers.")
    return np.array(values, np.float64).reshape(-1, 2)
