"""Statistics of activation tensors: one row a sample, so that shards of samples only have to be stacked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tasks.numerics.affine import Granularity

Rows = NDArray[np.float32]


class StatisticType(StrEnum):
    """What is taken of each sample: of its values, or with ``abs`` of their magnitudes."""

    MIN = "min"
    MAX = "max"
    ABS_MAX = "abs_max"
    QUANTILE = "quantile"
    ABS_QUANTILE = "abs_quantile"


@dataclass(frozen=True)
class Quantile:
    """A quantile of each sample: of its values or their magnitudes, of the tensor or of every channel."""

    type: StatisticType
    probability: float
    granularity: Granularity


@dataclass(frozen=True)
class TensorStatistic:
    """Extremes of one tensor: ``minimum`` and ``maximum`` of shape (samples, channels), float32.

    A tensor without a static channel axis has one channel. Rows of NaN stand for samples in which it has no values.
    Everything a range estimator needs is derived from these rows later: preset, mode, granularity, aggregator and
    number of samples may change without an inference. Only quantiles are no function of the extremes: each that is
    asked for has rows of its own, (samples, 1) or (samples, channels).

    ``means`` holds, by axis of the tensor, the mean for every place along it, (samples, places).
    """

    minimum: Rows
    maximum: Rows
    quantiles: Mapping[Quantile, Rows] = field(default_factory=dict)
    means: Mapping[int, Rows] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.minimum.shape != self.maximum.shape or self.minimum.ndim != 2:
            msg = f"expected two arrays (samples, channels), got {self.minimum.shape} and {self.maximum.shape}"
            raise ValueError(msg)

    @property
    def samples(self) -> int:
        """Number of samples seen."""
        return int(self.minimum.shape[0])


Statistics = Mapping[str, TensorStatistic]
Quantiles = Mapping[str, Mapping[Quantile, Rows]]
_SEPARATOR = "::"


def concatenate(shards: Sequence[Statistics]) -> dict[str, TensorStatistic]:
    """Stack shards in the order given; all of them must describe the same tensors."""
    _require_same(shards)
    return {
        tensor: TensorStatistic(
            np.concatenate([shard[tensor].minimum for shard in shards]),
            np.concatenate([shard[tensor].maximum for shard in shards]),
            means={axis: np.concatenate([shard[tensor].means[axis] for shard in shards]) for axis in first.means},
        )
        for tensor, first in shards[0].items()
    }


def concatenate_quantiles(shards: Sequence[Quantiles]) -> dict[str, dict[Quantile, Rows]]:
    """Stack shards of quantiles in the order given; all of them must describe the same tensors."""
    _require_same(shards)
    return {
        tensor: {quantile: np.concatenate([shard[tensor][quantile] for shard in shards]) for quantile in rows}
        for tensor, rows in shards[0].items()
    }


def with_quantiles(statistics: Statistics, quantiles: Quantiles) -> dict[str, TensorStatistic]:
    """Statistics that have the quantiles of their tensors too."""
    return {tensor: replace(statistic, quantiles=quantiles.get(tensor, {})) for tensor, statistic in statistics.items()}


def to_arrays(statistics: Statistics) -> dict[str, Rows]:
    """Flatten to named arrays, ``"<tensor>::minimum"``, ``"<tensor>::maximum"``, ``"<tensor>::mean <axis>"``.

    Quantiles have arrays of their own.
    """
    return {
        f"{tensor}{_SEPARATOR}{name}": rows
        for tensor, statistic in statistics.items()
        for name, rows in (
            ("minimum", statistic.minimum),
            ("maximum", statistic.maximum),
            *((f"mean {axis}", rows) for axis, rows in statistic.means.items()),
        )
    }


def from_arrays(arrays: Mapping[str, Rows]) -> dict[str, TensorStatistic]:
    """Undo :func:`to_arrays`."""
    named: dict[str, dict[str, Rows]] = {}
    for key, rows in arrays.items():
        tensor, _, name = key.rpartition(_SEPARATOR)
        named.setdefault(tensor, {})[name] = rows
    return {
        tensor: TensorStatistic(
            fields.pop("minimum"),
            fields.pop("maximum"),
            means={int(name.removeprefix("mean ")): rows for name, rows in fields.items()},
        )
        for tensor, fields in named.items()
    }


def quantiles_to_arrays(quantiles: Quantiles) -> dict[str, Rows]:
    """Flatten to named arrays, ``"<tensor>::<type> <probability> <granularity>"``."""
    return {
        f"{tensor}{_SEPARATOR}{quantile.type} {quantile.probability!r} {quantile.granularity}": values
        for tensor, rows in quantiles.items()
        for quantile, values in rows.items()
    }


def quantiles_from_arrays(arrays: Mapping[str, Rows]) -> dict[str, dict[Quantile, Rows]]:
    """Undo :func:`quantiles_to_arrays`."""
    quantiles: dict[str, dict[Quantile, Rows]] = {}
    for key, values in arrays.items():
        tensor, _, name = key.rpartition(_SEPARATOR)
        kind, probability, granularity = name.split(" ")
        quantile = Quantile(StatisticType(kind), float(probability), Granularity(granularity))
        quantiles.setdefault(tensor, {})[quantile] = values
    return quantiles


def _require_same(shards: Sequence[Mapping[str, object]]) -> None:
    for shard in shards[1:]:
        if shard.keys() != shards[0].keys():
            msg = f"shards of different tensors: {sorted(shard.keys() ^ shards[0].keys())}"
            raise ValueError(msg)
