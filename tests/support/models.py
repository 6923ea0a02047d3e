"""Tiny OpenVINO models, one feature each, with explicit names: what a test asserts, it can read here."""

from collections.abc import Callable

import numpy as np
import openvino as ov
from openvino import opset1
from openvino import opset13 as ops


def named(node: ov.Node, name: str) -> ov.Node:
    node.set_friendly_name(name)
    return node


def image(name: str = "image", shape: tuple[int, ...] = (1, 4, 8, 8), dtype: str = "f32") -> ov.Node:
    return named(ops.parameter(list(shape), dtype=getattr(ov.Type, dtype)), name)


def constant(name: str, *shape: int, dtype: type = np.float32) -> ov.Node:
    """Values that depend on the name and the shape only."""
    values = np.random.default_rng([*name.encode(), *shape]).normal(size=shape)
    return named(ops.constant(values.astype(dtype)), name)


def integers(name: str, *values: int) -> ov.Node:
    return named(ops.constant(np.array(values, np.int64)), name)


def number(name: str, value: int) -> ov.Node:
    return named(ops.constant(np.int64(value)), name)


def convolution(data: ov.Node, name: str, channels: int = 4, kernel: int = 1, stride: int = 1) -> ov.Node:
    weights = constant(f"{name}_weights", channels, data.get_output_shape(0)[1], kernel, kernel)
    return named(ops.convolution(data, weights, [stride] * 2, [0, 0], [0, 0], [1, 1]), name)


def biased_convolution(data: ov.Node, name: str, channels: int = 4, kernel: int = 1, stride: int = 1) -> ov.Node:
    return bias(convolution(data, name, channels, kernel, stride), f"{name}_bias")


