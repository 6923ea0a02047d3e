"""The objects that a detection model finds in one image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects found in one image, one element each.

    Attributes:
        labels: Classes, (objects,), int64.
        scores: Confidences, (objects,), float64.
        corners: Boxes x_min, y_min, x_max, y_max, (objects, 4), float64.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    corners: NDArray[np.float64]

    def take(self, places: NDArray[np.integer]) -> "Detections":
        """Some of the objects, in the order asked for.

        Args:
            places: Their indices, (any,), integers.
        """
        return Detections(self.labels[places], self.scores[places], self.corners[places])


def from_centres(centres: NDArray[np.floating], extents: NDArray[np.floating]) -> NDArray[np.float64]:
    """Corners of boxes, x_min, y_min, x_max, y_max, (objects, 4), float64.

    Args:
        centres: Centres x, y, (objects, 2), in any unit of length.
        extents: Widths and heights, (objects, 2), in the same unit.
    """
    return np.hstack([centres - extents / 2, centres + extents / 2]).astype(np.float64)
