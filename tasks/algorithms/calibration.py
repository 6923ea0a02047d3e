"""Calibration: one forward pass over the samples collects the statistics of all tensors, one row per sample.

With ``in_place`` the reductions are part of the graph, and one row of numbers per sample comes out. Otherwise whole
activations are copied out, one request at a time, and numpy reduces them. The numbers are the same to the bit, whatever
the batch.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.algorithms.inference import Sample, compile_for_samples, infer, one_sample_at_a_time, samples_at_a_time
from tasks.algorithms.observing import Kind, Observer, Part, make_observer, parts_of, reduce_inside, reduce_outside
from tasks.errors import InputError
from tasks.graph.reductions import as_rows
from tasks.graph.traversal import find_output, nodes_by_name
from tasks.numerics.affine import Granularity
from tasks.numerics.quantiles import quantiles_of_ends
from tasks.numerics.statistics import Observation, Quantile, Rows, TensorStatistic


class Column(NamedTuple):
    """The place of one part of a tensor in a row.

    Attributes:
        tensor: Number of the observed tensor.
        part: What is observed of it.
        place: The numbers of the row.
    """

    tensor: int
    part: Part
    place: slice


@dataclass(frozen=True)
class ObservedModel:
    """A compiled model with observers.

    Its first output is the row of what is reduced inside the graph, if anything is. Then come the whole activations of
    the tensors that are reduced outside, in their order.

    Attributes:
        compiled: The compiled model.
        observers: The observed tensors.
        inside: Columns that are reduced inside the graph.
        outside: Columns that are reduced by numpy.
        batch: Samples in one request.
    """

    compiled: ov.CompiledModel
    observers: tuple[Observer, ...]
    inside: tuple[Column, ...]
    outside: tuple[Column, ...]
    batch: int


def compile_observed(
    model: ov.Model,
    observations: tuple[Observation, ...],
    *,
    whole: tuple[str, ...] = (),
    in_place: bool = True,
    batch: int = 1,
    threads: int | None = None,
) -> ObservedModel:
    """A copy of the model with observers, compiled.

    Args:
        model: The model to observe.
        observations: What to observe of each tensor.
        whole: Names of the inputs without a batch axis.
        in_place: Whether to reduce inside the graph.
        batch: Samples in one request.
        threads: Number of threads; None for all that the process may use.

    Raises:
        InputError: ``batch`` samples cannot be inferred at once and told apart in every tensor, or a tensor has a
            dynamic rank.
        KeyError: The model has no such tensor.
    """
    copy = one_sample_at_a_time(model, whole) if batch == 1 else samples_at_a_time(model, batch, whole)
    nodes = nodes_by_name(copy)
    # In the order in which the model runs: OpenVINO orders a graph from its outputs back, and so reduces each tensor
    # while it is in the cache, instead of keeping them all.
    place = {name: index for index, name in enumerate(nodes)}
    found = [(each, find_output(nodes, each.tensor)) for each in observations]
    found.sort(key=lambda pair: place[pair[1].get_node().get_friendly_name()])
    observations, sources = tuple(each for each, _ in found), [source for _, source in found]
    _require_rank(observations, sources)
    if batch > 1:
        _require_batch_axis(observations, sources, batch)
    observers = tuple(make_observer(each, source, batch) for each, source in zip(observations, sources, strict=True))
    parts = [(index, part) for index, each in enumerate(observers) for part in parts_of(each, sources[index])]
    inside = [each for each in parts if each[1].is_inside(in_place=in_place)]
    outside = [each for each in parts if each not in inside]
    reduced = list(reduce_inside(observers, inside, sources))
    columns = _columns([*(place for places, _ in reduced for place in places), *outside])
    outputs = [as_rows([output for _, output in reduced], batch)] if reduced else []
    outputs += [sources[index] for index in dict.fromkeys(index for index, _ in outside)]
    observed = ov.Model(outputs, copy.get_sinks(), copy.get_parameters(), "observed")
    compiled = compile_for_samples(observed, threads)
    return ObservedModel(compiled, observers, columns[: len(inside)], columns[len(inside) :], batch)


def collect_statistics(
    observed: ObservedModel, samples: Iterable[Sample], count: int, advance: Callable[[], None]
) -> dict[str, TensorStatistic]:
    """The statistics of every observed tensor by its name, one row per sample, in the order of the samples.

    Args:
        observed: The model with observers.
        samples: The samples.
        count: Their number, at least 1.
        advance: Called for each sample.
    """
    width = max(column.place.stop for column in (*observed.inside, *observed.outside))
    rows = np.empty((-(-count // observed.batch) * observed.batch, width), np.float32)
    stop = max((column.place.stop for column in observed.inside), default=0)
    copied = list(dict.fromkeys(column.tensor for column in observed.outside))

    def receive(number: int, outputs: list[NDArray[Any]]) -> None:
        mine = rows[number * observed.batch : (number + 1) * observed.batch]
        if stop:
            mine[:, :stop] = outputs[0]
        activations = dict(zip(copied, outputs[bool(stop) :], strict=True))
        for column in observed.outside:
            mine[:, column.place] = reduce_outside(
                observed.observers[column.tensor], column.part, activations[column.tensor]
            )
        # The last request may be filled up with copies of its last sample, which do not count.
        for _ in range(min(observed.batch, count - number * observed.batch)):
            advance()

    infer(observed.compiled, samples, receive, batch=observed.batch)
    parts: list[dict[Part, Rows]] = [{} for _ in observed.observers]
    for column in (*observed.inside, *observed.outside):
        parts[column.tensor][column.part] = rows[:count, column.place]
    return {
        observer.observation.tensor: _statistic(observer, mine)
        for observer, mine in zip(observed.observers, parts, strict=True)
    }


def _columns(parts: list[tuple[int, Part]]) -> tuple[Column, ...]:
    """The columns of parts that follow each other in a row."""
    borders = accumulate((part.width for _, part in parts), initial=0)
    return tuple(
        Column(index, part, slice(start, start + part.width))
        for (index, part), start in zip(parts, borders, strict=False)
    )


def _statistic(observer: Observer, parts: dict[Part, Rows]) -> TensorStatistic:
    """The statistics of a tensor from its parts, (samples, numbers) each."""
    of_kind = {kind: [part for part in parts if part.kind == kind] for kind in Kind}
    high = parts[of_kind[Kind.MAXIMUM][0]]
    low = parts[of_kind[Kind.MINIMUM][0]] if of_kind[Kind.MINIMUM] else np.broadcast_to(np.float32(0), high.shape)
    # The minimum of no values is the largest number and the maximum the smallest; of a tensor copied out both are NaN.
    empty = ~(low <= high)
    if empty.any():
        low, high = np.where(empty, np.float32(np.nan), low), np.where(empty, np.float32(np.nan), high)
    return TensorStatistic(
        low,
        high,
        dict(_quantiles(observer, parts)),
        {int(part.of or 0): parts[part] for part in of_kind[Kind.MEAN]},
        {int(part.of or 0): parts[part] for part in of_kind[Kind.PEAK]},
        parts[of_kind[Kind.VALUES][0]] if of_kind[Kind.VALUES] else None,
    )


def _quantiles(observer: Observer, parts: dict[Part, Rows]) -> Iterator[tuple[Quantile, Rows]]:
    """The quantiles of all samples, (samples, rows) each, from the ends of sorted rows."""
    for granularity in Granularity:
        asked = observer.asked(granularity)
        mine = {part.kind: rows for part, rows in parts.items() if part.of == granularity}
        if Kind.QUANTILES in mine:
            yield from zip(asked, np.split(mine[Kind.QUANTILES], len(asked), axis=1), strict=True)
        elif asked:
            rows, length = observer.rows(granularity)
            samples = len(next(iter(parts.values())))
            nothing = np.empty((samples, 0), np.float32)
            low, high = (mine.get(kind, nothing).reshape(samples * rows, -1) for kind in (Kind.SMALLEST, Kind.LARGEST))
            found = quantiles_of_ends(asked, low, high, length, non_negative=observer.non_negative)
            yield from ((quantile, values.reshape(samples, rows)) for quantile, values in found.items())


def _require_rank(observations: tuple[Observation, ...], sources: list[ov.Output]) -> None:
    for each, source in zip(observations, sources, strict=True):
        if source.get_partial_shape().rank.is_dynamic:
            msg = f"'{each.tensor}' has no fixed number of axes: give the model's inputs shapes, or leave what reads it"
            raise InputError(f"{msg} float: quantization.ignored.scope")


def _require_batch_axis(observations: tuple[Observation, ...], sources: list[ov.Output], batch: int) -> None:
    for each, source in zip(observations, sources, strict=True):
        shape = source.get_partial_shape()
        if not shape.rank.get_length() or shape[0] != batch:
            msg = (
                f"quantization.stat_batch_size: with {batch} samples at a time, axis 0 of '{each.tensor}' has shape "
                f"{shape}: its samples cannot be told apart; set stat_batch_size=1"
            )
            raise InputError(msg)
