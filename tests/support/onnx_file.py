"""ONNX files of a few nodes, written by hand: no package for it is needed."""

from pathlib import Path

import numpy as np

Message = bytes


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def node(operation: str, inputs: tuple[str, ...], output: str, name: str = "") -> Message:
    named = _field(3, name) if name else b""
    return b"".join(_field(1, each) for each in inputs) + _field(2, output) + named + _field(4, operation)


def weights(name: str, *shape: int, file: Path | None = None) -> Message:
    """Ones, in ``file`` beside the model if one is given."""
    data = np.ones(shape, "<f4").tobytes()
    tensor = b"".join(_field(1, size) for size in shape) + _field(2, 1) + _field(8, name)
    if file is None:
        return tensor + _field(9, data)
    file.write_bytes(data)
    entries = (("location", file.name), ("offset", "0"), ("length", str(len(data))))
    return tensor + b"".join(_field(13, _field(1, key) + _field(2, value)) for key, value in entries) + _field(14, 1)


def _value(name: str, shape: tuple[int, ...]) -> Message:
    sizes = b"".join(_field(1, _field(1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, sizes)))


def write(path: Path, nodes: tuple[Message, ...], constants: tuple[Message, ...], shape: tuple[int, ...]) -> Path:
    """A model that computes ``y`` of ``x``, both of the same shape."""
    graph = b"".join(_field(1, each) for each in nodes) + _field(2, "graph")
    graph += b"".join(_field(5, each) for each in constants)
    graph += _field(11, _value("x", shape)) + _field(12, _value("y", shape))
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13)))
    return path


def write_convolution(path: Path, data: Path | None = None) -> Path:
    """``Conv_0`` with a bias, ``Relu_1`` and its double; the weights are in ``data`` if it is given."""
    convolution, relu = node("Conv", ("x", "w", "b"), "c", "Conv_0"), node("Relu", ("c",), "r", "Relu_1")
    doubled = node("Add", ("r", "r"), "y", "Add_2")
    return write(
        path, (convolution, relu, doubled), (weights("w", 4, 4, 1, 1, file=data), weights("b", 4)), (1, 4, 8, 8)
    )


def write_normalized(path: Path) -> Path:
    """``Conv_0``, the batch normalization ``Norm_1`` and ``Mul_3`` of ``Sigmoid_2``, which make a swish."""
    nodes = (
        node("Conv", ("x", "w"), "c", "Conv_0"),
        node("BatchNormalization", ("c", "scale", "shift", "mean", "variance"), "n", "Norm_1"),
        node("Sigmoid", ("n",), "s", "Sigmoid_2"),
        node("Mul", ("n", "s"), "y", "Mul_3"),
    )
    vectors = (weights(name, 4) for name in ("scale", "shift", "mean", "variance"))
    return write(path, nodes, (weights("w", 4, 4, 1, 1), *vectors), (1, 4, 8, 8))


def write_classifier(path: Path) -> Path:
    """``conv1`` with a bias, ``relu1``, ``flat``, the Gemm ``fc`` with a bias and a softmax."""
    nodes = (
        node("Conv", ("x", "w", "b"), "c", "conv1"),
        node("Relu", ("c",), "r", "relu1"),
        node("Flatten", ("r",), "f", "flat"),
        node("Gemm", ("f", "v", "a"), "g", "fc"),
        node("Softmax", ("g",), "y"),
    )
    constants = (weights("w", 4, 4, 1, 1), weights("b", 4), weights("v", 256, 4), weights("a", 4))
    return write(path, nodes, constants, (1, 4, 8, 8))
