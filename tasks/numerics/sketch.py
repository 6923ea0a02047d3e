"""A sketch of a tensor: some hundreds of its values, at the same places in every sample of one shape.

Of images, and of whatever else has more than three axes, every channel (axis 1) is seen on a grid over the other axes,
which leaves their layout in memory alone. Other tensors, and those whose size is not known beforehand, are read at
fixed fractions of their length.
"""

from math import prod

import numpy as np
from numpy.typing import NDArray

# Values of one sample, where its channels are not more.
VALUES = 512
# Places on the grid at least, so that many channels do not leave a single one.
FEWEST_PLACES = 2
# Values of one sample in any case.
MOST_VALUES = 8192

CHANNEL_AXIS = 1
_IMAGE_RANK = 4


def grid(shape: tuple[int, ...] | None) -> tuple[slice, ...] | None:
    """Slices of a tensor of ``shape`` that leave a sketch of each sample on axis 0; None where there is no grid."""
    if shape is None or len(shape) < _IMAGE_RANK or shape[CHANNEL_AXIS] > MOST_VALUES or 0 in shape:
        return None
    channels = shape[CHANNEL_AXIS]
    places = max(VALUES // channels, min(FEWEST_PLACES, MOST_VALUES // channels))
    slices = [slice(0, size, 1) for size in shape]
    free = sorted(range(CHANNEL_AXIS + 1, len(shape)), key=lambda axis: shape[axis])
    for position, axis in enumerate(free):
        count = min(shape[axis], max(1, round(places ** (1 / (len(free) - position)))))
        slices[axis] = _spread(shape[axis], count)
        places = max(1, places // count)
    return tuple(slices)


def sketch_width(shape: tuple[int, ...] | None, batch: int) -> int:
    """How many values a sketch of one of ``batch`` samples has."""
    slices = grid(shape)
    if slices is None or shape is None:
        return VALUES
    return prod(len(range(*each.indices(size))) for each, size in zip(slices, shape, strict=True)) // batch


def fractions() -> NDArray[np.float32]:
    """The places of VALUES values as fractions of a tensor's length, in [0, 1), ascending."""
    return np.sort(np.random.default_rng(0).random(VALUES, np.float32))


def _spread(size: int, count: int) -> slice:
    """``count`` places out of ``size``, evenly apart, as far from one end as from the other."""
    step = size // count
    start = (size - 1 - step * (count - 1)) // 2
    return slice(start, start + step * (count - 1) + 1, step)
