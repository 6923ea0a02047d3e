"""Range estimation: from statistics and weights to the FakeQuantize parameters of every quantizer."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.errors import InputError
from tasks.graph.constants import constant_value
from tasks.graph.placement import QuantizationPoint, QuantizerSetup, Role, place_quantizers
from tasks.graph.presets import Scheme, choose
from tasks.graph.recurrent import LSTM_GATES
from tasks.graph.traversal import find_output, nodes_by_name
from tasks.numerics.affine import (
    SMALLEST_RANGE,
    FakeQuantizeParameters,
    Granularity,
    Mode,
    QuantizerConfig,
    Range,
    activation_parameters,
    smallest_range,
    unify_parameters,
    weight_parameters,
    widen_for_saturation,
)
from tasks.numerics.estimators import complete, estimate_range, needed_quantiles, weight_range
from tasks.numerics.statistics import Quantile, Statistics, TensorStatistic

# Largest magnitude of a bound, as the width of a range has to be finite in float32.
LARGEST_VALUE = float(np.finfo(np.float32).max) / 4

Parameters = dict[str, FakeQuantizeParameters]
_FIELDS = ("input_low", "input_high", "output_low", "output_high", "levels")


def estimate_parameters(
    model: ov.Model,
    setup: QuantizerSetup,
    statistics: Statistics,
    scheme: Scheme,
    halved: frozenset[str],
    smallest_scale: float | None = None,
    clipping_weight: float = 1.0,
    target_device: str = "ANY",
) -> Parameters:
    """The FakeQuantize parameters by name of the quantizer, (channels,) or (1,); those of one group are the same.

    Args:
        model: The float model.
        setup: Its quantizers.
        statistics: Statistics of the activation tensors.
        scheme: How to quantize.
        halved: Names of operations whose weights use half of their levels (see :mod:`tasks.graph.saturation`).
        smallest_scale: Least scale of weights (see :func:`~tasks.numerics.affine.weight_parameters`).
        clipping_weight: Clipping weight of activation ranges with the least error.
        target_device: Name of the target device, for what the message suggests.

    Raises:
        KeyError: The statistics lack a tensor, or a quantile of :func:`wanted_quantiles`.
        InputError: A tensor has infinite values; the message says what leaves it float.
    """
    nodes = nodes_by_name(model)
    parameters: Parameters = {}
    for point in setup.points:
        config = choose(point, scheme)
        estimator = complete(scheme.options(point.role).range_estimator, config)
        if point.role == Role.ACTIVATIONS:
            found = []
            for tensor in point.observed:
                statistic = statistics[tensor]
                size = _size(find_output(nodes, tensor), statistic)
                found.append(estimate_range(statistic, config, estimator, size, clipping_weight))
                _require_finite(found[-1], point, model, target_device, (statistic.minimum, statistic.maximum))
            values = _united([*found, _held(point, config)] if point.covers else found)
            smallest = smallest_range(values) if wants_values(scheme) else SMALLEST_RANGE
            parameters[point.name] = activation_parameters(values, config, smallest)
        else:
            axes = point.channel_axes if config.granularity == Granularity.PERCHANNEL else ()
            weights = constant_value(find_output(nodes, point.tensor)).astype(np.float32, copy=False)
            values = weight_range(weights, axes, config, estimator)
            _require_finite(values, point, model, target_device, (weights,))
            if point.gates == LSTM_GATES:
                values = _with_twin_gates(values, len(weights))
            limits = weight_parameters(values, config, smallest_scale)
            consumers = {consumer.rpartition(":")[0] for consumer in point.consumers}
            parameters[point.name] = widen_for_saturation(limits) if consumers & halved else limits
    for members in _groups(setup).values():
        parameters |= dict.fromkeys(members, unify_parameters([parameters[name] for name in members]))
    return parameters


def without_range(setup: QuantizerSetup, statistics: Statistics, scheme: Scheme) -> dict[str, str]:
    """The activation tensors whose samples leave them no range, each with the reason.

    Whatever else they hold later would be cut off. A tensor that shares a range with others has theirs.

    Args:
        setup: The points that are to be quantized.
        statistics: What was observed of the tensors of all activation points.
        scheme: How ranges are estimated: a quantile or a median may leave none either.
    """
    reasons = {
        point.tensor: reason
        for point in setup.points
        if point.role == Role.ACTIVATIONS and (reason := _why_no_range(statistics[point.tensor], point, scheme))
    }
    ranged = {point.group for point in setup.points if point.group and point.tensor not in reasons}
    kept = {point.tensor for point in setup.points if point.group in ranged}
    return {tensor: reason for tensor, reason in reasons.items() if tensor not in kept}


def _why_no_range(statistic: TensorStatistic, point: QuantizationPoint, scheme: Scheme) -> str | None:
    if not (np.nan_to_num(statistic.maximum).any() or np.nan_to_num(statistic.minimum).any()):
        empty = np.isnan(statistic.maximum).all()
        return f"'{point.tensor}' " + ("had no values in any sample" if empty else "was zero in all samples")
    if wants_values(scheme):
        return None
    config = choose(point, scheme)
    values = estimate_range(statistic, config, complete(scheme.options(point.role).range_estimator, config))
    return None if values.low.any() or values.high.any() else f"its estimator leaves '{point.tensor}' no range"


def wants_values(scheme: Scheme) -> bool:
    """Whether a scheme needs sketches of the activation tensors.

    Args:
        scheme: How to quantize.
    """
    return scheme.activations.range_estimator.preset.minimises_error


def _size(output: ov.Output, statistic: TensorStatistic) -> int:
    """The number of elements of a tensor in one sample; if it is dynamic, at least that of its sketch."""
    shape = output.get_partial_shape()
    known = [size.get_length() for size in list(shape)[1:] if size.is_static] if shape.rank.is_static else []
    seen = 1 if statistic.values is None else statistic.values.shape[1]
    return max(int(np.prod(known)), seen)


def wanted_quantiles(setup: QuantizerSetup, scheme: Scheme) -> dict[str, tuple[Quantile, ...]]:
    """The quantiles that a scheme needs of each activation tensor, by its name; empty if it needs extremes only.

    They include the kinds that any preset or mode could need of these probabilities, so that a change of either finds
    all statistics collected.

    Args:
        setup: The quantizers.
        scheme: How to quantize.
    """
    estimator = scheme.activations.range_estimator
    wanted: dict[str, set[Quantile]] = {}
    for point in setup.points:
        if point.role != Role.ACTIVATIONS:
            continue
        granularities = {each.granularity for each in (*point.candidates, choose(point, scheme))}
        for granularity, mode in product(granularities, Mode):
            config = QuantizerConfig(mode=mode, granularity=granularity)
            quantiles = needed_quantiles(complete(estimator, config), granularity)
            for tensor in point.observed if quantiles else ():
                wanted.setdefault(tensor, set()).update(quantiles)
    return {tensor: tuple(sorted(quantiles)) for tensor, quantiles in sorted(wanted.items())}


def _united(ranges: Sequence[Range]) -> Range:
    """The range of each channel that holds all ranges."""
    low = np.minimum.reduce([each.low for each in ranges])
    return Range(low, np.maximum.reduce([each.high for each in ranges]))


def _held(point: QuantizationPoint, config: QuantizerConfig) -> Range:
    """The range of what a range holds in any case, (1,)."""
    low, high = point.holds
    high = max(-low, high) if config.mode == Mode.SYMMETRIC else high
    return Range(np.array([low], np.float32), np.array([high], np.float32))


def _with_twin_gates(values: Range, directions: int) -> Range:
    """The range of each channel of an LSTM's weights; the first two gates share theirs.

    OpenVINO (2026.4) orders gates otherwise than the model while it computes, but not their scales.
    """

    def shared(bound: NDArray[np.float32], extreme: np.ufunc) -> NDArray[np.float32]:
        gates = bound.reshape(directions, LSTM_GATES, -1).copy()
        gates[:, :2] = extreme.reduce(gates[:, :2], axis=1, keepdims=True)
        return gates.reshape(-1)

    return Range(shared(values.low, np.minimum), shared(values.high, np.maximum))


def _require_finite(
    values: Range, point: QuantizationPoint, model: ov.Model, target_device: str, seen: Sequence[NDArray[np.float32]]
) -> None:
    """Raise InputError for a range that cannot be quantized: masks hold infinities, or the largest number instead."""
    # Also false for NaN.
    if np.all(np.abs(values.low) < LARGEST_VALUE) and np.all(np.abs(values.high) < LARGEST_VALUE):
        return
    extremes = np.concatenate([each.reshape(-1) for each in seen])
    reached = extremes[np.nanargmax(np.abs(extremes))] if not np.isnan(extremes).all() else np.nan
    float_ones = f"quantization.ignored.scope=[{','.join(point.targets)}]"
    usual = place_quantizers(model, target_device=target_device, model_type="transformer")
    if point.tensor not in {each.tensor for each in usual.points}:
        float_ones = f"quantization=transformer, or {float_ones}"
    raise InputError(
        f"'{point.tensor}' reaches {reached:.4g}, as masks do: no levels can cover that; "
        f"keep what reads it float: {float_ones}"
    )


def _groups(setup: QuantizerSetup) -> dict[str, list[str]]:
    """The names of the quantizers of each group."""
    groups: dict[str, list[str]] = {}
    for point in setup.points:
        if point.group is not None:
            groups.setdefault(point.group, []).append(point.name)
    return groups


def to_arrays(parameters: Parameters) -> dict[str, NDArray[np.generic]]:
    """The parameters as named arrays, ``"<quantizer>/<field>"``.

    Args:
        parameters: FakeQuantize parameters by name of the quantizer.
    """
    return {
        f"{name}/{field}": np.asarray(getattr(limits, field))
        for name, limits in parameters.items()
        for field in _FIELDS
    }


def from_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> Parameters:
    """The parameters by name of the quantizer: undoes :func:`to_arrays`.

    Args:
        arrays: The named arrays.
    """
    points = dict.fromkeys(key.rpartition("/")[0] for key in arrays)

    def limits(name: str) -> FakeQuantizeParameters:
        low, high, out_low, out_high = (arrays[f"{name}/{field}"].astype(np.float32) for field in _FIELDS[:4])
        return FakeQuantizeParameters(low, high, out_low, out_high, int(arrays[f"{name}/levels"]))

    return {name: limits(name) for name in points}
