"""Statistics of activation tensors: one row per sample, so that shards of samples are merged by stacking rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from tasks.numerics.affine import Granularity

Rows = NDArray[np.float32]


class StatisticType(StrEnum):
    """The statistic of each sample: of its values, or with ``abs`` of their magnitudes (names are POT's)."""

    MIN = "min"
    MAX = "max"
    ABS_MAX = "abs_max"
    QUANTILE = "quantile"
    ABS_QUANTILE = "abs_quantile"


@dataclass(frozen=True, order=True)
class Quantile:
    """A quantile of each sample.

    Attributes:
        type: ``QUANTILE`` of the values or ``ABS_QUANTILE`` of their magnitudes.
        probability: Share of values below it, from 0 to 1.
        granularity: Whether it is one of the tensor or one of every channel.
    """

    type: StatisticType
    probability: float
    granularity: Granularity


@dataclass(frozen=True, order=True)
class Observation:
    """The statistics to observe of a tensor apart from its extremes.

    Attributes:
        tensor: Name of the tensor.
        means: Axes of the tensor; a sample's mean is taken for every place along each.
        peaks: The same for its largest magnitude.
        quantiles: Quantiles to find.
        values: Whether to keep a sketch, some of its values (see :mod:`tasks.numerics.sketch`).
    """

    tensor: str
    means: tuple[int, ...] = ()
    peaks: tuple[int, ...] = ()
    quantiles: tuple[Quantile, ...] = ()
    values: bool = False


@dataclass(frozen=True)
class TensorStatistic:
    """The statistics of one tensor, float32, one row per sample.

    A range estimator needs nothing else: preset, mode, granularity, aggregator and number of samples may change without
    another inference. A tensor without a static channel axis has one channel. A sample in which it has no values has a
    row of NaN.

    Attributes:
        minimum: Least value of each channel, (samples, channels).
        maximum: Greatest value of each channel, (samples, channels).
        quantiles: Each (samples, channels), or (samples, 1) per tensor.
        means: By axis, means of the places along it, (samples, places).
        peaks: By axis, largest magnitudes of the places along it, (samples, places).
        values: The sketch, (samples, values), or None.

    Raises:
        ValueError: ``minimum`` and ``maximum`` are not two arrays of one shape (samples, channels).
    """

    minimum: Rows
    maximum: Rows
    quantiles: Mapping[Quantile, Rows] = field(default_factory=dict)
    means: Mapping[int, Rows] = field(default_factory=dict)
    peaks: Mapping[int, Rows] = field(default_factory=dict)
    values: Rows | None = None

    def __post_init__(self) -> None:
        if self.minimum.shape != self.maximum.shape or self.minimum.ndim != 2:
            msg = f"expected two arrays (samples, channels), got {self.minimum.shape} and {self.maximum.shape}"
            raise ValueError(msg)

    @property
    def samples(self) -> int:
        """The number of samples seen."""
        return int(self.minimum.shape[0])

    def take(self, places: Sequence[int], most_values: int | None = None) -> "TensorStatistic":
        """The statistics of some of the samples.

        Args:
            places: Rows of the samples.
            most_values: Most values in the sketches of these samples together, of which every n-th is kept; None keeps
                all.
        """
        rows = np.asarray(places, np.int64)
        values = None if self.values is None else self.values[rows]
        if values is not None and most_values is not None:
            values = values[:, :: max(1, -(-values.size // most_values))]
        return TensorStatistic(
            self.minimum[rows],
            self.maximum[rows],
            {quantile: each[rows] for quantile, each in self.quantiles.items()},
            {axis: each[rows] for axis, each in self.means.items()},
            {axis: each[rows] for axis, each in self.peaks.items()},
            values,
        )


Statistics = Mapping[str, TensorStatistic]
_SEPARATOR = "::"
_MINIMUM, _MAXIMUM, _VALUES = "minimum", "maximum", "values"
_MEAN, _PEAK, _QUANTILE = "mean ", "peak ", "quantile "


class StackedStatistics(Statistics):
    """The statistics of several shards, each given as named arrays (see :func:`to_arrays`), stacked by rows.

    A field of a tensor is read when it is asked for. Memory thus holds the fields of one tensor, however many samples
    there are, and whoever needs means alone reads means alone.

    Args:
        shards: The arrays of each shard, at least one shard.

    Raises:
        ValueError: The shards have different tensors.
    """

    def __init__(self, shards: Sequence[Mapping[str, Rows]]) -> None:
        self._shards = shards
        self._fields = _fields(shards[0])
        for fields in map(_fields, shards[1:]):
            if fields.keys() != self._fields.keys():
                msg = f"shards of different tensors: {sorted(fields.keys() ^ self._fields.keys())}"
                raise ValueError(msg)
            for tensor, names in fields.items():
                self._fields[tensor] |= names

    def __getitem__(self, tensor: str) -> TensorStatistic:
        return _StackedStatistic(self._fields[tensor], partial(self._stacked, tensor))

    def __contains__(self, tensor: object) -> bool:
        # Mapping would read the tensor.
        return tensor in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def _stacked(self, tensor: str, name: str) -> Rows:
        rows = []
        for shard in self._shards:
            key = f"{tensor}{_SEPARATOR}{name}"
            if key not in shard and name == _MINIMUM:
                rows.append(_zero_minimum(shard[f"{tensor}{_SEPARATOR}{_MAXIMUM}"]))
            else:
                rows.append(shard[key])
        return rows[0] if len(rows) == 1 else np.concatenate(rows)


class _StackedStatistic(TensorStatistic):
    """The statistics of one tensor; each field is read when it is first asked for."""

    _names: tuple[str, ...]
    _read: Callable[[str], Rows]

    def __init__(self, names: Iterable[str], read: Callable[[str], Rows]) -> None:
        # The fields are properties: only where they come from is set.
        self.__dict__.update(_names=tuple(names), _read=read)

    @cached_property
    def minimum(self) -> Rows:
        return self._read(_MINIMUM) if _MINIMUM in self._names else _zero_minimum(self.maximum)

    @cached_property
    def maximum(self) -> Rows:
        return self._read(_MAXIMUM)

    @cached_property
    def quantiles(self) -> Mapping[Quantile, Rows]:
        return {_quantile(name): self._read(name) for name in self._names if name.startswith(_QUANTILE)}

    @cached_property
    def means(self) -> Mapping[int, Rows]:
        return self._along_axes(_MEAN)

    @cached_property
    def peaks(self) -> Mapping[int, Rows]:
        return self._along_axes(_PEAK)

    @cached_property
    def values(self) -> Rows | None:
        return self._read(_VALUES) if _VALUES in self._names else None

    def _along_axes(self, kind: str) -> Mapping[int, Rows]:
        return {int(name.removeprefix(kind)): self._read(name) for name in self._names if name.startswith(kind)}


def to_arrays(statistics: Statistics) -> dict[str, Rows]:
    """The statistics as named arrays, ``"<tensor>::<field>"``; a minimum of zeros is left out.

    Args:
        statistics: The statistics of each tensor, by its name.
    """
    return {
        f"{tensor}{_SEPARATOR}{name}": rows
        for tensor, statistic in statistics.items()
        for name, rows in (
            *(((_MINIMUM, statistic.minimum),) if np.nan_to_num(statistic.minimum).any() else ()),
            (_MAXIMUM, statistic.maximum),
            *((_quantile_name(quantile), rows) for quantile, rows in statistic.quantiles.items()),
            *((f"{_MEAN}{axis}", rows) for axis, rows in statistic.means.items()),
            *((f"{_PEAK}{axis}", rows) for axis, rows in statistic.peaks.items()),
            *(((_VALUES, statistic.values),) if statistic.values is not None else ()),
        )
    }


def _fields(arrays: Mapping[str, Rows]) -> dict[str, dict[str, None]]:
    """The names of the fields of every tensor, in the order of the arrays."""
    fields: dict[str, dict[str, None]] = {}
    for key in arrays:
        tensor, _, name = key.rpartition(_SEPARATOR)
        fields.setdefault(tensor, {})[name] = None
    return fields


def _zero_minimum(maximum: Rows) -> Rows:
    """The minimum that :func:`to_arrays` left out: 0, or NaN where ``maximum`` is NaN."""
    missing = np.isnan(maximum)
    # A view of one zero takes no memory.
    return np.where(missing, maximum, 0) if missing.any() else np.broadcast_to(np.float32(0), maximum.shape)


def _quantile_name(quantile: Quantile) -> str:
    return f"{_QUANTILE}{quantile.type} {quantile.probability!r} {quantile.granularity}"


def _quantile(name: str) -> Quantile:
    _, kind, probability, granularity = name.split(" ")
    return Quantile(StatisticType(kind), float(probability), Granularity(granularity))
