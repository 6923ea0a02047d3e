"""A sketch of a tensor: some hundreds of its values, at the same places in every sample of one shape.

Places lie on a grid over all axes but the channels (axis 1 of images, the last axis of sequences), all of which are
seen. A tensor whose size is not known beforehand is read at fixed fractions of its length instead.
"""

import numpy as np
from numpy.typing import NDArray

# Values of one sample, where its channels are not more.
VALUES = 512
# Places along the grid at least, so that many channels do not leave a single one.
FEWEST_PLACES = 2
# Values of one sample in any case.
MOST_VALUES = 8192

_IMAGE_RANK = 4


def grid(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Slices of a tensor of ``shape`` that leave a sketch of each of the samples on axis 0; axes are never lost."""
    rank = len(shape)
    if not rank:
        return ()
    channel_axis = 1 if rank >= _IMAGE_RANK else rank - 1
    channels = shape[channel_axis]
    places = min(max(VALUES // max(channels, 1), FEWEST_PLACES), max(MOST_VALUES // max(channels, 1), 1))
    free = [axis for axis in range(1, rank) if axis != channel_axis]
    slices = [slice(0, size, 1) for size in shape]
    if channels > MOST_VALUES:
        slices[channel_axis] = _spread(channels, MOST_VALUES)
    for position, axis in enumerate(sorted(free, key=lambda axis: shape[axis])):
        count = min(shape[axis], max(1, round(places ** (1 / (len(free) - position)))))
        slices[axis] = _spread(shape[axis], count)
        places = max(1, places // count)
    return tuple(slices)


def fractions() -> NDArray[np.float32]:
    """The places of VALUES values as fractions of a tensor's length, in [0, 1), ascending."""
    return np.sort(np.random.default_rng(0).random(VALUES, np.float32))


def _spread(size: int, count: int) -> slice:
    """``count`` places out of ``size``, evenly apart, as far from one end as from the other."""
    step = size // count
    start = (size - 1 - step * (count - 1)) // 2
    return slice(start, start + step * (count - 1) + 1, step)
