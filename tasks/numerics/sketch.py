"""The places of a sketch: some hundreds of a tensor's values, at the same places in every sample of one shape.

A tensor of four axes or more, such as an image, is read on a grid: every channel (axis 1) at the same places, evenly
spaced over the other axes. Slices read it in whatever layout it lies in memory. Other tensors, and those of unknown
size, are read at fixed fractions of their length.
"""

from math import prod

import numpy as np
from numpy.typing import NDArray

# Values of one sample, unless it has more channels.
VALUES = 512
# Fewest places on the grid of a channel, even if there are many channels.
FEWEST_PLACES = 2
# Most values of one sample; goes before FEWEST_PLACES.
MOST_VALUES = 8192

CHANNEL_AXIS = 1
_IMAGE_RANK = 4


def grid(shape: tuple[int, ...] | None) -> tuple[slice, ...] | None:
    """The slices, one per axis, that leave a sketch of each sample; None for a tensor that is not read on a grid.

    Args:
        shape: Shape of the tensor, samples on axis 0, channels on axis 1; None if it is not known.
    """
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
    """The number of values in the sketch of one sample.

    Args:
        shape: Shape of the tensor, samples on axis 0, channels on axis 1; None if it is not known.
        batch: Number of samples that the tensor holds.
    """
    slices = grid(shape)
    if slices is None or shape is None:
        return VALUES
    return prod(len(range(*each.indices(size))) for each, size in zip(slices, shape, strict=True)) // batch


def fractions() -> NDArray[np.float32]:
    """The places of a sketch without a grid, as fractions of the length: (VALUES,), float32, ascending in [0, 1)."""
    return np.sort(np.random.default_rng(0).random(VALUES, np.float32))


def _spread(size: int, count: int) -> slice:
    """A slice of ``count`` out of ``size`` places, evenly spaced and as far from one end as from the other."""
    step = size // count
    start = (size - 1 - step * (count - 1)) // 2
    return slice(start, start + step * (count - 1) + 1, step)