def grouped_convolution(data: ov.Node, name: str, groups: int, channels: int | None = None) -> ov.Node:
    features = data.get_output_shape(0)[1]
    weights = constant(f"{name}_weights", groups, (channels or features) // groups, features // groups, 1, 1)
    return named(ops.group_convolution(data, weights, [1, 1], [0, 0], [0, 0], [1, 1]), name)


def bias(data: ov.Node, name: str) -> ov.Node:
    """Add of a constant along axis 1 for images, along the last axis otherwise."""
    shape = data.get_output_shape(0)
    sizes = (1, shape[1], *[1] * (len(shape) - 2)) if len(shape) == 4 else (*[1] * (len(shape) - 1), shape[-1])
    return named(ops.add(data, constant(f"{name}_value", *sizes)), name)


def scale(data: ov.Node, name: str) -> ov.Node:
    """Multiply by a constant per channel of axis 1."""
    rank = len(data.get_output_shape(0))
    sizes = [1] * rank
    sizes[min(1, rank - 1)] = data.get_output_shape(0)[min(1, rank - 1)]
    return named(ops.multiply(data, constant(f"{name}_value", *sizes)), name)


def matmul(data: ov.Node, name: str, features: int = 4) -> ov.Node:
    inputs = list(data.get_output_partial_shape(0))[-1].get_length()
    weights = constant(f"{name}_weights", features, inputs)
    return named(ops.matmul(data, weights, False, True), name)


def relu(data: ov.Node, name: str) -> ov.Node:
    return named(ops.relu(data), name)


def softmax(data: ov.Node, name: str) -> ov.Node:
    return named(ops.softmax(data, 1), name)


def add(first: ov.Node, second: ov.Node, name: str) -> ov.Node:
    return named(ops.add(first, second), name)


def multiply(first: ov.Node, second: ov.Node, name: str) -> ov.Node:
    return named(ops.multiply(first, second), name)


def concat(name: str, *parts: ov.Node, axis: int = 1) -> ov.Node:
    return named(ops.concat(list(parts), axis), name)


def max_pool(data: ov.Node, name: str) -> ov.Node:
    return named(opset1.max_pool(data, [1, 1], [0, 0], [0, 0], [2, 2]), name)


def reshape(data: ov.Node, name: str, *shape: int) -> ov.Node:
    return named(ops.reshape(data, integers(f"{name}_shape", *shape), False), name)


def transpose(data: ov.Node, name: str, *order: int) -> ov.Node:
    return named(ops.transpose(data, integers(f"{name}_order", *order)), name)


def clamp(data: ov.Node, name: str) -> ov.Node:
    return named(ops.clamp(data, 0.0, 6.0), name)


def mean(data: ov.Node, name: str) -> ov.Node:
    return named(ops.reduce_mean(data, integers(f"{name}_axes", 2, 3), True), name)


def unsqueeze(data: ov.Node, name: str, axis: int) -> ov.Node:
    return named(ops.unsqueeze(data, integers(f"{name}_axis", axis)), name)


def squeeze(data: ov.Node, name: str, axis: int) -> ov.Node:
    return named(ops.squeeze(data, integers(f"{name}_axis", axis)), name)


def fill(name: str, shape: ov.Node) -> ov.Node:
    """A float tensor of computed shape: shape arithmetic, though not integer."""
    return named(ops.broadcast(named(ops.constant(np.float32(0)), f"{name}_value"), shape), name)


def shape_of(data: ov.Node, name: str) -> ov.Node:
    return named(ops.shape_of(data), name)


def build(*outputs: ov.Node | ov.Output) -> ov.Model:
    """The model of these outputs; its inputs are found below them, its results are called result0, result1 ..."""
    results = [named(ops.result(output), f"result{index}") for index, output in enumerate(outputs)]
    pending: list[ov.Node] = list(results)
    seen: dict[str, ov.Node] = {}
    while pending:
        node = pending.pop()
        if node.get_friendly_name() not in seen:
            seen[node.get_friendly_name()] = node
            pending += [node.input_value(port).get_node() for port in range(node.get_input_size())]
    inputs = [node for node in seen.values() if node.get_type_name() == "Parameter"]
    return ov.Model(results, sorted(inputs, key=lambda node: str(node.get_friendly_name())), "tiny")


def relu_image(shape: tuple[int, ...] = (1, 4, 8, 8)) -> ov.Node:
    """A computed tensor that is no input of the model, so that no rule for inputs applies: ``relu`` of ``image``."""
    return relu(image(shape=shape), "relu")


def convnet() -> ov.Model:
    """Two biased convolutions with a residual sum, pooling and a classifier."""
    stem = relu(biased_convolution(image(), "stem", 4, 3), "stem_relu")
    pooled = max_pool(stem, "pool")
    branch = relu(biased_convolution(pooled, "branch"), "branch_relu")
    total = relu(add(biased_convolution(branch, "last"), pooled, "sum"), "sum_relu")
    return build(bias(matmul(reshape(mean(total, "mean"), "flat", 1, -1), "classifier", 3), "classifier_bias"))


def crossed_pool(reader: Callable[[ov.Node], ov.Node] | None = None) -> ov.Model:
    """``relu -> pool -> conv``; the pooling has one more reader."""
    pool = max_pool(relu_image(), "pool")
    outputs = [convolution(pool, "conv")]
    return build(*outputs, *([reader(pool)] if reader else []))


def concat_of_branches(*readers: Callable[[ov.Node], ov.Node]) -> ov.Model:
    """``relu`` and ``tanh`` of an image joined by ``concat`` and read by every one of ``readers``."""
    picture = image()
    joined = concat("concat", relu(picture, "relu"), named(ops.tanh(picture), "tanh"))
    return build(*(reader(joined) for reader in readers))


def attention(*, with_bias: bool = True) -> ov.Model:
    """One head: ``softmax(q k) v`` with the values split and transposed as exporters write it."""
    tokens = image("tokens", (1, 6, 8))

    def heads(name: str) -> ov.Node:
        projected = matmul(tokens, name, 8)
        projected = bias(projected, f"{name}_bias") if with_bias else projected
        return transpose(reshape(projected, f"{name}_split", 1, 6, 2, 4), f"{name}_heads", 0, 2, 1, 3)

    scores = named(ops.matmul(heads("query"), heads("key"), False, True), "scores")
    probabilities = named(ops.softmax(scores, -1), "probabilities")
    return build(named(ops.matmul(probabilities, heads("value"), False, False), "context"))


def two_sums(*, shared: bool) -> ov.Model:
    """A sum of two biased convolutions; with ``shared`` a third convolution reads the second operand too."""
    picture = relu_image()
    own, other = biased_convolution(picture, "own"), relu(biased_convolution(picture, "other"), "other_relu")
    outputs = [relu(add(own, other, "sum"), "sum_relu")]
    return build(*outputs, *([convolution(other, "reader")] if shared else []))


def recurrent(kind: str, *, state_is_constant: bool = True, linear_before_reset: bool = False) -> ov.Model:
    """An LSTMSequence or a GRUSequence called ``cell``: 5 steps of 3 inputs, 4 hidden values."""
    steps = relu_image((1, 5, 3))
    state = constant("state", 1, 1, 4) if state_is_constant else relu(image("start", (1, 1, 4)), "state")
    lengths = integers("lengths", 5)
    gates = 4 if kind == "LSTMSequence" else 3
    inputs, recurrence = constant("inputs", 1, gates * 4, 3), constant("recurrence", 1, gates * 4, 4)
    if kind == "LSTMSequence":
        offsets = constant("offsets", 1, gates * 4)
        cell = ops.lstm_sequence(
            steps, state, constant("memory", 1, 1, 4), lengths, inputs, recurrence, offsets, 4, "forward"
        )
    else:
        offsets = constant("offsets", 1, (gates + linear_before_reset) * 4)
        cell = ops.gru_sequence(
            steps, state, lengths, inputs, recurrence, offsets, 4, "forward", linear_before_reset=linear_before_reset
        )
    return build(named(cell, "cell").output(0))


def loop_around_convolution() -> ov.Model:
    """A TensorIterator called ``loop`` with a convolution ``inner`` in its body."""
    inside = image("inside", (1, 4, 8, 8))
    body_result = named(ops.result(convolution(inside, "inner")), "body_result")
    loop = named(ops.tensor_iterator(), "loop")
    outside = image("image", (1, 4, 8, 8))
    loop.set_body(ov.Model([body_result], [inside], "body"))
    loop.set_merged_input(inside, outside.output(0), body_result.output(0))
    return build(loop.get_iter_value(body_result.output(0), -1))


def row_matmul(data: ov.Node, name: str, rows: int = 4, *, transposed: bool = False) -> ov.Node:
    """A constant matrix times the data: its rows become the channels of axis 1."""
    columns = data.get_output_shape(0)[-2]
    weights = constant(f"{name}_weights", *((columns, rows) if transposed else (rows, columns)))
    return named(ops.matmul(weights, data, transposed, False), name)


def compressed(name: str, *shape: int, stored: str = "f16") -> ov.Node:
    """A constant stored in a smaller type, which the model converts to f32 when it is loaded."""
    values = constant(f"{name}_stored", *shape)
    kept = named(ops.constant(values.get_data(), dtype=getattr(ov.Type, stored)), f"{name}_stored")
    return named(ops.convert(kept, "f32"), name)


def between_relus(*layers: Callable[[ov.Node], ov.Node], shape: tuple[int, ...] = (1, 4, 8, 8)) -> ov.Model:
    """``relu`` of ``image``, the layers one after the other, ``end``: another relu."""
    data = relu_image(shape)
    for layer in layers:
        data = layer(data)
    return build(relu(data, "end"))


def linear_layers(*names: str, kernel: int = 1) -> ov.Model:
    """Biased convolutions one after the other with nothing in between."""

    def layer(name: str) -> Callable[[ov.Node], ov.Node]:
        return lambda data: biased_convolution(data, name, 4, kernel)

    return between_relus(*map(layer, names))
