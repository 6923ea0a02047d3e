"""How far up quantization moves, and what stops it."""

from collections.abc import Callable

import openvino as ov
import pytest
from openvino import opset13 as ops

from tests.support import models as m
from tests.support.placed import activations, floats, points, weights


def crossed(make: Callable[[ov.Node], ov.Node], shape: tuple[int, ...] = (1, 4, 8, 8)) -> ov.Model:
    """``relu -> op -> matmul``"""
    node = m.named(make(m.relu_image(shape)), "op")
    last = node.get_output_shape(0)[-1]
    return m.build(m.named(ops.matmul(node, m.constant("weights", last, 3), False, False), "fc"))


PASS_THROUGH = [
    pytest.param(lambda x: m.max_pool(x, "op"), id="MaxPool"),
    pytest.param(lambda x: ops.reduce_max(x, m.integers("axes", 2), True), id="ReduceMax"),
    pytest.param(lambda x: m.reshape(x, "op", 4, 64), id="Reshape"),
    pytest.param(lambda x: m.squeeze(x, "op", 0), id="Squeeze"),
    pytest.param(lambda x: m.unsqueeze(x, "op", 0), id="Unsqueeze"),
    pytest.param(lambda x: m.transpose(x, "op", 0, 2, 3, 1), id="Transpose"),
    pytest.param(lambda x: ops.tile(x, m.integers("repeats", 1, 2, 1, 1)), id="Tile"),
    pytest.param(
        lambda x: ops.strided_slice(
            x, m.integers("from", 0, 0, 0, 0), m.integers("to", 1, 2, 8, 8), m.integers("by", 1, 1, 1, 1), [0], [0]
        ),
        id="StridedSlice",
    ),
    pytest.param(
        lambda x: ops.slice(x, m.integers("from", 0), m.integers("to", 2), m.integers("by", 1), m.integers("on", 1)),
        id="Slice",
    ),
    pytest.param(lambda x: ops.shuffle_channels(x, 1, 2), id="ShuffleChannels"),
    pytest.param(lambda x: ops.broadcast(x, m.integers("to", 2, 4, 8, 8)), id="Broadcast"),
    pytest.param(lambda x: ops.depth_to_space(x, "blocks_first", 2), id="DepthToSpace"),
    pytest.param(lambda x: ops.gather(x, m.integers("indices", 0, 2), m.number("axis", 1)), id="Gather"),
    pytest.param(
        lambda x: ops.pad(x, m.integers("before", 0, 0, 1, 1), m.integers("after", 0, 0, 1, 1), "constant"), id="Pad"
    ),
    pytest.param(lambda x: ops.minimum(x, m.constant("most", 4, 1, 1)), id="Minimum"),
    pytest.param(lambda x: ops.maximum(x, m.constant("least", 4, 1, 1)), id="Maximum"),
    pytest.param(lambda x: ops.convert_like(x, m.image("like", (1,))), id="ConvertLike"),
]


@pytest.mark.parametrize("make", PASS_THROUGH)
def test_quantization_moves_above_a_pass_through_operation(make: Callable[[ov.Node], ov.Node]) -> None:
    model = crossed(make)
    assert activations(model, target_device="GPU") == {"relu:0": ("op:0",)}
    assert points(model, target_device="GPU").keys() == {"op/fq_input_0", "fc/fq_weights_1"}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(ops.relu, id="Relu"),
        pytest.param(lambda x: ops.softmax(x, 1), id="Softmax"),
        pytest.param(lambda x: ops.convert(x, "f32"), id="Convert"),
        pytest.param(lambda x: ops.reduce_sum(x, m.integers("axes", 2), True), id="ReduceSum"),
    ],
)
def test_other_operations_stop_it(make: Callable[[ov.Node], ov.Node]) -> None:
    assert activations(crossed(make)) == {"op:0": ("fc:0",)}


def test_it_moves_over_several_operations_at_once() -> None:
    data = m.reshape(m.max_pool(m.relu_image(), "pool"), "flat", 1, -1)
    assert activations(m.build(m.matmul(data, "fc"))) == {"relu:0": ("pool:0",)}


