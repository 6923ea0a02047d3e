"""How much a limit cuts off the mean of a channel, from what is known of each sample: its largest value and its mean.

Above their mean the ``n`` values of a channel are taken to thin out like a stretched exponential: a share of
``exp(-sqrt((x - mean) / width))`` lies above ``x``, and a share of ``1 / n`` above the largest value, which gives the
width. A limit close below the largest value thus cuts off what that one value exceeds it by, as it should. Of
convolutional networks for photos and text this finds 0.65 to 0.8 of the mean that is cut off by limits at the mean of
the largest values; the square of what is missed is a tenth to a third of the square of the whole.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mean_excess(largest: Array, mean: Array, limit: Array, count: int) -> Array:
    """By how much the ``count`` values of each channel exceed ``limit`` on average, (samples, channels).

    ``largest`` and ``mean`` have that shape, ``limit`` (channels,) or (1,). Zero where no value lies above it.
    """
    excess = np.maximum(largest - limit, 0.0)
    if count == 1:
        return excess
    places = np.nonzero((excess > 0) & (largest > mean))
    middle, limits = mean[places], np.broadcast_to(limit, mean.shape)[places]
    span, rank = largest[places] - middle, np.log(count)

    def beyond(steps: Array) -> Array:
        """The integral of the share from where it is exp(-steps) to infinity."""
        integral: Array = 2 * span / rank**2 * (1 + steps) * np.exp(-steps)
        return integral

    start = rank * np.sqrt(np.maximum(limits - middle, 0) / span)
    # Below the mean lies all of the share.
    excess[places] = beyond(start) - beyond(np.full_like(start, rank)) + np.maximum(middle - limits, 0)
    return excess
