"""Coordinate descent over the codes of weights: the squared error of a layer falls with every move.

The error is ``tr(Wq H Wq') - 2 tr(B Wq')`` plus a constant (see :mod:`tasks.numerics.reconstruction`); its gradient by
``Wq`` is twice ``Wq H - B``. All arrays are float64.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from tasks.numerics.moments import Array

# Inputs whose moves reach the gradient of the others together, in one product of matrices.
BLOCK = 64
# Coordinate descent ends when a pass lowers the error by less than this share of it.
LEAST_GAIN = 1e-4
# Most moves of two codes at once, for each output.
MOST_PAIRS = 30


@dataclass(frozen=True)
class Grid:
    """The values that weights may take, ``(code - zero_point) * scale`` for each integer code from ``low`` to ``high``.

    Attributes:
        low: Lowest code.
        high: Highest code.
        scale: Scale of each output, (groups, outputs), in units of the weights.
        zero_point: Code of zero, (groups, outputs).
        shared: Whether all outputs have one scale.
    """

    low: int
    high: int
    scale: Array
    zero_point: Array
    shared: bool = False

    def nearest(self, values: Array) -> Array:
        """The values of the grid that are nearest to ``values``, of the same shape.

        Args:
            values: One value per output, (groups, outputs), or weights, (groups, outputs, inputs).
        """
        scale, zero = (_spread(each, values) for each in (self.scale, self.zero_point))
        return np.asarray((np.clip(np.rint(values / scale + zero), self.low, self.high) - zero) * scale)

    def codes(self, weights: Array) -> Array:
        """The codes of weights that lie on the grid, (groups, outputs, inputs), integers in float64.

        Args:
            weights: The weights, (groups, outputs, inputs).
        """
        return np.rint(weights / self.scale[:, :, None] + self.zero_point[:, :, None])

    def values(self, codes: Array) -> Array:
        """The weights that codes stand for, (groups, outputs, inputs).

        Args:
            codes: The codes, (groups, outputs, inputs).
        """
        return np.asarray((codes - self.zero_point[:, :, None]) * self.scale[:, :, None])


def descend(weights: Array, hessian: Array, linear: Array, grid: Grid, passes: int) -> Array:
    """Weights on the grid with an error no higher than before, (groups, outputs, inputs).

    Each step moves the codes of one input to their optimum, those of all outputs at once, as outputs are independent.
    It ends when a pass over all inputs lowers the error by less than LEAST_GAIN of it.

    Args:
        weights: Weights on the grid, (groups, outputs, inputs).
        hessian: The matrix H, (groups, inputs, inputs), with a positive diagonal.
        linear: The matrix B, (groups, outputs, inputs).
        grid: The values that weights may take.
        passes: Most passes over all inputs.
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
    """Weights on the grid with an error no higher than before, (groups, outputs, inputs).

    Codes of correlated inputs hold each other in place: a move of both lowers the error, a move of either does not. In
    each output the two codes that gain most together move by one level each, until none gain or MOST_PAIRS moves are
    done. All pairs are tried at once: memory is (groups, outputs, inputs, inputs).

    Args:
        weights: Weights on the grid, (groups, outputs, inputs).
        hessian: The matrix H, (groups, inputs, inputs).
        linear: The matrix B, (groups, outputs, inputs).
        grid: The values that weights may take.
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
    """``each``, (groups, outputs), with an axis for inputs if ``values`` has one."""
    return each if values.ndim == each.ndim else each[:, :, None]
