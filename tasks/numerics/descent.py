"""Weights on a grid, and coordinate descent over their codes: the error of a layer can only fall."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from tasks.numerics.moments import Array

# Columns whose moves are added up before they reach the others.
BLOCK = 64
# Coordinate descent ends when a pass lowers the error by less than this share.
LEAST_GAIN = 1e-4
# Moves of two codes at once, a row.
MOST_PAIRS = 30


@dataclass(frozen=True)
class Grid:
    """Values that weights may take: ``(code - zero_point) * scale`` for integers from ``low`` to ``high``.

    ``scale`` and ``zero_point`` have the shape (groups, outputs). ``shared``: there is one scale for all rows.
    """

    low: int
    high: int
    scale: Array
    zero_point: Array
    shared: bool = False

    def nearest(self, values: Array) -> Array:
        """The values of the grid nearest to ``values``, (groups, outputs) or with an axis of inputs behind."""
        scale, zero = (_spread(each, values) for each in (self.scale, self.zero_point))
        return np.asarray((np.clip(np.rint(values / scale + zero), self.low, self.high) - zero) * scale)

    def codes(self, weights: Array) -> Array:
        """The integers of weights that lie on the grid."""
        return np.rint(weights / self.scale[:, :, None] + self.zero_point[:, :, None])

    def values(self, codes: Array) -> Array:
        """The weights that codes (groups, outputs, inputs) stand for."""
        return np.asarray((codes - self.zero_point[:, :, None]) * self.scale[:, :, None])


def descend(weights: Array, hessian: Array, linear: Array, grid: Grid, passes: int) -> Array:
    """Lower ``tr(Wq H Wq') - 2 tr(B Wq')`` by one code at a time, column after column, until nothing much is gained.

    ``weights`` lie on the grid, ``linear`` is B. Rows are independent: a column of all of them moves at once.
    """
    weights, size = weights.copy(), weights.shape[-1]
    diagonal = np.einsum("gdd->gd", hessian)
    slope = weights @ hessian - linear
    least = float(np.sum(weights * (slope - linear)))
    for _ in range(passes):
        for start in range(0, size, BLOCK):
            block = slice(start, min(start + BLOCK, size))
            before, local, own = weights[:, :, block].copy(), slope[:, :, block].copy(), hessian[:, block, block]
            for column in range(local.shape[-1]):
                place = start + column
                best = grid.nearest(weights[:, :, place] - local[:, :, column] / diagonal[:, None, place])
                step = best - weights[:, :, place]
                if step.any():
                    local += step[:, :, None] * own[:, None, column]
                    weights[:, :, place] = best
            slope += (weights[:, :, block] - before) @ hessian[:, block]
        loss = float(np.sum(weights * (slope - linear)))
        if least - loss <= LEAST_GAIN * abs(least):
            break
        least = loss
    return weights


def descend_by_pairs(weights: Array, hessian: Array, linear: Array, grid: Grid) -> Array:
    """Lower the error where no single code can: codes of correlated inputs hold each other in place.

    In each row the two codes that gain most together move by a level, until none gain. All pairs are looked at, which
    costs (groups, outputs, inputs, inputs).
    """
    weights, itself = weights.copy(), np.arange(weights.shape[-1])
    scale, diagonal = grid.scale[:, :, None], np.einsum("gdd->gd", hessian)[:, None]
    slope = weights @ hessian - linear
    for _ in range(MOST_PAIRS):
        codes, alone = grid.codes(weights), {}
        for step in (1, -1):
            inside = (codes + step <= grid.high) & (codes + step >= grid.low)
            alone[step] = np.where(inside, 2 * step * scale * slope + scale**2 * diagonal, np.inf)
        least, best = np.zeros(weights.shape[:2]), np.zeros_like(weights)
        for first, second in product((1, -1), repeat=2):
            together = 2 * first * second * scale[..., None] ** 2 * hessian[:, None]
            change = alone[first][..., None] + alone[second][..., None, :] + together
            change[..., itself, itself] = np.inf
            flat = change.reshape(*least.shape, -1)
            pair = flat.argmin(axis=-1)[..., None]
            lowest = np.take_along_axis(flat, pair, axis=-1)[..., 0]
            move = np.zeros_like(weights)
            for place, step in zip(np.divmod(pair, len(itself)), (first, second), strict=True):
                np.put_along_axis(move, place, step * scale, axis=-1)
            best = np.where((lowest < least)[..., None], move, best)
            least = np.minimum(lowest, least)
        if not best.any():
            break
        weights += best
        slope += best @ hessian
    return grid.nearest(weights)


def _spread(each: Array, values: Array) -> Array:
    return each if values.ndim == each.ndim else each[:, :, None]
