"""One forward pass over the samples gathers the statistics of all tensors: one row a sample, whatever the batch.

In place, the reductions are part of the graph and nothing else leaves it. Otherwise, and for quantiles always, whole
activations are copied out, one request at a time, and reduced by numpy. The extremes are the same to the bit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.algorithms.inference import Sample, compile_for_samples, infer, one_sample_at_a_time, samples_at_a_time
from tasks.errors import InputError
from tasks.graph.bounds import is_non_negative
from tasks.graph.layers import ChannelMean
from tasks.graph.reductions import CHANNEL_AXIS, extremes, mean_along
from tasks.graph.traversal import find_output, nodes_by_name
from tasks.numerics.quantiles import sample_quantiles
from tasks.numerics.statistics import Quantile, Rows, TensorStatistic


@dataclass(frozen=True)
class Taps:
    """A compiled model whose outputs are the tensors, or in place for each its maximum and its minimum a channel.

    The last outputs are ``means``, always reduced in place. ``channels`` says of each tensor whether axis 1 holds
    channels of a fixed number, ``non_negative`` whether its operations leave no negative value: its minimum then counts
    as zero, which is all that a range needs to know.
    """

    compiled: ov.CompiledModel
    tensors: tuple[str, ...]
    channels: tuple[bool, ...]
    non_negative: tuple[bool, ...]
    means: tuple[ChannelMean, ...]
    in_place: bool
    batch: int


def compile_taps(
    model: ov.Model,
    tensors: tuple[str, ...],
    *,
    means: tuple[ChannelMean, ...] = (),
    in_place: bool = True,
    batch: int = 1,
    threads: int | None = None,
) -> Taps:
    """Tap tensors of a copy of the model, and ``means`` of some of them.

    Raises InputError when ``batch`` samples cannot be inferred at once and told apart in every tensor.
    """
    tapped = one_sample_at_a_time(model) if batch == 1 else samples_at_a_time(model, batch)
    nodes = nodes_by_name(tapped)
    sources = [find_output(nodes, tensor) for tensor in tensors]
    shapes = [source.get_partial_shape() for source in sources]
    if batch > 1:
        _require_batch_axis(tensors, shapes, batch)
    channels = tuple(_keeps_channels(shape) for shape in shapes)
    non_negative = tuple(is_non_negative(source) for source in sources)
    outputs = []
    for source, keeps, positive in zip(sources, channels, non_negative, strict=True):
        reduced = extremes(source, keeps_channels=keeps, non_negative=positive, batch=batch) if in_place else [source]
        outputs += reduced
    outputs += [mean_along(find_output(nodes, mean.tensor), mean.axis, batch) for mean in means]
    taps = ov.Model(outputs, tapped.get_sinks(), tapped.get_parameters(), "taps")
    return Taps(compile_for_samples(taps, threads), tensors, channels, non_negative, means, in_place, batch)


def collect_statistics(
    taps: Taps, samples: Iterable[Sample], advance: Callable[[], None]
) -> Mapping[str, TensorStatistic]:
    """Minimum and maximum of every tensor and the means asked for, in the order of the samples.

    ``advance`` is called for each sample.
    """
    counts = [(1 if positive else 2) if taps.in_place else 1 for positive in taps.non_negative]
    first = np.cumsum([0, *counts])
    means = [[place for place, mean in enumerate(taps.means) if mean.tensor == tensor] for tensor in taps.tensors]

    def reduce(position: int, outputs: list[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        mine = outputs[first[position] : first[position + 1]]
        observed = [outputs[first[-1] + place].reshape(taps.batch, -1) for place in means[position]]
        return (*_extremes(taps, position, mine), *map(np.array, observed))

    rows = _collect(taps, samples, advance, reduce)
    return {
        tensor: TensorStatistic(
            _stack(rows[tensor][0]),
            _stack(rows[tensor][1]),
            means={
                taps.means[place].axis: _stack(values)
                for place, values in zip(means[position], rows[tensor][2:], strict=True)
            },
        )
        for position, tensor in enumerate(taps.tensors)
    }


def _extremes(taps: Taps, position: int, outputs: list[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Minimum and maximum of a tensor, (batch, channels), from its activation or from what was reduced in place."""
    positive = taps.non_negative[position]
    if not taps.in_place:
        rows = _channels_apart(outputs[0], taps.batch, keeps=taps.channels[position])
        high = rows.max(axis=2)
        return np.where(np.isnan(high), high, 0) if positive else rows.min(axis=2), high
    high = outputs[0].reshape(taps.batch, -1)
    low = np.zeros_like(high) if positive else outputs[1].reshape(taps.batch, -1)
    # The least of no values is the largest number, and the other way round.
    empty = low > high
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def collect_quantiles(
    taps: Taps, wanted: Mapping[str, tuple[Quantile, ...]], samples: Iterable[Sample], advance: Callable[[], None]
) -> dict[str, dict[Quantile, Rows]]:
    """Quantiles of the tapped tensors, in the order of the samples; ``taps`` are not in place."""
    quantiles = [wanted[tensor] for tensor in taps.tensors]

    def reduce(position: int, outputs: list[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        rows = _channels_apart(outputs[position], taps.batch, keeps=taps.channels[position])
        positive = taps.non_negative[position]
        found = [sample_quantiles(sample, quantiles[position], non_negative=positive) for sample in rows]
        return tuple(np.stack([each[quantile] for each in found]) for quantile in quantiles[position])

    rows = _collect(taps, samples, advance, reduce)
    return {
        tensor: {quantile: _stack(values) for quantile, values in zip(wanted[tensor], rows[tensor], strict=True)}
        for tensor in taps.tensors
    }


def _collect(
    taps: Taps,
    samples: Iterable[Sample],
    advance: Callable[[], None],
    reduce: Callable[[int, list[NDArray[Any]]], tuple[NDArray[Any], ...]],
) -> dict[str, tuple[list[NDArray[Any]], ...]]:
    """For each tensor and each value that ``reduce`` gives, the arrays (batch, ...) of all requests in order."""
    received: dict[int, list[tuple[NDArray[Any], ...]]] = {}
    read = 0

    def counted() -> Iterator[Sample]:
        nonlocal read
        for sample in samples:
            read += 1
            yield sample

    def receive(number: int, outputs: list[NDArray[Any]]) -> None:
        received[number] = [reduce(position, outputs) for position in range(len(taps.tensors))]
        # A request starts when its samples are read; the last one may have fewer.
        for _ in range(min(taps.batch, read - number * taps.batch)):
            advance()

    count = infer(taps.compiled, counted(), receive, batch=taps.batch)
    requests = [received[number] for number in range(len(received))]
    # The last request may hold copies of its last sample: they are not counted.
    spare = len(requests) * taps.batch - count
    if spare:
        requests[-1] = [tuple(value[: taps.batch - spare] for value in values) for values in requests[-1]]
    return {
        tensor: tuple(map(list, zip(*(request[position] for request in requests), strict=True)))
        for position, tensor in enumerate(taps.tensors)
    }


def _stack(values: list[NDArray[Any]]) -> Rows:
    return np.concatenate(values).astype(np.float32)


def _channels_apart(activation: NDArray[Any], batch: int, *, keeps: bool) -> NDArray[Any]:
    """Shape (batch, channels, values), one channel where there is no axis for them; NaN where there is no value."""
    if activation.size == 0:
        return np.full((batch, activation.shape[CHANNEL_AXIS] if keeps else 1, 1), np.nan, np.float32)
    if not keeps:
        return activation.reshape(batch, 1, -1)
    if batch == 1:
        # One sample: whatever lies before the channels, a batch axis or not, belongs to each of them.
        return np.moveaxis(activation, CHANNEL_AXIS, 0).reshape(1, activation.shape[CHANNEL_AXIS], -1)
    return activation.reshape(batch, activation.shape[CHANNEL_AXIS], -1)


def _keeps_channels(shape: ov.PartialShape) -> bool:
    """Whether the tensor has an axis of channels, and as many of them in every sample."""
    return bool(shape.rank.get_length() > CHANNEL_AXIS and shape[CHANNEL_AXIS].is_static)


def _require_batch_axis(tensors: tuple[str, ...], shapes: list[ov.PartialShape], batch: int) -> None:
    for tensor, shape in zip(tensors, shapes, strict=True):
        if not shape.rank.get_length() or shape[0] != batch:
            msg = (
                f"quantization.stat_batch_size: with {batch} samples at a time, axis 0 of '{tensor}' has shape {shape}:"
                " its samples cannot be told apart; set stat_batch_size=1"
            )
            raise InputError(msg)