@pytest.mark.parametrize(
    ("reader", "expected"),
    [
        pytest.param(None, {"relu:0": ("pool:0",)}, id="alone"),
        pytest.param(lambda x: m.convolution(x, "second"), {"relu:0": ("pool:0",)}, id="another-layer"),
        pytest.param(
            lambda x: m.matmul(m.reshape(x, "flat", 1, -1), "fc"), {"relu:0": ("pool:0",)}, id="a-layer-further-down"
        ),
        pytest.param(lambda x: m.shape_of(x, "shape"), {"relu:0": ("pool:0",)}, id="shape-of"),
        pytest.param(
            lambda x: m.shape_of(m.reshape(x, "flat", 1, -1), "shape"), {"relu:0": ("pool:0",)}, id="shape-further-down"
        ),
        pytest.param(lambda x: m.softmax(x, "softmax"), {"pool:0": ("conv:0",)}, id="a-float-operation"),
        pytest.param(lambda x: x, {"pool:0": ("conv:0",)}, id="a-result"),
        pytest.param(lambda x: m.reshape(x, "flat", 1, -1), {"pool:0": ("conv:0",)}, id="a-result-further-down"),
        pytest.param(
            lambda x: m.concat("joined", x, m.relu(m.image("more", (1, 4, 7, 7)), "more_relu")),
            {"pool:0": ("conv:0",)},
            id="a-concat-that-stays-float",
        ),
    ],
)
def test_every_reader_must_be_quantized(
    reader: Callable[[ov.Node], ov.Node] | None, expected: dict[str, tuple[str, ...]]
) -> None:
    assert activations(m.crossed_pool(reader)) == expected


def test_one_quantizer_serves_all_readers_of_a_tensor_under_the_first_name() -> None:
    data = m.relu_image()
    model = m.build(m.convolution(data, "b"), m.convolution(data, "a"), m.softmax(data, "float_reader"))
    assert activations(model) == {"relu:0": ("a:0", "b:0")}
    assert "a/fq_input_0" in points(model)


@pytest.mark.parametrize(
    ("shape", "make", "granularity"),
    [
        pytest.param((1, 4, 8, 8), lambda x: m.max_pool(x, "op"), "perchannel", id="pooling"),
        pytest.param((1, 4, 64), lambda x: m.reshape(x, "op", 1, 4, 8, 8), "perchannel", id="channels-stay"),
        pytest.param((1, 4, 8, 8), lambda x: m.transpose(x, "op", 0, 1, 3, 2), "perchannel", id="space-turned"),
        pytest.param((1, 64, 4), lambda x: m.reshape(x, "op", 1, 4, 8, 8), "pertensor", id="another-size"),
        pytest.param((1, 8, 8, 4), lambda x: m.transpose(x, "op", 0, 3, 1, 2), "pertensor", id="channels-last"),
        pytest.param((1, 4, 4, 8), lambda x: m.transpose(x, "op", 0, 2, 1, 3), "pertensor", id="of-equal-size"),
        pytest.param(
            (1, 64, 4),
            lambda x: m.reshape(m.transpose(x, "turned", 0, 2, 1), "op", 1, 4, 8, 8),
            "pertensor",
            id="tokens-become-an-image",
        ),
    ],
)
def test_channels_of_a_tensor_are_those_of_the_layer_that_reads_it(
    shape: tuple[int, ...], make: Callable[[ov.Node], ov.Node], granularity: str
) -> None:
    """Depthwise convolutions want a scale for each channel: not for each token in front of them."""
    node = make(m.relu_image(shape))
    model = m.build(m.grouped_convolution(node, "depthwise", node.get_output_shape(0)[1]))
    (point,) = (each for each in points(model).values() if each.role == "activations")
    assert point.tensor == "relu:0"
    assert {config.granularity for config in point.candidates} == {granularity}


def test_candidates_suit_every_consumer() -> None:
    data = m.relu_image()
    model = m.build(m.convolution(data, "plain"), m.grouped_convolution(data, "depthwise", 4))
    (point,) = (each for each in points(model).values() if each.role == "activations")
    assert [config.granularity for config in point.candidates] == ["pertensor", "pertensor"]
    assert [config.mode for config in point.candidates] == ["symmetric", "asymmetric"]


