"""One graph a pattern, and the near misses: what ``find_skipped`` leaves float, and nothing else."""

from collections.abc import Callable

import openvino as ov
import pytest
from openvino import opset13 as ops
from openvino.utils.node_factory import NodeFactory

from tasks.graph.operations import read_operations
from tasks.graph.patterns import find_skipped
from tests.support import models as m

SQUEEZE_AND_EXCITATION = "gate of squeeze-and-excitation"
HARD_SWISH = "hard swish written out"
SOFTMAX = "softmax written out"
ATTENTION = "product of attention"
INPUT = "preprocessing of an input"
BEHIND = "element-wise operation behind a layer"
CLAMP = "clamp and scale"
SELECTION = "it decides the order of a selection"


def skipped(model: ov.Model, device: str = "ANY") -> dict[str, str]:
    return {each.name: reason for each, reason in find_skipped(read_operations(model), device).items()}


def deconvolution(data: ov.Node, name: str) -> ov.Node:
    weights = m.constant(f"{name}_weights", data.get_output_shape(0)[1], 4, 2, 2)
    return m.named(ops.convolution_backprop_data(data, weights, [2, 2]), name)


def scale_shift(data: ov.Node) -> ov.Node:
    return m.bias(m.scale(data, "scale"), "shift")


def squeeze_and_excitation(layer: Callable[[ov.Node, str], ov.Node]) -> ov.Model:
    data = m.relu_image()
    hidden = m.relu(layer(m.mean(data, "mean"), "reduce"), "hidden")
    gate = m.named(ops.sigmoid(layer(hidden, "expand")), "gate")
    return m.build(m.multiply(data, gate, "scaled"))


def mvn(data: ov.Node) -> ov.Node:
    return m.named(ops.mvn(data, m.integers("mvn_axes", 2, 3), True, 1e-6, "INSIDE_SQRT"), "mvn")


def normalize(data: ov.Node) -> ov.Node:
    return m.named(ops.normalize_l2(data, m.integers("norm_axes", 1), 1e-6, "add"), "norm")


def written_out_softmax(last: str) -> ov.Model:
    exponent = m.named(ops.exp(m.relu_image()), "exponent")
    total = m.named(ops.reduce_sum(exponent, m.integers("axes", 1), True), "total")
    if last == "divide":
        return m.build(m.named(ops.divide(exponent, total), "quotient"))
    inverse = m.named(ops.power(total, m.constant("minus_one", 1)), "inverse")
    return m.build(m.multiply(exponent, inverse, "product"))


def stable_diffusion_attention() -> ov.Model:
    scores = m.named(ops.softmax(m.image("scores", (2, 6, 6)), -1), "probabilities")
    values = m.reshape(m.relu_image((1, 6, 8)), "split", 1, 6, 2, 4)
    values = m.reshape(m.transpose(values, "heads", 0, 2, 1, 3), "merged", 2, 6, 4)
    return m.build(m.named(ops.matmul(scores, values, False, False), "context"))


def gathered_attention() -> ov.Model:
    """Queries, keys and values from one projection; the values are picked by a Gather."""
    projected = m.bias(m.matmul(m.relu_image((1, 6, 8)), "projection", 24), "projection_bias")
    split = m.transpose(m.reshape(projected, "split", 6, 3, 2, 4), "heads", 1, 2, 0, 3)
    values = m.named(ops.gather(split, m.number("third", 2), m.number("axis", 0)), "values")
    probabilities = m.named(ops.softmax(m.image("scores", (2, 6, 6)), -1), "probabilities")
    return m.build(m.named(ops.matmul(probabilities, values, False, False), "context"))


def hard_swish(data: ov.Node, *, final_scale: bool = False) -> ov.Model:
    clamped = m.clamp(m.bias(data, "plus_three"), "clamp")
    product = m.multiply(data, clamped, "product")
    return m.build(m.scale(product, "sixth") if final_scale else product)


def hard_swish_2() -> ov.Model:
    picture = m.relu_image()
    data = m.add(picture, m.softmax(picture, "softmax"), "data")
    clamped = m.scale(m.clamp(m.bias(data, "plus_three"), "clamp"), "sixth")
    return m.build(m.multiply(data, clamped, "product"))


