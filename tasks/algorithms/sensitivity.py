"""Sensitivity: what the quantizers of each layer cost the model's output, and which layers had better stay float.

One compiled model serves all trials: an input of it says of each quantizer whether it is at work. With all of them the
outputs have some error; without those of a layer they have less of it, by the layer's share. Errors of layers are
nearly independent, so that the shares of several add up, as far as that can be known: to no more than _MOST_KNOWN.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.inference import Sample, compile_for_samples, one_sample_at_a_time, whole_inputs
from tasks.algorithms.ranges import Parameters
from tasks.algorithms.relative_noise import infer_wanted, relative_noise
from tasks.graph.costs import float_costs
from tasks.graph.edits import insert_quantizers
from tasks.graph.float_units import FloatUnit, float_units
from tasks.graph.naming import input_name
from tasks.graph.operations import read_operations
from tasks.graph.parts import show_parts
from tasks.graph.placement import QuantizationPoint, QuantizerSetup
from tasks.graph.traversal import find_output, nodes_by_name

# About so many inferences; a model of many layers is tried on fewer samples.
_TRIALS = 600
_LEAST_SAMPLES = 4
# A layer that stays float gains so many dB, and as many again for each percent of time that it costs.
LEAST_GAIN = 0.3
# Layers that stay float cost no more than this share of time, unless the output is as poor as this.
MOST_TIME, POOR = 0.03, 20.0
# Of the error this share is told by shares of single layers at most: what is left behind them is chance and interplay.
_MOST_KNOWN = 0.9
_NOTHING = 1e-12


@dataclass(frozen=True)
class Sensitivity:
    """What it means for the outputs that a unit stays float.

    Attributes:
        unit: The unit.
        shares: The share of each output's error that goes, (outputs,), up to 1; below 0 the error grows.
        cost: The share of time that it takes longer.
    """

    unit: FloatUnit
    shares: tuple[float, ...]
    cost: float


@dataclass(frozen=True)
class FloatChoice:
    """The units that had better stay float.

    Attributes:
        units: The units, the most worthwhile one first.
        gain: Expected gain, in dB of output SQNR; the mean of all outputs.
        cost: Expected share of time that the model takes longer.
    """

    units: tuple[FloatUnit, ...] = ()
    gain: float = 0.0
    cost: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all operations, each once."""
        return tuple(dict.fromkeys(name for unit in self.units for name in unit.names))


