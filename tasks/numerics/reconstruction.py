"""Layer-wise least squares: weights on a grid that bring a quantized layer's output near the float layer's.

With the moments of a layer (see :mod:`tasks.numerics.moments`) its mean squared error is ``tr(Wq G Wq') - 2 tr(C Wq')``
and a constant, ``G`` being the covariance of the inputs that the quantized network gives it, ``C`` that of the float
network's answers with them. So

* :func:`compensate` finds the unrounded weights that make up best for the error of the inputs: least squares, held
  near the float weights by ridges that are chosen by cross-validation;
* :func:`search_scales` rounds them on grids of several scales, each column's rounding error spread over the columns
  to come (Frantar et al. 2022, "GPTQ", arXiv:2210.17323, blocked as in section 3), and keeps each row's best scale;
* :func:`~tasks.numerics.descent.descend` moves one code after the other to its optimum: the error can only fall;
* :func:`~tasks.numerics.descent.descend_by_pairs` moves two at once where one alone is stuck;
* :func:`fit_scales` gives each row the scale that suits its codes best, which is linear.

Weights have the shape (groups, outputs, inputs); a depthwise convolution has a group a channel, others mostly one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from tasks.numerics.descent import BLOCK, Grid, descend, descend_by_pairs
from tasks.numerics.moments import Array, Moments, best_bias, error, merge

# Ridges tried, in units of the mean variance of the inputs.
RIDGES = (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
# Of the mean variance, the first without folds: keeps rounding from relying on covariances that samples do not tell for
# sure, which is the more the fewer samples there are.
DAMPINGS = (3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
# What does not vary at all gets this share of the largest variance instead.
LEAST_VARIANCE = 1e-9
FACTORS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FINE_FACTORS = (0.925, 0.95, 0.975, 1.0, 1.025, 1.05)
ROUNDS = 3
# Elements of the largest array while several scales, or all pairs of codes, are tried at once.
MOST_ELEMENTS = 4_000_000


@dataclass(frozen=True)
class Reconstruction:
    """Codes, the grid they are on, the bias that fits them, and the mean squared errors, (groups, outputs) each.

    ``before`` is the error of the codes and the bias that there were, ``after`` never more, in each row or, with a
    shared scale, in all together.
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
    """Tune the ``codes`` of a layer, its scales and its bias; ``weights`` are the float ones.

    ``moments`` are those of all columns, ``folds`` those of disjoint parts; fewer than two of them leave errors of the
    inputs alone. A row that got worse keeps what it had; rows that share a scale do so together.
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
    # Rows that share a scale stand or fall together.
    worse = np.broadcast_to(after.sum() > before.sum(), after.shape) if grid.shared else after > before
    kept = Grid(grid.low, grid.high, np.where(worse, grid.scale, new.scale), grid.zero_point, grid.shared)
    kept_codes = np.where(worse[:, :, None], codes, new.codes(found))
    kept_bias = np.where(worse, bias, new_bias)
    after = np.where(worse, before, after)
    return Reconstruction(kept_codes, kept, kept_bias, before, after)


def damped(gram: Array, damping: Array | float = DAMPINGS[0]) -> Array:
    """The covariance of the inputs, (groups, inputs, inputs), made positive definite; ``damping`` may be (groups,)."""
    diagonal = np.einsum("gdd->gd", gram)
    least = LEAST_VARIANCE * diagonal.max(initial=0.0) + np.finfo(np.float32).tiny
    return _with_ridge(gram, damping * diagonal.mean(axis=1) + least)


def choose_damping(target: Array, grid: Grid, folds: Sequence[Moments]) -> Array:
    """For each group that of the DAMPINGS with which rounding costs least on columns that it does not know, (groups,).

    These are the columns of the last fold.
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
    """Unrounded weights for the inputs that the quantized network gives: ``W + (C - W G) (G + ridge)^-1``.

    Each row has the ridge that serves it best, by the error of what the other folds tell on the one left out, and stays
    as it is where none helps.
    """

    def scores(left: Moments) -> list[Array]:
        others = merge([fold for fold in folds if fold is not left])
        return [left.count[:, None] * error(each, left) for each in chain([weights], _least_squares(weights, others))]

    # One fold after the other: what the others tell takes as much memory as they do.
    least, *tried = np.sum([scores(left) for left in folds], axis=0)
    best = weights
    for score, whole in zip(tried, _least_squares(weights, moments), strict=True):
        best = np.where((score < least)[:, :, None], whole, best)
        least = np.minimum(score, least)
    return best


def search_scales(target: Array, hessian: Array, grid: Grid, factors: Sequence[float]) -> tuple[Array, Grid]:
    """Round ``target`` on the grid with its scales times each factor; the best weights of each row, and their grid."""
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
    """Round column after column; those to come make up for the error as well as they can.

    ``root`` is that of the covariance (see :func:`root_of`). The error ``e`` costs ``|e root|^2``, and a column and
    those before it alone decide on its entry there: each is rounded to bring it near zero. That is Babai's nearest
    plane, and GPTQ without an inverse (Chen et al. 2025, "The Geometry of LLM Quantization", arXiv:2507.18553).
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
    """The upper triangle ``root`` with ``root root' = hessian``, (groups, inputs, inputs)."""
    # Of the reversed matrix the lower triangle, reversed again.
    return np.asarray(np.linalg.cholesky(hessian[:, ::-1, ::-1])[:, ::-1, ::-1])


def fit_scales(weights: Array, grid: Grid, hessian: Array, linear: Array) -> tuple[Array, Grid]:
    """The weights and the grid with the scales that suit the codes best; none of them vanishes."""
    unit = weights / grid.scale[:, :, None]
    along = np.einsum("god,god->go", linear, unit)
    square = np.einsum("god,god->go", unit @ hessian, unit)
    if grid.shared:
        along, square = (np.full_like(each, each.sum()) for each in (along, square))
    fits = (along > 0) & (square > 0)
    scale = np.where(fits, along / np.where(fits, square, 1.0), grid.scale)
    return unit * scale[:, :, None], replace(grid, scale=scale)


def _round(target: Array, hessian: Array, grid: Grid, passes: int, *, tune_scales: bool) -> tuple[Array, Grid]:
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
    """Code by code, and in layers with few inputs by pairs as well, which gains a few per cent there."""
    found = descend(weights, hessian, linear, grid, passes)
    if weights.size * weights.shape[-1] > MOST_ELEMENTS:
        return found
    return descend(descend_by_pairs(found, hessian, linear, grid), hessian, linear, grid, passes)


def _least_squares(weights: Array, moments: Moments) -> Iterator[Array]:
    """The weights that fit best with each of the RIDGES."""
    values, vectors = np.linalg.eigh(moments.gram)
    mean = values.mean(axis=1, keepdims=True).clip(np.finfo(np.float32).tiny)
    turned = (moments.cross - weights @ moments.gram) @ vectors
    for ridge in RIDGES:
        yield weights + (turned / (values.clip(0) + ridge * mean)[:, None]) @ np.swapaxes(vectors, 1, 2)


def _with_ridge(gram: Array, ridge: Array) -> Array:
    found = gram.copy()
    np.einsum("gdd->gd", found)[...] += ridge[:, None]
    return found