def channel_reversal() -> ov.Model:
    split = m.named(ops.split(m.image(), m.number("axis", 1), 2), "split")
    joined = m.named(ops.concat([split.output(1), split.output(0)], 1), "reversed")
    return m.build(m.bias(joined, "shift"))


def batch_index() -> ov.Model:
    data, other = m.relu(m.image("data", (2, 4)), "left"), m.relu(m.image("other", (2, 4)), "right")
    index = m.multiply(m.named(ops.subtract(data, other), "difference"), other, "weighted")
    index = m.add(m.scale(index, "scaled"), other, "moved")
    joined = m.concat("joined", m.unsqueeze(index, "unsqueezed", 2), m.image("more", (2, 4, 1)), axis=2)
    padded = m.concat("padded", joined, m.constant("padding", 2, 4, 2), axis=2)
    return m.build(m.convolution(m.reshape(padded, "shaped", 2, 4, 2, 2), "conv"))


def region_features() -> ov.Model:
    """Features of regions, which OpenVINO's Python API offers no function for."""
    attributes = {"output_size": 2, "sampling_ratio": 2, "pyramid_scales": [4], "aligned": False}
    inputs = [m.relu(m.image("regions", (3, 4)), "regions_relu").output(0), m.relu_image().output(0)]
    features = NodeFactory("opset6").create("ExperimentalDetectronROIFeatureExtractor", inputs, attributes)
    moved = ops.add(m.named(features, "features").output(0), m.constant("shift", 1, 4, 1, 1))
    return m.build(m.named(moved, "moved"))


def suppressed_boxes() -> ov.Model:
    boxes = m.reshape(m.biased_convolution(m.relu_image(), "conv"), "boxes", 1, 64, 4)
    scores = m.named(ops.sigmoid(m.image("scores", (1, 1, 64))), "probabilities")
    kept = ops.non_max_suppression(boxes, scores, m.number("most", 5))
    return m.build(m.named(kept, "nms").output(0))


def scored_top_k() -> ov.Model:
    scores = m.multiply(m.matmul(m.relu_image((1, 8)), "fc", 16), m.image("gate", (1, 16)), "scores")
    best = ops.topk(scores, m.number("k", 3), 1, "max", "value")
    return m.build(m.named(best, "top").output(1))


