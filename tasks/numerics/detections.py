"""Objects that a model found in one image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Detections:
    """``labels`` (n,) int64, ``scores`` (n,) and ``corners`` (n, 4) float64: x_min, y_min, x_max, y_max."""

    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    corners: NDArray[np.float64]

    def take(self, places: NDArray[np.integer]) -> "Detections":
        """Those at these places, in this order."""
        return Detections(self.labels[places], self.scores[places], self.corners[places])


def from_centres(centres: NDArray[np.floating], extents: NDArray[np.floating]) -> NDArray[np.float64]:
    """Corners of boxes by their centres (n, 2) and extents (n, 2)."""
    return np.hstack([centres - extents / 2, centres + extents / 2]).astype(np.float64)
