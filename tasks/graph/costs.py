"""What it costs to leave operations float, by arithmetic, as times that are measured would differ from run to run.

A time is the sum of products, of elements written, and of a call, in units of one product of float32 numbers. An int8
instruction forms four products where one of float32 forms one (Intel 64 and IA-32 Architectures Optimization Reference
Manual, VPDPBUSD), and int8 tensors have a quarter of the bytes. A processor forms some 16 products in the time in which
it reads and writes one number in memory, and some 200,000 in that of a call of an operation.
"""

from collections.abc import Mapping
from math import prod

import openvino as ov

from tasks.graph.operations import Operation, Source, read_operations, shape_of

RECURRENT = frozenset({f"{kind}{form}" for kind in ("LSTM", "GRU", "RNN") for form in ("Sequence", "Cell")})
_CONVOLUTIONS = {"Convolution": 1, "GroupConvolution": 2}
_TRANSPOSED = {"ConvolutionBackpropData": 1, "GroupConvolutionBackpropData": 2}
_ELEMENT, _CALL, _SMALLER = 16, 200_000, 4
# Operations that OpenVINO computes once, or not at all.
_FREE = frozenset({"Constant", "Parameter", "Result", "Reshape", "Squeeze", "Unsqueeze", "ShapeOf", "FakeQuantize"})


def float_costs(model: ov.Model) -> Mapping[str, float]:
    """By name of an operation, the share of an INT8 model's time that it takes longer if it stays float.

    Args:
        model: The float model; dynamic axes count as 1.
    """
    operations = [each for each in read_operations(model) if not each.constant and each.type not in _FREE]
    times = {each.name: (_products(each), _ELEMENT * _elements(each)) for each in operations}
    whole = sum((products + moved) / _SMALLER + _CALL for products, moved in times.values())
    return {name: (1 - 1 / _SMALLER) * (products + moved) / whole for name, (products, moved) in times.items()}


def _elements(operation: Operation) -> int:
    return sum(prod(_sizes(Source(operation, port))) for port in range(len(operation.consumers)))


def _products(operation: Operation) -> int:
    """The number of products that one inference forms."""
    kind = operation.type
    if kind == "MatMul":
        transposed = operation.node.get_attributes()["transpose_a"]
        data = _sizes(operation.sources[0])
        summed = data[-2 if transposed and len(data) > 1 else -1] if data else 1
        return prod(_sizes(Source(operation, 0))) * summed
    if kind in _CONVOLUTIONS:
        weights = _sizes(operation.sources[1])
        return prod(_sizes(Source(operation, 0))) * prod(weights[_CONVOLUTIONS[kind] :])
    if kind in _TRANSPOSED:
        weights, groups = _sizes(operation.sources[1]), _TRANSPOSED[kind]
        return prod(_sizes(operation.sources[0])) * prod(weights[groups:])
    if kind in RECURRENT:
        matrices = sum(prod(_sizes(each)) for each in operation.sources if each.operation.constant)
        steps = _sizes(operation.sources[0])[1] if kind.endswith("Sequence") else 1
        return matrices * steps
    return 0


def _sizes(source: Source) -> tuple[int, ...]:
    return tuple(size or 1 for size in shape_of(source) or ())