ROWS = [
    pytest.param(m.build(m.biased_convolution(m.relu_image(), "conv")), {"conv_bias": "bias"}, id="bias"),
    pytest.param(
        m.build(m.bias(m.grouped_convolution(m.relu_image(), "conv", 2), "add")), {"add": "bias"}, id="grouped-bias"
    ),
    pytest.param(m.build(m.bias(m.matmul(m.relu_image((2, 8)), "fc"), "add")), {"add": "bias"}, id="matmul-bias"),
    pytest.param(m.build(m.bias(deconvolution(m.relu_image(), "up"), "add")), {"add": "bias"}, id="deconvolution-bias"),
    pytest.param(
        squeeze_and_excitation(m.biased_convolution),
        dict.fromkeys(("hidden", "reduce", "expand", "gate"), SQUEEZE_AND_EXCITATION)
        | {"reduce_bias": "bias", "expand_bias": "bias"},
        id="squeeze-and-excitation",
    ),
    pytest.param(
        squeeze_and_excitation(m.convolution),
        dict.fromkeys(("hidden", "reduce", "expand", "gate"), SQUEEZE_AND_EXCITATION),
        id="squeeze-and-excitation-without-biases",
    ),
    pytest.param(m.build(scale_shift(m.relu_image())), {"shift": "shift of a scale and shift"}, id="scale-and-shift"),
    pytest.param(
        m.build(scale_shift(m.add(m.image("a"), m.image("b"), "sum"))),
        {"shift": "shift of a scale and shift", "scale": "scale and shift of an output"},
        id="scale-and-shift-of-an-output",
    ),
    pytest.param(
        m.build(m.relu(scale_shift(mvn(m.relu_image())), "last")),
        {"shift": "shift of a scale and shift", "scale": "scale and shift of a normalization"},
        id="normalization",
    ),
    pytest.param(
        m.build(m.scale(normalize(m.relu_image()), "scale")), {"scale": "scale of a normalization"}, id="normalize-l2"
    ),
    pytest.param(
        m.build(scale_shift(m.image())), {"scale": INPUT, "shift": "shift of a scale and shift"}, id="input-scale-shift"
    ),
    pytest.param(
        m.build(
            m.bias(m.transpose(m.named(ops.convert(m.image(dtype="u8"), "f32"), "convert"), "nchw", 0, 3, 1, 2), "add")
        ),
        {"add": INPUT, "nchw": INPUT, "convert": INPUT},
        id="input-convert-transpose-add",
    ),
    pytest.param(
        m.build(m.multiply(m.image(), m.relu(m.image("mask"), "relu"), "masked")), {"masked": INPUT}, id="input-product"
    ),
    pytest.param(
        m.build(m.named(ops.subtract(m.image(), m.relu(m.image("mean"), "relu")), "centred")),
        {"centred": INPUT},
        id="input-difference",
    ),
    pytest.param(channel_reversal(), {"split": INPUT, "reversed": INPUT, "shift": INPUT}, id="input-channels-reversed"),
    pytest.param(
        written_out_softmax("multiply"),
        dict.fromkeys(("exponent", "total", "inverse", "product"), SOFTMAX),
        id="softmax-by-power",
    ),
    pytest.param(
        written_out_softmax("divide"), dict.fromkeys(("exponent", "total", "quotient"), SOFTMAX), id="softmax-by-divide"
    ),
    pytest.param(
        m.attention(),
        dict.fromkeys(("probabilities", "context", "value_split", "value_heads"), ATTENTION)
        | dict.fromkeys(("query_bias", "key_bias", "value_bias"), "bias"),
        id="attention",
    ),
    pytest.param(
        stable_diffusion_attention(),
        dict.fromkeys(("probabilities", "context", "split", "heads", "merged"), ATTENTION),
        id="attention-merged-heads",
    ),
    pytest.param(
        gathered_attention(),
        dict.fromkeys(("probabilities", "context", "split", "heads", "values"), ATTENTION)
        | {"projection_bias": "bias"},
        id="attention-gathered-values",
    ),
    pytest.param(
        hard_swish(m.biased_convolution(m.relu_image(), "conv")),
        dict.fromkeys(("plus_three", "clamp", "product"), HARD_SWISH) | {"conv_bias": "bias"},
        id="hard-swish",
    ),
    pytest.param(
        hard_swish(m.convolution(m.relu_image(), "conv"), final_scale=True),
        dict.fromkeys(("plus_three", "clamp", "product", "sixth"), HARD_SWISH),
        id="hard-swish-scaled-without-bias",
    ),
    pytest.param(
        hard_swish_2(),
        dict.fromkeys(("plus_three", "product"), HARD_SWISH) | dict.fromkeys(("clamp", "sixth"), CLAMP),
        id="hard-swish-of-a-sum",
    ),
    pytest.param(
        m.build(m.squeeze(scale_shift(m.unsqueeze(m.relu_image((4, 4)), "up", 1)), "down", 1)),
        dict.fromkeys(("up", "scale", "down"), "scale and shift between Unsqueeze and Squeeze")
        | {"shift": "shift of a scale and shift"},
        id="unsqueeze-squeeze",
    ),
    pytest.param(
        batch_index(),
        dict.fromkeys(
            ("difference", "weighted", "scaled", "moved", "unsqueezed", "joined", "padded", "shaped", "conv"),
            "batch index",
        ),
        id="batch-index",
    ),
    pytest.param(
        m.build(m.named(ops.logical_not(m.named(ops.equal(m.image("a"), m.image("b")), "equal")), "not")),
        dict.fromkeys(("equal", "not"), "comparison and its negation"),
        id="not-equal",
    ),
    pytest.param(
        region_features(),
        dict.fromkeys(("features", "moved"), "post-processing of a detection"),
        id="detection-post-processing",
    ),
    pytest.param(
        suppressed_boxes(),
        dict.fromkeys(("boxes", "probabilities", "scores"), SELECTION) | {"conv_bias": "bias"},
        id="non-max-suppression",
    ),
    pytest.param(scored_top_k(), {"gate": SELECTION, "scores": INPUT}, id="top-k"),
    pytest.param(
        m.build(scale_shift(m.relu(m.biased_convolution(m.image(), "conv"), "act"))),
        {"conv_bias": "bias", "act": BEHIND, "scale": BEHIND, "shift": "shift of a scale and shift"},
        id="scale-shift-behind-a-layer",
    ),
    pytest.param(
        m.build(m.named(ops.minimum(m.matmul(m.relu_image((2, 8)), "fc"), m.constant("most", 1, 4)), "least")),
        {"least": BEHIND},
        id="element-wise-behind-a-layer",
    ),
    pytest.param(
        m.build(m.scale(m.clamp(m.relu_image(), "clamp"), "scale")),
        dict.fromkeys(("clamp", "scale"), CLAMP),
        id="clamp-and-scale",
    ),
]


