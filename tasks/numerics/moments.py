"""The first and second moments of a layer's inputs and targets: its mean squared error depends on nothing else.

A layer answers ``Wq x + b`` to a column ``x`` of inputs, the float model answers the target ``t``. The mean of
``(Wq x + b - t)^2`` is quadratic in ``Wq`` and ``b``, and its coefficients are moments of ``x`` and ``t``. Moments of
disjoint sets of columns merge, so that samples, shards and folds can be measured one by one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Columns: TypeAlias = NDArray[np.floating]


# Sums of products of larger numbers may pass float32.
_LARGEST_OF_FLOAT32 = 1e15


@dataclass(frozen=True)
class Moments:
    """Weighted moments of columns and targets, float64.

    A grouped convolution has several groups, other layers mostly one.

    Attributes:
        count: Sum of the weights of the columns, (groups,).
        inputs: Means of the inputs, (groups, inputs).
        targets: Means of the targets, (groups, outputs).
        gram: Covariances of inputs with inputs, (groups, inputs, inputs).
        cross: Covariances of targets with inputs, (groups, outputs, inputs).
        energy: Variances of the targets, (groups, outputs).
    """

    count: Array
    inputs: Array
    targets: Array
    gram: Array
    cross: Array
    energy: Array


def measure(columns: Columns, targets: Columns, weights: Columns) -> Moments:
    """The moments of ``columns`` and ``targets``.

    Means are subtracted before products are formed in the precision of the columns: float32 is enough, but
    for numbers whose products it cannot hold. Unless columns and targets are finite, moments are NaN.

    Args:
        columns: Inputs of the layer, (groups, columns, inputs), float32 or float64.
        targets: What the float model answers, (groups, columns, outputs), float32 or float64.
        weights: How much each column counts, (groups, columns), not negative; 0 leaves it out.
    """
    largest = max(np.abs(columns).max(initial=0), np.abs(targets).max(initial=0))
    if not np.isfinite(largest):
        columns, targets = np.full_like(columns, np.nan), np.full_like(targets, np.nan)
    elif largest > _LARGEST_OF_FLOAT32:
        columns, targets = columns.astype(np.float64), targets.astype(np.float64)
    count = weights.sum(axis=1, dtype=np.float64)
    shares = (weights / np.maximum(count, np.finfo(np.float32).tiny)[:, None]).astype(columns.dtype)[:, None]
    inputs, answers = shares @ columns, shares @ targets
    columns, targets = columns - inputs, targets - answers
    weighted = columns * np.swapaxes(shares, 1, 2)
    parts = (
        count,
        inputs[:, 0],
        answers[:, 0],
        np.swapaxes(weighted, 1, 2) @ columns,
        np.swapaxes(targets, 1, 2) @ weighted,
        np.einsum("gzn,gno->go", shares, targets**2),
    )
    return Moments(*(part.astype(np.float64) for part in parts))


def merge(parts: Sequence[Moments]) -> Moments:
    """The moments of all columns together.

    Chan, Golub and LeVeque 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances".

    Args:
        parts: Moments of disjoint sets of columns, at least one.
    """
    count = np.sum([part.count for part in parts], axis=0)
    shares = [part.count / np.maximum(count, np.finfo(np.float64).tiny) for part in parts]

    def mean(arrays: Iterable[Array]) -> Array:
        # One after the other, in place: matrices of wide layers are large.
        each = (np.multiply(_along(share, array), array) for share, array in zip(shares, arrays, strict=True))
        return reduce(lambda total, other: np.add(total, other, out=total), each)

    inputs, targets = mean(part.inputs for part in parts), mean(part.targets for part in parts)
    x, t = [part.inputs - inputs for part in parts], [part.targets - targets for part in parts]
    return Moments(
        count,
        inputs,
        targets,
        mean(part.gram + a[:, :, None] * a[:, None] for part, a in zip(parts, x, strict=True)),
        mean(part.cross + b[:, :, None] * a[:, None] for part, a, b in zip(parts, x, t, strict=True)),
        mean(part.energy + b**2 for part, b in zip(parts, t, strict=True)),
    )


def error(weights: Array, moments: Moments, bias: Array | None = None) -> Array:
    """The mean squared error of each output, (groups, outputs), float64.

    Args:
        weights: Weights of the layer, (groups, outputs, inputs).
        moments: Moments of its inputs and targets.
        bias: Bias of the layer, (groups, outputs); None stands for the best one (:func:`best_bias`).
    """
    scattered = (
        moments.energy
        - 2 * np.einsum("god,god->go", moments.cross, weights)
        + np.einsum("god,god->go", weights @ moments.gram, weights)
    )
    missed = 0.0 if bias is None else best_bias(weights, moments) - bias
    return np.asarray(np.maximum(scattered, 0.0) + missed**2)


def best_bias(weights: Array, moments: Moments) -> Array:
    """The bias with which the mean error is zero, (groups, outputs), float64.

    Args:
        weights: Weights of the layer, (groups, outputs, inputs).
        moments: Moments of its inputs and targets.
    """
    return np.asarray(moments.targets - np.einsum("god,gd->go", weights, moments.inputs))


def _along(share: Array, values: Array) -> Array:
    """``share``, (groups,), with as many axes as ``values``."""
    return share.reshape(-1, *[1] * (values.ndim - 1))
