"""From float64, in which sums are formed, to float32, in which limits are stored."""

import numpy as np
from numpy.typing import NDArray

LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


def as_float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The values rounded to float32, of the same shape.

    What rounding alone has brought beyond the largest number of float32 becomes that number, what lies far beyond
    becomes infinite. NaN stays NaN.

    Args:
        values: Any numbers, float64.

    Example:
        >>> as_float32(np.array([1.0, 1.001 * LARGEST_FLOAT32, -1e250])).tolist() == [1.0, LARGEST_FLOAT32, -np.inf]
        True
    """
    near = np.clip(values, -LARGEST_FLOAT32, LARGEST_FLOAT32)
    return np.where(np.abs(values) > 2 * LARGEST_FLOAT32, np.copysign(np.inf, values), near).astype(np.float32)