def find_sensitivities(
    model: ov.Model,
    setup: QuantizerSetup,
    parameters: Parameters,
    samples: Sequence[Sample],
    *,
    threads: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[tuple[Sensitivity, ...], float]:
    """The sensitivity of each unit, and the SQNR in dB with all quantizers at work, the mean of all outputs.

    Nothing is said of a model without samples, or whose outputs are not finite or have no energy.

    Args:
        model: The float model.
        setup: Its quantizers.
        parameters: FakeQuantize parameters by name of the quantizer.
        samples: Samples to try them on.
        threads: Number of threads; None for all that the process may use.
        advance: Called after each inference.
    """
    alone = one_sample_at_a_time(model, whole_inputs(model, samples[0])) if samples else model
    units = float_units(read_operations(alone), setup.points)
    if not units or not samples:
        return (), np.inf
    # Evenly spread, as data sets are often sorted by class.
    samples = samples[:: -(-len(samples) // max(_LEAST_SAMPLES, _TRIALS // (1 + len(units))))]
    costs = float_costs(_sized(alone, samples[0]))
    switched = _with_switches(alone.clone(), setup.points, parameters)
    wanted = infer_wanted(compile_for_samples(show_parts(alone), threads), samples, advance)
    compiled = compile_for_samples(switched, threads, integers=False)

    def error(silent: Sequence[str]) -> NDArray[np.float64]:
        switches = {_switch(point.name): np.array(point.name not in silent) for point in setup.points}
        return relative_noise(compiled, ({**sample, **switches} for sample in samples), wanted, advance)

    usual = error(())
    if not usual.size or not np.isfinite(usual).all():
        return (), np.inf
    found = []
    for unit in units:
        silent = [point.name for point in setup.points if set(point.targets) <= set(unit.names)]
        less = error(silent) if silent else usual
        shares = tuple(1 - np.minimum(less, 1e12) / np.maximum(usual, _NOTHING))
        found.append(Sensitivity(unit, shares, sum(costs.get(name, 0.0) for name in unit.names)))
    return tuple(found), float(np.mean(-10 * np.log10(np.maximum(usual, _NOTHING))))


def choose_float(sensitivities: Sequence[Sensitivity], sqnr_db: float) -> FloatChoice:
    """The units that had better stay float: each gains enough dB for the time that it costs.

    They are taken one after the other, that of the largest gain for its cost first. Units of which some operation was
    taken already do not count.

    Args:
        sensitivities: Those of all units.
        sqnr_db: SQNR in dB with all quantizers at work.
    """
    chosen = FloatChoice()
    if not sensitivities:
        return chosen
    left = np.ones(len(sensitivities[0].shares))
    whole = np.sum([np.maximum(each.shares, 0) for each in sensitivities if len(each.unit.names) == 1], axis=0)
    sensitivities = [replace(each, shares=tuple(each.shares / np.maximum(whole, 1))) for each in sensitivities]
    while True:
        free = [each for each in sensitivities if not set(each.unit.names) & set(chosen.names)]
        worth = [(_gain(left, each) - _price(each), each) for each in free]
        worth = [
            (net, each)
            for net, each in worth
            if net > 0 and (chosen.cost + each.cost <= MOST_TIME or sqnr_db + chosen.gain < POOR)
        ]
        if not worth:
            return chosen
        _, best = max(worth, key=lambda pair: pair[0])
        gain = chosen.gain + _gain(left, best)
        left = _left(left, best)
        chosen = FloatChoice((*chosen.units, best.unit), gain, chosen.cost + best.cost)


def _gain(left: NDArray[np.float64], each: Sensitivity) -> float:
    """The gain in dB where so much of the errors is left; the mean of all outputs."""
    return float(np.mean(10 * np.log10(left / _left(left, each))))


def _left(left: NDArray[np.float64], each: Sensitivity) -> NDArray[np.float64]:
    return np.maximum(left - each.shares, 1 - _MOST_KNOWN)


def _price(each: Sensitivity) -> float:
    return LEAST_GAIN * (1 + 100 * each.cost)


def _with_switches(model: ov.Model, points: Sequence[QuantizationPoint], parameters: Mapping[str, Any]) -> ov.Model:
    """The quantized model that gives its parts, with an input for each quantizer that says whether it is at work."""
    nodes = nodes_by_name(model)
    sources = {point.name: find_output(nodes, point.tensor) for point in points}
    insert_quantizers(model, tuple(points), parameters)
    model = show_parts(model)
    nodes, switches = nodes_by_name(model), []
    for point in points:
        if point.name not in nodes:  # it lies behind all parts
            continue
        switch = ops.parameter([], ov.Type.boolean)
        switch.output(0).set_names({_switch(point.name)})
        quantized = nodes[point.name].output(0)
        readers = quantized.get_target_inputs()
        chosen = ops.select(switch, quantized, sources[point.name])
        for reader in readers:
            reader.replace_source_output(chosen.output(0))
        switches.append(switch)
    return ov.Model(model.get_results(), model.get_sinks(), [*model.get_parameters(), *switches], "switched")


def _sized(model: ov.Model, sample: Sample) -> ov.Model:
    """A copy of the model with the sizes of a sample; its other free axes, which no sample tells, stay free."""
    copy = model.clone()
    shapes = {}
    for port in copy.inputs:
        rank, shape = port.get_partial_shape().rank, sample[input_name(port)].shape
        # Samples have no batch axis, but for inputs without one.
        shapes[port] = ov.PartialShape(shape if rank.is_static and rank.get_length() == len(shape) else [1, *shape])
    copy.reshape(shapes)
    return copy


def _switch(name: str) -> str:
    return f"{name}/at_work"
