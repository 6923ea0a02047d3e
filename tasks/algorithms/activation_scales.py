"""Limits of FakeQuantize operations in front of layers, multiplied by what brings the layers' outputs nearest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.graph.columns import Form
from tasks.graph.constants import read_constant, write_constant
from tasks.numerics.affine import FakeQuantizeParameters, fake_quantize
from tasks.numerics.moments import Array

FACTORS = tuple(2 ** (step / 8) for step in range(9))
# Numbers in the columns of a layer that the search looks at.
MOST_NUMBERS = 1_000_000
# A factor has to lower the error by this share: what is gained less is noise.
LEAST_GAIN = 0.01

Columns = NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """The FakeQuantize that a layer reads alone, or with other layers of its group; over columns of the layer."""

    name: str
    parameters: FakeQuantizeParameters

    def quantize(self, columns: Columns, factor: float) -> Columns:
        """What it makes of columns (groups, n, inputs) when its limits are multiplied by a factor."""
        own, by = self.parameters, np.float32(factor)
        low, high, out_low, out_high = (
            by * each for each in (own.input_low, own.input_high, own.output_low, own.output_high)
        )
        return fake_quantize(columns, FakeQuantizeParameters(low, high, out_low, out_high, own.levels), (0, 2))


@dataclass(frozen=True)
class Trial:
    """A layer in front of which limits are tuned: columns before they are quantized, targets, float weights."""

    limits: Limits
    columns: Columns
    targets: Columns
    weights: Array


def find_limits(node: ov.Node, port: int, axis: int, form: Form, readers: frozenset[str]) -> Limits | None:
    """The limits of the FakeQuantize that a node reads at a port; None where there is none or others read it too.

    ``axis`` holds the channels of the data, ``readers`` are the names of the operations that may read it.
    """
    quantizer = node.input_value(port).get_node()
    if quantizer.get_type_name() != "FakeQuantize":
        return None
    if any(each.get_node().get_friendly_name() not in readers for each in quantizer.output(0).get_target_inputs()):
        return None
    rank = quantizer.get_output_partial_shape(0).rank.get_length()
    limits = []
    for number in range(1, 5):
        values = read_constant(quantizer, number).astype(np.float32)
        lengths = (1,) * (rank - values.ndim) + values.shape
        if any(size > 1 and place != axis for place, size in enumerate(lengths)):
            return None
        taps = form.groups * form.inputs // max(values.size, 1)
        limits.append(values.reshape(1) if values.size == 1 else np.repeat(values.reshape(-1), taps))
    size = max(each.size for each in limits)
    low, high, out_low, out_high = (np.broadcast_to(each, (size,)) for each in limits)
    levels = int(quantizer.get_attributes()["levels"])
    return Limits(quantizer.get_friendly_name(), FakeQuantizeParameters(low, high, out_low, out_high, levels))


def tune_limits(trials: Sequence[Trial]) -> dict[str, float]:
    """For the limits of each name the factor that makes the layers behind them miss their targets least."""
    factors = {}
    for name in dict.fromkeys(trial.limits.name for trial in trials):
        own = [_thinned(trial) for trial in trials if trial.limits.name == name]
        missed = {factor: sum(_missed(trial, factor) for trial in own) for factor in FACTORS}
        best = min(missed, key=lambda factor: missed[factor])
        factors[name] = best if missed[best] < (1 - LEAST_GAIN) * missed[1.0] else 1.0
    return factors


def write_factor(quantizer: ov.Node, factor: float) -> None:
    """Multiply the limits of a FakeQuantize; with a factor of 1 it keeps its constants."""
    if factor == 1:
        return
    for number in range(1, 5):
        write_constant(quantizer, number, read_constant(quantizer, number) * factor, f"tuned_limit_{number}")


def _thinned(trial: Trial) -> Trial:
    """Fewer columns, spread over all of them."""
    step = -(-trial.columns.size // MOST_NUMBERS)
    return Trial(trial.limits, trial.columns[:, ::step], trial.targets[:, ::step], trial.weights)


def _missed(trial: Trial, factor: float) -> float:
    """The share of the targets' variance that the float weights miss with quantized columns, biases left aside."""
    answers = trial.limits.quantize(trial.columns, factor) @ np.swapaxes(trial.weights, 1, 2).astype(np.float32)
    missed = (answers - trial.targets).var(axis=1, dtype=np.float64).sum()
    return float(missed / max(trial.targets.var(axis=1, dtype=np.float64).sum(), np.finfo(np.float32).tiny))
