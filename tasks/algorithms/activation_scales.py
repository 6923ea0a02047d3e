"""Scales of activations: the range of a FakeQuantize in front of layers, times the factor that suits them best."""

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
# Most numbers in the columns of a layer that the search looks at.
MOST_NUMBERS = 1_000_000
# A factor has to lower the error by this share; smaller gains are noise.
LEAST_GAIN = 0.01

Columns = NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """The FakeQuantize in front of a layer, which only layers of its group read.

    Attributes:
        name: Friendly name of the FakeQuantize.
        parameters: Its bounds, spread over the inputs of the layer, (groups * inputs,) or (1,), and its levels.
    """

    name: str
    parameters: FakeQuantizeParameters

    def quantize(self, columns: Columns, factor: float) -> Columns:
        """The quantized columns, (groups, columns, inputs), float32, if the range is multiplied by a factor.

        Args:
            columns: Inputs of the layer, (groups, columns, inputs), float32.
            factor: The factor.
        """
        own, by = self.parameters, np.float32(factor)
        low, high, out_low, out_high = (
            by * each for each in (own.input_low, own.input_high, own.output_low, own.output_high)
        )
        return fake_quantize(columns, FakeQuantizeParameters(low, high, out_low, out_high, own.levels), (0, 2))


@dataclass(frozen=True)
class Trial:
    """What tells how well a range suits a layer.

    Attributes:
        limits: The FakeQuantize in front of the layer.
        columns: What it reads, (groups, columns, inputs), float32.
        targets: What the float model answers, (groups, columns, outputs), float32.
        weights: Float weights of the layer, (groups, outputs, inputs), float64.
    """

    limits: Limits
    columns: Columns
    targets: Columns
    weights: Array


def find_limits(node: ov.Node, port: int, axis: int, form: Form, readers: frozenset[str]) -> Limits | None:
    """The FakeQuantize that a layer reads; None without one, or if other operations read it too.

    Args:
        node: The operation of the layer in the quantized model.
        port: Port of its data.
        axis: Axis of the channels in the data.
        form: The weights as matrices.
        readers: Names of the operations that may read the FakeQuantize.
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
    """The factor for the range of each FakeQuantize, by its name, of FACTORS; 1 where none gains LEAST_GAIN.

    It is the factor with which the layers behind miss their targets least, in units of the targets' variance.

    Args:
        trials: One for each layer.
    """
    factors = {}
    for name in dict.fromkeys(trial.limits.name for trial in trials):
        own = [_thinned(trial) for trial in trials if trial.limits.name == name]
        missed = {factor: sum(_missed(trial, factor) for trial in own) for factor in FACTORS}
        best = min(missed, key=lambda factor: missed[factor])
        factors[name] = best if missed[best] < (1 - LEAST_GAIN) * missed[1.0] else 1.0
    return factors


def write_factor(quantizer: ov.Node, factor: float) -> None:
    """Multiply the range of a FakeQuantize by a factor, in place; a factor of 1 leaves its constants.

    Args:
        quantizer: The FakeQuantize.
        factor: The factor.
    """
    if factor == 1:
        return
    for number in range(1, 5):
        write_constant(quantizer, number, read_constant(quantizer, number) * factor, f"tuned_limit_{number}")


def _thinned(trial: Trial) -> Trial:
    """The same with at most MOST_NUMBERS numbers in the columns, spread over all of them."""
    step = -(-trial.columns.size // MOST_NUMBERS)
    return Trial(trial.limits, trial.columns[:, ::step], trial.targets[:, ::step], trial.weights)


def _missed(trial: Trial, factor: float) -> float:
    """The share of the targets' variance that the float weights miss on quantized columns; biases do not count."""
    answers = trial.limits.quantize(trial.columns, factor) @ np.swapaxes(trial.weights, 1, 2).astype(np.float32)
    missed = (answers - trial.targets).var(axis=1, dtype=np.float64).sum()
    return float(missed / max(trial.targets.var(axis=1, dtype=np.float64).sum(), np.finfo(np.float32).tiny))
