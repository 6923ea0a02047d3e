"""Statistics of activation tensors: one row a sample, so that shards of samples only have to be stacked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TensorStatistic:
    """Extremes of one tensor: ``minimum`` and ``maximum`` of shape (samples, channels), float32.

    A tensor without a static channel axis has one channel. Everything a range estimator needs is derived from
    these rows later: preset, mode, granularity, aggregator and number of samples may change without an inference.
    """

    minimum: NDArray[np.float32]
    maximum: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.minimum.shape != self.maximum.shape or self.minimum.ndim != 2:
            msg = f"expected two arrays (samples, channels), got {self.minimum.shape} and {self.maximum.shape}"
            raise ValueError(msg)

    @property
    def samples(self) -> int:
        """Number of samples seen."""
        return int(self.minimum.shape[0])


Statistics = Mapping[str, TensorStatistic]
FIELDS = tuple(field.name for field in fields(TensorStatistic))


def concatenate(shards: Sequence[Statistics]) -> dict[str, TensorStatistic]:
    """Stack shards in the order given; all of them must describe the same tensors."""
    first = shards[0]
    for shard in shards[1:]:
        if shard.keys() != first.keys():
            msg = f"shards of different tensors: {sorted(shard.keys() ^ first.keys())}"
            raise ValueError(msg)
    return {
        tensor: TensorStatistic(
            *(np.concatenate([getattr(shard[tensor], name) for shard in shards]) for name in FIELDS)
        )
        for tensor in first
    }


def to_arrays(statistics: Statistics) -> dict[str, NDArray[np.float32]]:
    """Flatten to named arrays, ``"<tensor>/<field>"``."""
    return {f"{tensor}/{name}": getattr(statistic, name) for tensor, statistic in statistics.items() for name in FIELDS}


def from_arrays(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, TensorStatistic]:
    """Undo :func:`to_arrays`."""
    tensors = dict.fromkeys(key.rpartition("/")[0] for key in arrays)
    return {tensor: TensorStatistic(*(arrays[f"{tensor}/{name}"] for name in FIELDS)) for tensor in tensors}
