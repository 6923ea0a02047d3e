"""From statistics and weights to the limits of every FakeQuantize of a setup."""

from collections.abc import Mapping

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.graph.placement import QuantizationPoint, QuantizerSetup, Role
from tasks.graph.presets import Preset, choose
from tasks.graph.traversal import constant_value, find_output, nodes_by_name
from tasks.numerics.affine import (
    FakeQuantizeParameters,
    Granularity,
    QuantizerConfig,
    activation_parameters,
    halve_levels,
    unite,
    weight_parameters,
)
from tasks.numerics.estimators import default_estimator, estimate_range, weight_range
from tasks.numerics.statistics import Statistics

Parameters = dict[str, FakeQuantizeParameters]
_FIELDS = ("input_low", "input_high", "output_low", "output_high", "levels")


def estimate_parameters(
    model: ov.Model, setup: QuantizerSetup, statistics: Statistics, preset: Preset, halved: frozenset[str]
) -> Parameters:
    """Limits of every point, by its name. Points of one group share the range that holds all of theirs.

    ``halved`` are the operations whose weights use half of their levels (see ``graph.saturation``).
    """
    nodes = nodes_by_name(model)
    parameters: Parameters = {}
    for point in setup.points:
        config = choose(point, preset)
        if point.role == Role.ACTIVATIONS:
            values = estimate_range(statistics[point.tensor], config, default_estimator(config))
            parameters[point.name] = activation_parameters(values, config)
        else:
            limits = _weight_limits(point, constant_value(find_output(nodes, point.tensor)), config)
            consumers = {consumer.rpartition(":")[0] for consumer in point.consumers}
            parameters[point.name] = halve_levels(limits) if consumers & halved else limits
    for members in _groups(setup).values():
        parameters |= dict.fromkeys(members, unite([parameters[name] for name in members]))
    return parameters


def _weight_limits(
    point: QuantizationPoint, weights: NDArray[np.float32], config: QuantizerConfig
) -> FakeQuantizeParameters:
    axes = point.channel_axes if config.granularity == Granularity.PERCHANNEL else ()
    return weight_parameters(weight_range(weights, axes), config)


def _groups(setup: QuantizerSetup) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for point in setup.points:
        if point.group is not None:
            groups.setdefault(point.group, []).append(point.name)
    return groups


def to_arrays(parameters: Parameters) -> dict[str, NDArray[np.generic]]:
    """Flatten to named arrays, ``"<point>/<field>"``."""
    return {
        f"{name}/{field}": np.asarray(getattr(limits, field))
        for name, limits in parameters.items()
        for field in _FIELDS
    }


def from_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> Parameters:
    """Undo :func:`to_arrays`."""
    points = dict.fromkeys(key.rpartition("/")[0] for key in arrays)

    def limits(name: str) -> FakeQuantizeParameters:
        low, high, out_low, out_high = (arrays[f"{name}/{field}"].astype(np.float32) for field in _FIELDS[:4])
        return FakeQuantizeParameters(low, high, out_low, out_high, int(arrays[f"{name}/levels"]))

    return {name: limits(name) for name in points}
