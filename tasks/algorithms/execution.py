"""What OpenVINO computes of a quantized model in integers, as its runtime model tells, beside what was meant."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import openvino as ov

from tasks.algorithms.inference import compile_for_samples
from tasks.algorithms.ranges import estimate_parameters
from tasks.errors import InputError
from tasks.graph.devices import PASS_THROUGH
from tasks.graph.edits import insert_quantizers
from tasks.graph.layers import PRODUCTS
from tasks.graph.operations import Operation, read_operations
from tasks.graph.placement import QuantizationPoint, QuantizerSetup, Role
from tasks.graph.presets import Scheme
from tasks.graph.recurrent import GATES
from tasks.graph.tensors import is_product
from tasks.numerics.affine import FakeQuantizeParameters
from tasks.numerics.estimators import RangeEstimator
from tasks.numerics.statistics import Statistics

INTEGER_PRECISIONS = frozenset({"i8", "u8"})
# Types of operations that are worth quantizing only if they run in integers.
LAYERS = PRODUCTS | GATES.keys()
# Kernels that compute such layers by themselves; in others they may be a part of many.
_KERNELS = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNNSeq", "TensorIterator"})
# Numbers of levels of activations that its integer kernels know.
INT8_LEVELS = frozenset({255, 256})
# How the reasons read: of a layer, and of an operation in front of one.
IN_FLOATS = "OpenVINO computes it in floats, however it is quantized"
NOT_CARRIED = "OpenVINO does not carry int8 through it"
# What OpenVINO's passes append to the names of layers.
_SUFFIXES = ("", "_original", "/MM", "_original/MM", "/DequantizationMultiply", "/DequantizationSubtract")


@dataclass(frozen=True)
class Execution:
    """The layers of a quantized model that OpenVINO computes in floats all the same.

    Attributes:
        left_float: What is to stay float, by name, each with the reason: the layers, or operations in front of them
            that do not carry integers, behind which the layers then read quantized data.
        by_levels: Names of layers that stay quantized as asked for, but run in integers only with other levels:
            symmetric ones, or 255 or 256 of activations.
    """

    left_float: tuple[tuple[str, str], ...] = ()
    by_levels: tuple[str, ...] = ()


def compare_execution(model: ov.Model, setup: QuantizerSetup, statistics: Statistics, scheme: Scheme) -> Execution:
    """The quantized layers of a model that OpenVINO's CPU plugin computes in floats, on this processor.

    Nothing is said of layers that the runtime model does not name, and no layer stays float where none at all runs in
    integers. Ranges are those of the extremes of all samples, whatever the scheme has: their levels are of one kind.

    Args:
        model: The float model.
        setup: Its quantizers.
        statistics: Statistics of the observed tensors.
        scheme: How it is quantized.
    """
    extremes = replace(scheme.with_extremes(), weights=replace(scheme.weights, range_estimator=RangeEstimator()))
    quantized = model.clone()
    parameters = estimate_parameters(quantized, setup, statistics, extremes, frozenset())
    insert_quantizers(quantized, setup.points, parameters)
    targets = {target for point in setup.points for target in point.targets}
    names = {each.name: each for each in read_operations(model)}
    layers = [each for each in names.values() if each.name in targets and each.type in LAYERS]
    in_floats = float_layers(quantized, layers)
    left_float: dict[str, str] = {}
    by_levels = []
    for layer in (each for each in layers if each.name in in_floats):
        points = [point for point in setup.points if layer.name in point.targets]
        levels = [parameters[point.name] for point in points if point.role == Role.WEIGHTS or _wants_symmetry(layer)]
        activations = [parameters[point.name].levels for point in points if point.role == Role.ACTIVATIONS]
        if any(map(_has_zero_point, levels)) or not INT8_LEVELS.issuperset(activations):
            by_levels.append(layer.name)
        elif carriers := _carriers(layer, points, names):
            left_float |= dict.fromkeys(carriers, f"{NOT_CARRIED} to '{layer.name}'")
        elif len(in_floats) < len(layers):
            left_float[layer.name] = IN_FLOATS
    return Execution(tuple(sorted(left_float.items())), tuple(by_levels))


def float_layers(quantized: ov.Model, layers: Iterable[Operation]) -> frozenset[str]:
    """The names of the layers that OpenVINO computes in floats; none of a model that it cannot run.

    Args:
        quantized: The quantized model.
        layers: Its layers, as operations of the float model.
    """
    try:
        compiled = compile_for_samples(quantized, 1, snippets=False)
    except InputError:
        return frozenset()
    precisions: dict[str, set[str]] = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        told = node.get_rt_info()
        if told["layerType"].astype(str) in _KERNELS:
            for name in told["originalLayersNames"].astype(str).split(","):
                precisions.setdefault(name, set()).add(told["runtimePrecision"].astype(str))
    return frozenset(layer.name for layer in layers if _in_floats(layer, precisions))


def _in_floats(layer: Operation, precisions: Mapping[str, set[str]]) -> bool:
    """Whether all kernels that have the name of a layer, or else of the factor fused into it, compute in floats."""
    for name in (layer.name, *(edge.operation.name for edge in layer.readers if edge.operation.type == "Multiply")):
        found = set[str]().union(*(precisions.get(name + suffix, ()) for suffix in _SUFFIXES))
        if found:
            return not found & INTEGER_PRECISIONS
    return False


def _wants_symmetry(layer: Operation) -> bool:
    """Whether OpenVINO multiplies the data of a layer in integers only without a zero point."""
    first_is_constant = layer.type == "MatMul" and layer.sources[0].operation.constant
    return "Backprop" in layer.type or is_product(layer) or first_is_constant


def _has_zero_point(limits: FakeQuantizeParameters) -> bool:
    """Whether zero is neither the middle of the levels nor their lowest."""
    above = (limits.levels - 1) // 2
    middle = limits.input_low * above + limits.input_high * (limits.levels - 1 - above)
    return bool(limits.input_low.any() and (np.abs(middle) > 1e-3 * (limits.input_high - limits.input_low)).any())


def _carriers(layer: Operation, points: Iterable[QuantizationPoint], names: Mapping[str, Operation]) -> list[str]:
    """The names of the operations right in front of a layer through which it reads what is quantized further up."""
    read = {consumer.rpartition(":")[0] for point in points for consumer in point.consumers} - {layer.name}
    waiting, found, seen = [names[name] for name in read], list[str](), set[Operation]()
    while waiting:
        operation = waiting.pop()
        if operation in seen or operation.type not in PASS_THROUGH:
            continue
        seen.add(operation)
        readers = {edge.operation for edge in operation.readers}
        found += [operation.name] * (layer in readers)
        waiting += readers
    return found
