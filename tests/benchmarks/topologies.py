"""Networks of well-known shapes with fixed random weights: speed and memory do not depend on the values.

Batch normalizations are part of the convolutions, as in every converted model.
"""

from dataclasses import dataclass, field

import numpy as np
import openvino as ov
from openvino import opset1
from openvino import opset13 as ops

IMAGE = (1, 3, 224, 224)
SEQUENCE = 128
VOCABULARY = 30522


@dataclass
class Builder:
    """Makes layers with random weights that keep the size of the values; every node has a name."""

    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    count: int = 0

    def named(self, node: ov.Node) -> ov.Node:
        self.count += 1
        node.set_friendly_name(f"{node.get_type_name()}_{self.count}")
        return node

    def weights(self, *shape: int, deviation: float) -> ov.Node:
        values = self.generator.standard_normal(shape, np.float32) * np.float32(deviation)
        return self.named(ops.constant(values))

    def integers(self, *values: int) -> ov.Node:
        return self.named(ops.constant(np.array(values, np.int64)))

    def add(self, first: ov.Node, second: ov.Node) -> ov.Node:
        return self.named(ops.add(first, second))

    def relu(self, data: ov.Node) -> ov.Node:
        return self.named(ops.relu(data))

    def clamp(self, data: ov.Node) -> ov.Node:
        return self.named(ops.clamp(data, 0.0, 6.0))

    def convolution(self, data: ov.Node, channels: int, kernel: int, stride: int = 1, gain: float = 2) -> ov.Node:
        features, pad = data.get_output_shape(0)[1], [kernel // 2] * 2
        weights = self.weights(channels, features, kernel, kernel, deviation=(gain / (features * kernel**2)) ** 0.5)
        output = self.named(ops.convolution(data, weights, [stride] * 2, pad, pad, [1, 1]))
        return self.add(output, self.weights(1, channels, 1, 1, deviation=0.1))

    def depthwise(self, data: ov.Node, stride: int) -> ov.Node:
        features = data.get_output_shape(0)[1]
        weights = self.weights(features, 1, 1, 3, 3, deviation=(2 / 9) ** 0.5)
        output = self.named(ops.group_convolution(data, weights, [stride] * 2, [1, 1], [1, 1], [1, 1]))
        return self.add(output, self.weights(1, features, 1, 1, deviation=0.1))

    def dense(self, data: ov.Node, features: int) -> ov.Node:
        inputs = data.get_output_shape(0)[-1]
        weights = self.weights(features, inputs, deviation=inputs**-0.5)
        output = self.named(ops.matmul(data, weights, False, True))
        rank = len(data.get_output_shape(0))
        return self.add(output, self.weights(*[1] * (rank - 1), features, deviation=0.1))

    def classifier(self, data: ov.Node, classes: int = 1000) -> ov.Node:
        pooled = self.named(ops.reduce_mean(data, self.integers(2, 3), False))
        return self.dense(pooled, classes)

    def image(self) -> ov.Node:
        return self.input("image", IMAGE, ov.Type.f32)

    def input(self, name: str, shape: tuple[int, ...], kind: ov.Type) -> ov.Node:
        node = ops.parameter(list(shape), dtype=kind, name=name)
        node.output(0).set_names({name})
        return node

    def model(self, output: ov.Node, inputs: list[ov.Node], name: str) -> ov.Model:
        output.output(0).set_names({"output"})
        result = ops.result(output)
        result.set_friendly_name("result")
        return ov.Model([result], inputs, name)


def resnet50() -> ov.Model:
    """ResNet-50: a stem, four stages of bottlenecks, a classifier."""
    b = Builder()
    image = b.image()
    data = b.relu(b.convolution(image, 64, 7, 2))
    data = b.named(opset1.max_pool(data, [2, 2], [1, 1], [1, 1], [3, 3]))
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            data = _bottleneck(b, data, 64 * 2**stage, 2 if stage and not block else 1)
    return b.model(b.classifier(data), [image], "resnet50")


def _bottleneck(b: Builder, data: ov.Node, width: int, stride: int) -> ov.Node:
    inner = b.relu(b.convolution(data, width, 1))
    inner = b.relu(b.convolution(inner, width, 3, stride))
    inner = b.convolution(inner, 4 * width, 1, gain=0.1)
    if data.get_output_shape(0) != inner.get_output_shape(0):
        data = b.convolution(data, 4 * width, 1, stride)
    return b.relu(b.add(data, inner))


def mobilenet_v2() -> ov.Model:
    """MobileNet-V2: 17 inverted residual blocks, each with a depthwise convolution."""
    b = Builder()
    image = b.image()
    data = b.clamp(b.convolution(image, 32, 3, 2))
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, channels, blocks, stride in stages:
        for block in range(blocks):
            data = _inverted_residual(b, data, expansion, channels, 1 if block else stride)
    data = b.clamp(b.convolution(data, 1280, 1))
    return b.model(b.classifier(data), [image], "mobilenet_v2")


def _inverted_residual(b: Builder, data: ov.Node, expansion: int, channels: int, stride: int) -> ov.Node:
    features = data.get_output_shape(0)[1]
    inner = b.clamp(b.convolution(data, expansion * features, 1)) if expansion > 1 else data
    inner = b.clamp(b.depthwise(inner, stride))
    inner = b.convolution(inner, channels, 1)
    return b.add(data, inner) if stride == 1 and features == channels else inner


def transformer(layers: int = 6, hidden: int = 384, heads: int = 12) -> ov.Model:
    """A BERT-like encoder, by default of MiniLM-L6's size: token ids and a mask of padding in, hidden states out."""
    b = Builder()
    ids = b.input("input_ids", (1, SEQUENCE), ov.Type.i64)
    mask = b.input("attention_mask", (1, SEQUENCE), ov.Type.i64)
    table = b.weights(VOCABULARY, hidden, deviation=1)
    axis = b.named(ops.constant(np.int64(0)))
    data = b.add(b.named(ops.gather(table, ids, axis)), b.weights(1, SEQUENCE, hidden, deviation=0.1))
    data = _normalize(b, data)
    present = b.named(ops.convert(b.named(ops.unsqueeze(mask, b.integers(1, 2))), "f32"))
    absent = b.named(ops.subtract(b.named(ops.constant(np.float32(1))), present))
    hidden_away = b.named(ops.multiply(absent, b.named(ops.constant(np.float32(-10000)))))
    for _ in range(layers):
        data = _normalize(b, b.add(data, _attention(b, data, hidden_away, heads)))
        inner = b.named(ops.gelu(b.dense(data, 4 * hidden), "erf"))
        data = _normalize(b, b.add(data, b.dense(inner, hidden)))
    return b.model(data, [ids, mask], "transformer")


def _attention(b: Builder, data: ov.Node, hidden_away: ov.Node, heads: int) -> ov.Node:
    hidden = data.get_output_shape(0)[-1]

    def apart(features: ov.Node) -> ov.Node:
        shape = b.integers(1, SEQUENCE, heads, hidden // heads)
        return b.named(ops.transpose(b.named(ops.reshape(features, shape, False)), b.integers(0, 2, 1, 3)))

    query, key, value = (apart(b.dense(data, hidden)) for _ in range(3))
    scores = b.named(ops.matmul(query, key, False, True))
    scale = b.named(ops.constant(np.float32((hidden // heads) ** -0.5)))
    scores = b.add(b.named(ops.multiply(scores, scale)), hidden_away)
    mixed = b.named(ops.matmul(b.named(ops.softmax(scores, 3)), value, False, False))
    joined = b.named(ops.transpose(mixed, b.integers(0, 2, 1, 3)))
    return b.dense(b.named(ops.reshape(joined, b.integers(1, SEQUENCE, hidden), False)), hidden)


def _normalize(b: Builder, data: ov.Node) -> ov.Node:
    """Layer normalization as the converters write it."""
    hidden = data.get_output_shape(0)[-1]
    normal = b.named(ops.mvn(data, b.integers(-1), True, 1e-12, "inside_sqrt"))
    ones = b.named(ops.constant(b.generator.uniform(0.8, 1.2, (1, 1, hidden)).astype(np.float32)))
    return b.add(b.named(ops.multiply(normal, ones)), b.weights(1, 1, hidden, deviation=0.1))