@pytest.mark.parametrize(("model", "expected"), ROWS)
def test_pattern(model: ov.Model, expected: dict[str, str]) -> None:
    assert skipped(model) == expected


def bias_beside_another_reader() -> ov.Model:
    conv = m.convolution(m.image(), "conv")
    return m.build(m.bias(conv, "add"), m.relu(conv, "other"))


def scale_beside_another_reader() -> ov.Model:
    activation = m.relu(m.biased_convolution(m.image(), "conv"), "act")
    return m.build(m.scale(activation, "scale"), m.softmax(activation, "other"))


NEAR_MISSES = [
    pytest.param(m.build(m.scale(m.bias(m.image(), "shift"), "scale")), {"shift": INPUT}, id="add-before-multiply"),
    pytest.param(
        m.build(m.bias(m.named(ops.convert(m.image(dtype="u8"), "f32"), "convert"), "add")), {}, id="convert-alone"
    ),
    pytest.param(m.build(m.bias(m.relu_image(), "add")), {}, id="add-without-layer"),
    pytest.param(bias_beside_another_reader(), {}, id="convolution-read-twice"),
    pytest.param(scale_beside_another_reader(), {"conv_bias": "bias"}, id="activation-read-twice"),
    pytest.param(
        squeeze_and_excitation(lambda data, name: m.convolution(m.softmax(data, f"{name}_soft"), name)),
        {},
        id="squeeze-and-excitation-interrupted",
    ),
    pytest.param(m.attention(with_bias=False), {}, id="attention-values-without-bias"),
    pytest.param(
        m.build(m.multiply(m.clamp(m.image("a"), "clamp"), m.relu(m.image("b"), "relu"), "product")),
        {},
        id="clamp-times-computed",
    ),
]


@pytest.mark.parametrize(("model", "expected"), NEAR_MISSES)
def test_near_miss(model: ov.Model, expected: dict[str, str]) -> None:
    assert skipped(model) == expected


@pytest.mark.parametrize(
    ("model", "operation", "devices"),
    [
        pytest.param(gathered_attention(), "context", {"ANY", "CPU", "GPU", "NPU"}, id="gathered-values-not-spr"),
        pytest.param(
            m.build(m.scale(m.clamp(m.relu_image(), "clamp"), "scale")),
            "scale",
            {"ANY", "CPU", "CPU_SPR", "GPU", "NPU"},
            id="clamp-and-scale-everywhere",
        ),
        pytest.param(
            m.build(m.scale(m.convolution(m.image(), "conv"), "scale")),
            "scale",
            {"ANY", "CPU", "CPU_SPR", "GPU"},
            id="behind-a-layer-not-npu",
        ),
    ],
)
def test_patterns_of_single_devices(model: ov.Model, operation: str, devices: set[str]) -> None:
    every = ("ANY", "CPU", "CPU_SPR", "GPU", "NPU")
    assert {device for device in every if operation in skipped(model, device)} == devices


def test_layers_above_a_selection_stay_quantizable() -> None:
    assert "conv" not in skipped(suppressed_boxes())
    assert "fc" not in skipped(scored_top_k())
