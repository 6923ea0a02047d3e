"""Observers: the numbers taken of one tensor, part by part, inside the graph or outside by numpy."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.graph.bounds import is_non_negative
from tasks.graph.ends import End, find_together
from tasks.graph.reductions import CHANNEL_AXIS, extremes, mean_along, peak_along, values_of
from tasks.numerics.affine import Granularity
from tasks.numerics.quantiles import Ends, find_ends, largest, sample_quantiles
from tasks.numerics.sketch import fractions, grid, sketch_width
from tasks.numerics.statistics import Observation, Quantile

Activation = NDArray[np.floating]


class Kind(StrEnum):
    """What a part holds: extremes, means and peaks along an axis, the sketch, the ends of sorted rows, or quantiles."""

    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    MEAN = "mean"
    PEAK = "peak"
    VALUES = "values"
    SMALLEST = "smallest"
    LARGEST = "largest"
    QUANTILES = "quantiles"


@dataclass(frozen=True)
class Part:
    """Some numbers of every sample.

    Attributes:
        kind: What they are.
        width: How many they are.
        of: The axis of a mean or a peak; the granularity of ends and quantiles.
    """

    kind: Kind
    width: int
    of: int | Granularity | None = None

    @property
    def is_end(self) -> bool:
        """Whether the part is one end of sorted rows."""
        return self.kind in (Kind.SMALLEST, Kind.LARGEST)

    def is_inside(self, *, in_place: bool) -> bool:
        """Whether the part is reduced inside the graph; sums always are, so that the numbers are the same either way.

        Args:
            in_place: Whether reductions belong inside the graph.
        """
        return self.kind in (Kind.MEAN, Kind.PEAK) or (in_place and self.kind != Kind.QUANTILES)


# The number of an observed tensor, and a part of it.
Place = tuple[int, Part]

# Ends of so many tensors are found together; memory holds the tensors until the last one is there.
_TOGETHER = 8


@dataclass(frozen=True)
class Observer:
    """An observed tensor.

    Attributes:
        observation: What to observe of it.
        channels: Length of axis 1; None if it has none or samples differ.
        non_negative: Whether its operations leave no negative value. Its minimum then counts as 0, which is all that a
            range needs.
        shape: Its shape in one request; None if it is dynamic.
        batch: Samples in one request.
    """

    observation: Observation
    channels: int | None
    non_negative: bool
    shape: tuple[int, ...] | None
    batch: int

    def rows(self, granularity: Granularity) -> tuple[int, int]:
        """The number of rows of a sample that have quantiles of their own, and the number of values in each.

        Args:
            granularity: Per tensor or per channel; the shape is known.
        """
        rows = self.channels or 1 if granularity == Granularity.PERCHANNEL else 1
        return rows, int(np.prod(self.shape or ())) // (rows * self.batch)

    def asked(self, granularity: Granularity) -> list[Quantile]:
        """The quantiles to observe of a granularity.

        Args:
            granularity: Per tensor or per channel.
        """
        return [quantile for quantile in self.observation.quantiles if quantile.granularity == granularity]

    def ends(self, granularity: Granularity) -> Ends:
        """The ends of sorted rows that hold the quantiles of a granularity.

        Args:
            granularity: Per tensor or per channel; the shape is known.
        """
        return find_ends(self.asked(granularity), self.rows(granularity)[1], non_negative=self.non_negative)


def make_observer(observation: Observation, source: ov.Output, batch: int) -> Observer:
    """The observed tensor, with what its operations tell of it.

    Args:
        observation: What to observe.
        source: The tensor.
        batch: Samples in one request.
    """
    shape = source.get_partial_shape()
    known = shape.rank.is_static
    has_channels = known and shape.rank.get_length() > CHANNEL_AXIS and shape[CHANNEL_AXIS].is_static
    return Observer(
        observation,
        shape[CHANNEL_AXIS].get_length() if has_channels else None,
        is_non_negative(source),
        tuple(shape.to_shape()) if shape.is_static else None,
        batch,
    )


def parts_of(observer: Observer, source: ov.Output) -> Iterator[Part]:
    """The parts of a tensor. Means and peaks along an axis of dynamic length are left out.

    Args:
        observer: The observed tensor.
        source: The same tensor in the graph.
    """
    channels, asked = observer.channels or 1, observer.observation
    yield Part(Kind.MAXIMUM, channels)
    if not observer.non_negative:
        yield Part(Kind.MINIMUM, channels)
    for kind, axes in ((Kind.MEAN, asked.means), (Kind.PEAK, asked.peaks)):
        for axis in axes:
            if source.get_partial_shape()[axis].is_static:
                yield Part(kind, source.get_partial_shape()[axis].get_length(), axis)
    if asked.values:
        yield Part(Kind.VALUES, sketch_width(observer.shape, observer.batch))
    for granularity in Granularity:
        quantiles = observer.asked(granularity)
        if quantiles and observer.shape is None:
            rows = channels if granularity == Granularity.PERCHANNEL else 1
            yield Part(Kind.QUANTILES, rows * len(quantiles), granularity)
        elif quantiles:
            (rows, _), ends = observer.rows(granularity), observer.ends(granularity)
            for kind, count in ((Kind.SMALLEST, ends.smallest), (Kind.LARGEST, ends.largest)):
                if count:
                    yield Part(kind, rows * count, granularity)


def reduce_inside(
    observer: Sequence[Observer], parts: Sequence[Place], sources: Sequence[ov.Output]
) -> Iterator[tuple[list[Place], ov.Output]]:
    """Outputs of the graph, each with the parts it holds one after the other, in the best order to run them.

    A part takes ``width`` numbers of each sample.

    Args:
        observer: All observed tensors.
        parts: The parts to reduce, each with the number of its tensor.
        sources: The tensors in the graph.
    """
    ends = {place: _end(observer[place[0]], place[1], sources[place[0]]) for place in parts if place[1].is_end}
    alike: dict[Hashable, list[Place]] = {}
    for place, end in ends.items():
        # Several samples go alone: their rows would be mixed.
        alike.setdefault(end.likeness if observer[0].batch == 1 else place, []).append(place)
    groups = [each[start : start + _TOGETHER] for each in alike.values() for start in range(0, len(each), _TOGETHER)]
    complete = {group[-1]: group for group in groups}
    for place in parts:
        if place not in ends:
            yield [place], _reduced(observer[place[0]], place[1], sources[place[0]])
        elif place in complete:
            yield complete[place], find_together([ends[each] for each in complete[place]])


def _reduced(observer: Observer, part: Part, source: ov.Output) -> ov.Output:
    """The output of the graph for a part that is no end."""
    batch, keeps = observer.batch, observer.channels is not None
    if part.kind in (Kind.MAXIMUM, Kind.MINIMUM):
        found = extremes(source, keeps_channels=keeps, non_negative=observer.non_negative, batch=batch)
        return found[part.kind == Kind.MINIMUM]
    if part.kind == Kind.VALUES:
        return values_of(source, batch)
    along = mean_along if part.kind == Kind.MEAN else peak_along
    return along(source, int(part.of or 0), batch)


def _end(observer: Observer, part: Part, source: ov.Output) -> End:
    """The end of sorted rows of a tensor in the graph."""
    rows, _ = observer.rows(Granularity(str(part.of)))
    # Axes before the channels of a single sample, a batch axis or not, belong to each channel.
    samples = (0,) if observer.batch > 1 else ()
    channels = (CHANNEL_AXIS,) if rows > 1 else ()
    return End(source, samples + channels, part.width // rows, part.kind == Kind.LARGEST)


def reduce_outside(observer: Observer, part: Part, activation: Activation) -> Activation:
    """The part of one request, (batch, ``part.width``); NaN for a tensor without values.

    Args:
        observer: The observed tensor.
        part: What to take of it.
        activation: Its values in one request.
    """
    if part.kind == Kind.VALUES:
        return _sketch(observer, activation).reshape(observer.batch, -1)
    apart = _channels_apart(observer, activation)
    if part.kind in (Kind.MAXIMUM, Kind.MINIMUM):
        extreme: Activation = (np.max if part.kind == Kind.MAXIMUM else np.min)(apart, axis=2)
        return extreme
    granularity = Granularity(str(part.of))
    if part.kind == Kind.QUANTILES:
        asked = observer.asked(granularity)
        found = [sample_quantiles(sample, asked, non_negative=observer.non_negative) for sample in apart]
        return np.stack([np.concatenate([each[quantile] for quantile in asked]) for each in found])
    rows, length = observer.rows(granularity)
    values = apart.reshape(observer.batch * rows, length)
    count = part.width // rows
    ends = largest(values, count) if part.kind == Kind.LARGEST else -largest(-values, count)
    return ends.reshape(observer.batch, -1)


def _sketch(observer: Observer, activation: Activation) -> Activation:
    """The sketch of each sample, from the places of :mod:`tasks.numerics.sketch`."""
    slices = grid(observer.shape)
    if slices is not None:
        return activation[slices]
    if activation.size == 0:
        return np.full((observer.batch, fractions().size), np.nan, np.float32)
    flat = activation.reshape(observer.batch, -1)
    return flat[:, np.floor(np.float32(flat.shape[1]) * fractions()).astype(np.int64)]


def _channels_apart(observer: Observer, activation: Activation) -> Activation:
    """The values as (batch, channels, values), one channel without an axis 1 of known length; NaN without values."""
    batch, channels = observer.batch, observer.channels
    if activation.size == 0:
        return np.full((batch, channels or 1, 1), np.nan, np.float32)
    if channels is None:
        return activation.reshape(batch, 1, -1)
    if batch == 1:
        return np.moveaxis(activation, CHANNEL_AXIS, 0).reshape(1, channels, -1)
    return activation.reshape(batch, channels, -1)