def test_a_concat_is_quantized_at_every_input_constants_included() -> None:
    joined = m.concat("joined", m.relu_image(), m.constant("padding", 1, 2, 8, 8))
    model = m.build(m.convolution(joined, "conv"))
    assert activations(model) == {"relu:0": ("joined:0",)}
    assert weights(model) == {"padding:0": (), "conv_weights:0": (0,)}
    assert points(model)["joined/fq_weights_1"].consumers == ("joined:1",)


def test_a_concat_of_a_computed_fill_is_not_crossed() -> None:
    data = m.relu_image()
    joined = m.concat("joined", data, m.fill("zeros", m.shape_of(data, "shape")))
    assert activations(m.build(m.convolution(joined, "conv"))) == {"joined:0": ("conv:0",)}


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        pytest.param([], {"relu:0": ("split:0",)}, id="to-the-input-of-the-split"),
        pytest.param(
            [lambda part: m.softmax(part, "float_reader")],
            {"split:0": ("joined:0",), "split:1": ("joined:1",)},
            id="not-beyond-a-float-reader",
        ),
    ],
)
def test_split_and_concat(others: list[Callable[[ov.Output], ov.Node]], expected: dict[str, tuple[str, ...]]) -> None:
    split = m.named(ops.split(m.relu_image(), m.number("axis", 1), 2), "split")
    joined = m.named(ops.concat([split.output(0), split.output(1)], 1), "joined")
    model = m.build(m.convolution(joined, "conv"), *(other(split.output(0)) for other in others))
    assert activations(model) == expected


def test_a_computed_padding_value_is_quantized_too() -> None:
    value = m.relu(m.image("value_image", ()), "value")
    borders = m.integers("borders", 0, 0, 1, 1)
    padded = m.named(ops.pad(m.relu_image(), borders, borders, "constant", value), "pad")
    assert activations(m.build(m.convolution(padded, "conv"))) == {"relu:0": ("pad:0",), "value:0": ("pad:3",)}


@pytest.mark.parametrize("make", [ops.minimum, ops.maximum])
def test_extremes_of_two_computed_tensors_are_not_crossed(make: Callable[[ov.Node, ov.Node], ov.Node]) -> None:
    node = m.named(make(m.relu_image(), m.softmax(m.image("more"), "softmax")), "op")
    assert activations(m.build(m.convolution(node, "conv"))) == {"op:0": ("conv:0",)}


def test_extremes_are_quantized_at_the_computed_operand() -> None:
    node = m.named(ops.maximum(m.constant("least", 4, 1, 1), m.relu_image()), "op")
    model = m.build(m.convolution(node, "conv"))
    assert activations(model, target_device="GPU") == {"relu:0": ("op:1",)}
    assert "least:0" not in weights(model, target_device="GPU")


def embedding() -> ov.Model:
    table = m.constant("table", 10, 8)
    rows = m.named(ops.gather(table, m.image("tokens", (1, 5), "i64"), m.number("axis", 0)), "rows")
    return m.build(m.matmul(rows, "fc"))


def test_rows_of_an_embedding_are_quantized_not_the_table() -> None:
    assert activations(embedding()) == {"rows:0": ("fc:0",)}
    assert "table:0" not in weights(embedding())


def test_npu_does_not_cross_a_gather() -> None:
    model = crossed(lambda x: ops.gather(x, m.integers("indices", 0, 2), m.number("axis", 1)))
    assert activations(model, target_device="NPU") == {"op:0": ("fc:0",)}


def test_skipped_operations_are_not_crossed() -> None:
    assert "value_bias:0" not in activations(m.attention())
    assert activations(m.attention(with_bias=False))["value:0"] == ("value_split:0",)


def test_integers_are_not_reached() -> None:
    like = m.named(ops.convert_like(m.image("codes", (1, 4, 8, 8), "i32"), m.image("like", (1,))), "op")
    assert activations(m.build(m.convolution(like, "conv"))) == {"op:0": ("conv:0",)}


def test_scale_and_shift_of_a_reshaped_input_stays_float() -> None:
    data = m.reshape(m.image("image", (1, 256)), "shaped", 1, 4, 8, 8)
    model = m.build(m.convolution(m.relu(m.bias(m.scale(data, "scale"), "shift"), "relu"), "conv"))
    assert activations(model) == {"relu:0": ("conv:0",)}
    assert floats(model)["scale"] == "scale and shift of an input"
    assert "scale_value:0" not in weights(model)
