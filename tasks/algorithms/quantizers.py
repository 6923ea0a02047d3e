"""The quantizers of a finished model beside the statistics of their tensors: for people to review."""

from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.graph.constants import constant_value, read_constant
from tasks.graph.placement import QuantizationPoint, QuantizerSetup, Role
from tasks.graph.traversal import find_output, nodes_by_name
from tasks.numerics.metrics import sqnr
from tasks.numerics.statistics import Statistics, TensorStatistic

# The quantiles that describe the distribution of an extreme over the samples.
QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Quantizer:
    """One quantized tensor of the finished model.

    Attributes:
        name: Friendly name of its FakeQuantize, or of the Multiply by the scales of int8 weights.
        tensor: The quantized tensor, ``"<producer>:<output port>"``.
        consumers: Names of the operations that read it quantized.
        role: ``weights`` or ``activations``.
        levels: Number of levels of a FakeQuantize, or the codes that int8 weights use.
        scales: Number of scales.
        low: Lower bound of the range, the least of all channels, in units of the tensor.
        high: Upper bound of the range, the greatest of all channels.
        step: Largest distance of two levels.
        minima: Activations: QUANTILES over the samples of their minima.
        maxima: Activations: QUANTILES over the samples of their maxima.
        clipped_samples: Activations: share of samples with values outside the range; None if no sample is known.
        clipped_values: Activations: share of values outside the range; None without a sketch.
        sqnr_db: Weights: SQNR in dB.
    """

    name: str
    tensor: str
    consumers: tuple[str, ...]
    role: str
    levels: str
    scales: int
    low: float
    high: float
    step: float
    minima: tuple[float, ...] = ()
    maxima: tuple[float, ...] = ()
    clipped_samples: float | None = None
    clipped_values: float | None = None
    sqnr_db: float | None = None


def describe_quantizers(
    model: ov.Model, quantized: ov.Model, setup: QuantizerSetup, statistics: Statistics
) -> tuple[Quantizer, ...]:
    """The quantizers of a finished model: activations in topological order, then weights.

    Args:
        model: The float model.
        quantized: The quantized model made of it.
        setup: Its quantizers.
        statistics: Statistics of the observed tensors.
    """
    before, after = nodes_by_name(model), nodes_by_name(quantized)
    places = {name: place for place, name in enumerate(before)}
    points = sorted(setup.points, key=lambda point: (point.role, places[point.tensor.rpartition(":")[0]], point.name))
    return tuple(
        _activations(point, after[point.name], statistics[point.tensor])
        if point.role == Role.ACTIVATIONS
        else _weights(point, after[point.name], find_output(before, point.tensor))
        for point in points
    )


def _activations(point: QuantizationPoint, node: ov.Node, statistic: TensorStatistic) -> Quantizer:
    low, high = (read_constant(node, port).reshape(-1) for port in (1, 2))
    levels = node.get_attributes()["levels"]
    seen = np.isfinite(statistic.maximum).all(axis=1) & np.isfinite(statistic.minimum).all(axis=1)
    minima, maxima = (rows[seen].astype(np.float64) for rows in (statistic.minimum, statistic.maximum))
    if low.size not in (1, maxima.shape[1]):
        low, high = low.min(keepdims=True), high.max(keepdims=True)
    beyond = ((minima < low) | (maxima > high)).any(axis=1)
    return Quantizer(
        *_identity(point),
        levels=str(levels),
        scales=high.size,
        low=float(low.min()),
        high=float(high.max()),
        step=float((high - low).max() / (levels - 1)),
        minima=_quantiles(minima.min(axis=1)),
        maxima=_quantiles(maxima.max(axis=1)),
        clipped_samples=float(beyond.mean()) if beyond.size else None,
        clipped_values=_clipped(statistic, float(low[0]), float(high[0])) if low.size == 1 else None,
    )


def _weights(point: QuantizationPoint, node: ov.Node, source: ov.Output) -> Quantizer:
    if node.get_type_name() == "FakeQuantize":
        low, high = (read_constant(node, port).reshape(-1) for port in (3, 4))
        levels, scale = str(node.get_attributes()["levels"]), (high - low) / (node.get_attributes()["levels"] - 1)
    else:
        codes, zero = _codes(node)
        scale = read_constant(node, 1).reshape(-1)
        levels = f"{codes.min():.0f} to {codes.max():.0f}"
        low, high = (scale * (end - zero) for end in (codes.min(), codes.max()))
    values = constant_value(node.output(0))
    return Quantizer(
        *_identity(point),
        levels=levels,
        scales=scale.size,
        low=float(low.min()),
        high=float(high.max()),
        step=float(scale.max()),
        sqnr_db=sqnr(constant_value(source), values),
    )


def _codes(multiply: ov.Node) -> tuple[Floats, Floats]:
    """The codes of int8 weights and the zero point of each channel, from the Multiply by their scales."""
    node, zero = multiply.input_value(0).get_node(), np.zeros(1)
    if node.get_type_name() == "Subtract":
        zero, node = read_constant(node, 1).reshape(-1), node.input_value(0).get_node()
    return read_constant(node, 0), zero


def _identity(point: QuantizationPoint) -> tuple[str, str, tuple[str, ...], str]:
    return point.name, point.tensor, tuple(name.rpartition(":")[0] for name in point.consumers), str(point.role)


def _quantiles(values: Floats) -> tuple[float, ...]:
    return tuple(map(float, np.quantile(values, QUANTILES))) if values.size else ()


def _clipped(statistic: TensorStatistic, low: float, high: float) -> float | None:
    """The share of the sketch's values outside a range; None without a sketch."""
    if statistic.values is None:
        return None
    values = statistic.values[np.isfinite(statistic.values)]
    return float(((values < low) | (values > high)).mean()) if values.size else None
