"""Layer-wise reconstruction: weights on a grid whose layer answers as nearly like the float layer as they can.

With the moments of a layer (see :mod:`tasks.numerics.moments`) its mean squared error is ``tr(Wq G Wq') - 2 tr(C Wq')``
plus a constant, where ``G`` is the covariance of its inputs in the quantized network and ``C`` that of the float
network's answers with these inputs. In this order

* :func:`compensate` finds the unrounded weights that best make up for the error of the inputs: least squares with a
  ridge, chosen by cross-validation;
* :func:`search_scales` rounds them with several scales and keeps the best one of each output; rounding spreads the
  error of each input's weights over the inputs that follow (Frantar et al. 2022, "GPTQ", arXiv:2210.17323, in blocks as
  in its section 3);
* :func:`~tasks.numerics.descent.descend` moves one code after the other to its optimum;
* :func:`~tasks.numerics.descent.descend_by_pairs` moves two at once where no single one gains;
* :func:`fit_scales` solves for the scales that suit the codes best.

Weights are (groups, outputs, inputs), float64. A depthwise convolution has one group per channel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from tasks.numerics.descent import BLOCK, Grid, descend, descend_by_pairs
from tasks.numerics.moments import Array, Moments, best_bias, error, merge

# Ridges to try, in units of the mean variance of the inputs.
RIDGES = (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
# Dampings to try, in units of the mean variance of the inputs; the first is that without folds. They keep rounding from
# relying on covariances that few samples tell badly: the fewer samples, the more damping is best.
DAMPINGS = (3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
# Inputs that do not vary get this share of the largest variance instead.
LEAST_VARIANCE = 1e-9
# Multiples of the scale to try: first these, then these of the best.
FACTORS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FINE_FACTORS = (0.925, 0.95, 0.975, 1.0, 1.025, 1.05)
# Rounds of coordinate descent and fitted scales.
ROUNDS = 3
# Most elements of an array while several scales, or all pairs of codes, are tried at once.
MOST_ELEMENTS = 4_000_000


@dataclass(frozen=True)
class Reconstruction:
    """A tuned layer.

    Attributes:
        codes: Codes of the weights, (groups, outputs, inputs).
        grid: The grid they belong to.
        bias: The bias, (groups, outputs).
        before: Mean squared errors with the codes and the bias that were given, (groups, outputs).
        after: Those with the tuned ones; none is higher, or with a shared scale their sum is not.
    """

    codes: Array
    grid: Grid
    bias: Array
    before: Array
    after: Array


def reconstruct(
    weights: Array,
    codes: Array,
    grid: Grid,
    bias: Array,
    folds: Sequence[Moments],
    moments: Moments,
    *,
    tune_codes: bool = True,
    tune_scales: bool = True,
    tune_bias: bool = True,
    passes: int = 20,
) -> Reconstruction:
    """The layer with tuned codes, scales and bias.

    An output whose error rose keeps what it had; outputs with a shared scale do so together.

    Args:
        weights: Float weights, (groups, outputs, inputs).
        codes: Codes to start from, (groups, outputs, inputs).
        grid: Their grid.
        bias: Bias to start from, (groups, outputs).
        folds: Moments of disjoint parts of the columns; with fewer than two the error of the inputs stays.
        moments: Moments of all columns.
        tune_codes: Whether codes may change.
        tune_scales: Whether scales may change.
        tune_bias: Whether the bias may change.
        passes: Most passes of coordinate descent each time.
    """
    before = error(grid.values(codes), moments, bias)
    target = compensate(weights, moments, folds) if len(folds) > 1 else weights
    found, new = grid.values(codes), grid
    if tune_codes:
        hessian = damped(moments.gram, choose_damping(target, grid, folds))
        found, new = _round(target, hessian, grid, passes, tune_scales=tune_scales)
    elif tune_scales:
        hessian = damped(moments.gram)
        found, new = fit_scales(found, grid, hessian, target @ hessian)
    new_bias = best_bias(found, moments) if tune_bias else bias
    after = error(found, moments, new_bias)
    # Outputs that share a scale are accepted together or not at all.
    worse = np.broadcast_to(after.sum() > before.sum(), after.shape) if grid.shared else after > before
    kept = Grid(grid.low, grid.high, np.where(worse, grid.scale, new.scale), grid.zero_point, grid.shared)
    kept_codes = np.where(worse[:, :, None], codes, new.codes(found))
    kept_bias = np.where(worse, bias, new_bias)
    after = np.where(worse, before, after)
    return Reconstruction(kept_codes, kept, kept_bias, before, after)


def damped(gram: Array, damping: Array | float = DAMPINGS[0]) -> Array:
    """The covariance of the inputs plus a multiple of the identity: positive definite, (groups, inputs, inputs).

    Args:
        gram: Covariance of the inputs, (groups, inputs, inputs).
        damping: The multiple, in units of the mean variance of a group; one number, or (groups,).
    """
    diagonal = np.einsum("gdd->gd", gram)
    least = LEAST_VARIANCE * diagonal.max(initial=0.0) + np.finfo(np.float32).tiny
    return _with_ridge(gram, damping * diagonal.mean(axis=1) + least)


def choose_damping(target: Array, grid: Grid, folds: Sequence[Moments]) -> Array:
    """For each group the one of DAMPINGS with the least error of rounding on unseen columns, (groups,).

    Rounding knows all folds but the last, which holds the unseen columns. Fewer than two folds give the first damping.

    Args:
        target: Unrounded weights, (groups, outputs, inputs).
        grid: The values that weights may take.
        folds: Moments of disjoint parts of the columns.
    """
    if len(folds) < 2:
        return np.full(len(target), DAMPINGS[0])
    *others, left = folds
    gram = merge(others).gram

    def loss(damping: float) -> Array:
        missed = round_in_turn(target, root_of(damped(gram, damping)), grid) - target
        return np.asarray(np.sum((missed @ left.gram) * missed, axis=(1, 2)))

    best = np.argmin([loss(damping) for damping in DAMPINGS], axis=0)
    return np.asarray(np.take(DAMPINGS, best))


def compensate(weights: Array, moments: Moments, folds: Sequence[Moments]) -> Array:
    """Unrounded weights that make up for the error of the inputs, (groups, outputs, inputs).

    They are ``W + (C - W G) (G + ridge)^-1``. Each output gets the ridge with the least error in cross-validation, or
    its float weights if none lowers the error.

    Args:
        weights: Float weights W, (groups, outputs, inputs).
        moments: Moments of all columns.
        folds: Moments of disjoint parts of the columns, at least two.
    """

    def scores(left: Moments) -> list[Array]:
        others = merge([fold for fold in folds if fold is not left])
        return [left.count[:, None] * error(each, left) for each in chain([weights], _least_squares(weights, others))]

    # One fold after the other: the merged others take as much memory as all folds.
    least, *tried = np.sum([scores(left) for left in folds], axis=0)
    best = weights
    for score, whole in zip(tried, _least_squares(weights, moments), strict=True):
        best = np.where((score < least)[:, :, None], whole, best)
        least = np.minimum(score, least)
    return best


def search_scales(target: Array, hessian: Array, grid: Grid, factors: Sequence[float]) -> tuple[Array, Grid]:
    """Rounded weights, (groups, outputs, inputs), and their grid: each output has its best scale.

    Args:
        target: Unrounded weights, (groups, outputs, inputs).
        hessian: Damped covariance of the inputs, (groups, inputs, inputs).
        grid: The values that weights may take.
        factors: Multiples of the grid's scales to try.
    """
    root = root_of(hessian)
    least = np.full(grid.scale.shape, np.inf)
    found, best = np.empty_like(target), grid.scale
    for some in np.array_split(np.asarray(factors), -(-target.size * len(factors) // MOST_ELEMENTS)):
        if not some.size:
            continue
        tried = replace(
            grid,
            scale=np.concatenate([grid.scale * factor for factor in some], axis=1),
            zero_point=np.tile(grid.zero_point, some.size),
        )
        rounded = round_in_turn(np.tile(target, (1, some.size, 1)), root, tried)
        for factor, each in zip(some, np.split(rounded, some.size, axis=1), strict=True):
            missed = each - target
            loss = np.einsum("god,god->go", missed @ hessian, missed)
            if grid.shared:
                loss = np.full_like(loss, loss.sum())
            better = loss < least
            least = np.where(better, loss, least)
            found = np.where(better[:, :, None], each, found)
            best = np.where(better, grid.scale * factor, best)
    return found, replace(grid, scale=best)


def round_in_turn(target: Array, root: Array, grid: Grid) -> Array:
    """Weights rounded one input after the other, (groups, outputs, inputs); those to come compensate for the error.

    An error ``e`` of the weights costs ``|e root|^2``. As ``root`` is triangular, an entry of ``e root`` depends on an
    input and those before it alone: its weights are rounded so that the entry comes near zero. This is Babai's nearest
    plane, and GPTQ without an inverse (Chen et al. 2025, "The Geometry of LLM Quantization", arXiv:2507.18553).

    Args:
        target: Unrounded weights, (groups, outputs, inputs).
        root: Upper triangle, (groups, inputs, inputs), from :func:`root_of`.
        grid: The values that weights may take.
    """
    rounded, missed, size = np.empty_like(target), np.empty_like(target), target.shape[-1]
    for start in range(0, size, BLOCK):
        block = slice(start, min(start + BLOCK, size))
        owed, triangle = missed[:, :, :start] @ root[:, :start, block], root[:, block, block]
        for column in range(owed.shape[-1]):
            wanted = target[:, :, start + column] - owed[:, :, column] / triangle[:, None, column, column]
            rounded[:, :, start + column] = grid.nearest(wanted)
            missed[:, :, start + column] = rounded[:, :, start + column] - target[:, :, start + column]
            owed[:, :, column + 1 :] += missed[:, :, start + column, None] * triangle[:, None, column, column + 1 :]
    return rounded


def root_of(hessian: Array) -> Array:
    """The upper triangle ``root`` with ``root root' = hessian``, (groups, inputs, inputs).

    Args:
        hessian: Symmetric and positive definite, (groups, inputs, inputs).

    Raises:
        numpy.linalg.LinAlgError: It is not positive definite.
    """
    # The lower triangle of the reversed matrix, reversed again.
    return np.asarray(np.linalg.cholesky(hessian[:, ::-1, ::-1])[:, ::-1, ::-1])


def fit_scales(weights: Array, grid: Grid, hessian: Array, linear: Array) -> tuple[Array, Grid]:
    """The weights, (groups, outputs, inputs), and the grid with the scales that suit the codes best.

    The error is quadratic in the scale of given codes. A scale that would not become positive stays as it is.

    Args:
        weights: Weights on the grid, (groups, outputs, inputs).
        grid: Their grid.
        hessian: Damped covariance of the inputs, (groups, inputs, inputs).
        linear: The unrounded weights times ``hessian``, (groups, outputs, inputs).
    """
    unit = weights / grid.scale[:, :, None]
    along = np.einsum("god,god->go", linear, unit)
    square = np.einsum("god,god->go", unit @ hessian, unit)
    if grid.shared:
        along, square = (np.full_like(each, each.sum()) for each in (along, square))
    fits = (along > 0) & (square > 0)
    scale = np.where(fits, along / np.where(fits, square, 1.0), grid.scale)
    return unit * scale[:, :, None], replace(grid, scale=scale)


def _round(target: Array, hessian: Array, grid: Grid, passes: int, *, tune_scales: bool) -> tuple[Array, Grid]:
    """Rounded weights and their grid; ``tune_scales``: scales are searched, then codes and scales tuned in turn."""
    linear = target @ hessian
    found, grid = search_scales(target, hessian, grid, FACTORS if tune_scales else (1.0,))
    if not tune_scales:
        return _descend(found, hessian, linear, grid, passes), grid
    found, grid = search_scales(target, hessian, grid, FINE_FACTORS)
    for _ in range(ROUNDS):
        found = _descend(found, hessian, linear, grid, passes)
        found, grid = fit_scales(found, grid, hessian, linear)
    return found, grid


def _descend(weights: Array, hessian: Array, linear: Array, grid: Grid, passes: int) -> Array:
    """Weights after coordinate descent, by pairs as well in layers with few inputs: a few per cent less error."""
    found = descend(weights, hessian, linear, grid, passes)
    if weights.size * weights.shape[-1] > MOST_ELEMENTS:
        return found
    return descend(descend_by_pairs(found, hessian, linear, grid), hessian, linear, grid, passes)


def _least_squares(weights: Array, moments: Moments) -> Iterator[Array]:
    """For each of RIDGES the weights with the least error, held near the given ones by that ridge."""
    values, vectors = np.linalg.eigh(moments.gram)
    mean = values.mean(axis=1, keepdims=True).clip(np.finfo(np.float32).tiny)
    turned = (moments.cross - weights @ moments.gram) @ vectors
    for ridge in RIDGES:
        yield weights + (turned / (values.clip(0) + ridge * mean)[:, None]) @ np.swapaxes(vectors, 1, 2)


def _with_ridge(gram: Array, ridge: Array) -> Array:
    """A copy of ``gram`` with ``ridge``, (groups,), added to the diagonal."""
    found = gram.copy()
    np.einsum("gdd->gd", found)[...] += ridge[:, None]
    return found
