"""One forward pass over the samples gathers the statistics of all tensors, reduced inside the graph."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.inference import Sample, compile_for_samples, infer, one_sample_at_a_time
from tasks.graph.traversal import find_output, nodes_by_name
from tasks.numerics.statistics import TensorStatistic

CHANNEL_AXIS = 1


@dataclass(frozen=True)
class StatisticsModel:
    """A compiled model whose outputs are, for each tensor in order, its minimum and its maximum per channel."""

    compiled: ov.CompiledModel
    tensors: tuple[str, ...]


def compile_statistics(model: ov.Model, tensors: tuple[str, ...], threads: int | None = None) -> StatisticsModel:
    """Tap the tensors of a copy of the model: nothing but their reductions leaves the graph."""
    tapped = one_sample_at_a_time(model)
    nodes = nodes_by_name(tapped)
    results = []
    for tensor in tensors:
        source = find_output(nodes, tensor)
        axes = _reduced_axes(source.get_partial_shape())
        results += [ops.result(reduce(source, axes)) for reduce in (ops.reduce_min, ops.reduce_max)]
    reductions = ov.Model(results, tapped.get_sinks(), tapped.get_parameters(), "statistics")
    return StatisticsModel(compile_for_samples(reductions, threads), tensors)


def collect_statistics(
    model: StatisticsModel, samples: Iterable[Sample], advance: Callable[[], None]
) -> Mapping[str, TensorStatistic]:
    """Statistics of every tensor, one row a sample in the order of the samples. ``advance`` is called for each."""
    rows: dict[int, list[NDArray[Any]]] = {}

    def receive(index: int, outputs: list[NDArray[Any]]) -> None:
        rows[index] = outputs
        advance()

    count = infer(model.compiled, samples, receive)

    def column(position: int) -> NDArray[np.float32]:
        return np.stack([rows[index][position].reshape(-1) for index in range(count)]).astype(np.float32)

    return {
        tensor: TensorStatistic(column(2 * position), column(2 * position + 1))
        for position, tensor in enumerate(model.tensors)
    }


def _reduced_axes(shape: ov.PartialShape) -> NDArray[np.int64]:
    """All axes but the channels'; all of them where the channel axis is missing or of changing length."""
    rank = shape.rank.get_length()
    keeps_channels = rank > CHANNEL_AXIS and shape[CHANNEL_AXIS].is_static
    return np.array([axis for axis in range(rank) if not (keeps_channels and axis == CHANNEL_AXIS)], dtype=np.int64)
