"""First and second moments of what a layer reads and should answer: all that its mean squared error depends on.

A layer answers ``Wq x + b`` to a column ``x`` of inputs where the float model answers ``t``. The mean of
``(Wq x + b - t)^2`` is quadratic in ``Wq`` and ``b``, and its coefficients are moments of ``x`` and ``t``. Those of
disjoint sets of columns merge: samples, shards and folds may be measured one by one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Columns: TypeAlias = NDArray[np.floating]


@dataclass(frozen=True)
class Moments:
    """Moments of columns, float64; groups of a grouped convolution lie on axis 0.

    ``count`` (groups,) is their weighted number, ``inputs`` (groups, inputs) and ``targets`` (groups, outputs) are
    means, ``gram`` (groups, inputs, inputs) and ``cross`` (groups, outputs, inputs) covariances of inputs with inputs
    and of targets with inputs, ``energy`` (groups, outputs) variances of targets.
    """

    count: Array
    inputs: Array
    targets: Array
    gram: Array
    cross: Array
    energy: Array


def measure(columns: Columns, targets: Columns, weights: Columns) -> Moments:
    """The moments of ``columns`` (groups, n, inputs) and ``targets`` (groups, n, outputs), weighted by (groups, n).

    Means are taken off before products are made in the precision of the columns: float32 is enough.
    """
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
    """The moments of all columns together (Chan, Golub and LeVeque 1979, "Updating formulae")."""
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
    """Mean squared error of each output, (groups, outputs), for weights (groups, outputs, inputs).

    Without a ``bias`` (groups, outputs) that of the best one.
    """
    scattered = (
        moments.energy
        - 2 * np.einsum("god,god->go", moments.cross, weights)
        + np.einsum("god,god->go", weights @ moments.gram, weights)
    )
    missed = 0.0 if bias is None else best_bias(weights, moments) - bias
    return np.asarray(np.maximum(scattered, 0.0) + missed**2)


def best_bias(weights: Array, moments: Moments) -> Array:
    """The bias that takes the mean error away, (groups, outputs)."""
    return np.asarray(moments.targets - np.einsum("god,gd->go", weights, moments.inputs))


def _along(share: Array, values: Array) -> Array:
    return share.reshape(-1, *[1] * (values.ndim - 1))
