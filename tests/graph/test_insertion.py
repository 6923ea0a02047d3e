"""Which inputs of which operations are quantized, and along which axes."""

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tests.support import models as m
from tests.support.placed import activations, floats, forms, points, weights

Binary = Callable[[ov.Node, ov.Node], ov.Node]


def computed(name: str, *shape: int) -> ov.Node:
    return m.relu(m.image(f"{name}_image", shape), name)


def interpolate(data: ov.Node) -> ov.Node:
    sizes = m.integers("sizes", 16, 16)
    return ops.interpolate(data, sizes, "nearest", "sizes", axes=m.integers("axes", 2, 3))


def one_input(make: Callable[[ov.Node], ov.Node]) -> ov.Model:
    return m.build(m.softmax(m.named(make(computed("x", 1, 4, 8, 8)), "op"), "last"))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(interpolate, id="Interpolate"),
        pytest.param(lambda x: ops.power(x, m.constant("exponent", 4, 1, 1)), id="Power"),
        pytest.param(lambda x: ops.reduce_mean(x, m.integers("axes", 1), False), id="ReduceMean"),
        pytest.param(lambda x: ops.normalize_l2(x, m.integers("axes", 1), 1e-6, "add"), id="NormalizeL2"),
        pytest.param(lambda x: ops.mvn(x, m.integers("axes", 1), True, 1e-6, "INSIDE_SQRT"), id="MVN"),
        pytest.param(lambda x: ops.avg_pool(x, [1, 1], [0, 0], [0, 0], [2, 2], False), id="AvgPool"),
    ],
)
def test_only_the_data_of_one_input_operations_is_quantized(make: Callable[[ov.Node], ov.Node]) -> None:
    model = one_input(make)
    assert activations(model) == {"x:0": ("op:0",)}
    assert weights(model) == {}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(ops.relu, id="Relu"),
        pytest.param(lambda x: ops.clamp(x, 0.0, 1.0), id="Clamp"),
        pytest.param(lambda x: ops.gelu(x, "tanh"), id="Gelu"),
        pytest.param(ops.swish, id="Swish"),
        pytest.param(lambda x: ops.prelu(x, m.constant("slope", 4)), id="PRelu"),
        pytest.param(lambda x: ops.softmax(x, 1), id="Softmax"),
        pytest.param(ops.tanh, id="Tanh"),
    ],
)
def test_activation_functions_stay_float(make: Callable[[ov.Node], ov.Node]) -> None:
    assert points(one_input(make)) == {}


@pytest.mark.parametrize(
    "make", [ops.add, ops.multiply, ops.subtract, ops.divide, ops.floor_mod, ops.less, ops.greater_equal, ops.equal]
)
def test_both_computed_operands_are_quantized(make: Binary) -> None:
    model = m.build(m.named(make(computed("x", 1, 4), computed("y", 1, 4)), "op"))
    assert activations(model) == {"x:0": ("op:0",), "y:0": ("op:1",)}


@pytest.mark.parametrize("make", [ops.add, ops.multiply, ops.subtract, ops.divide])
def test_a_constant_operand_of_arithmetic_is_quantized_as_weights(make: Binary) -> None:
    model = m.build(m.named(make(computed("x", 1, 4, 2, 2), m.constant("value", 1, 4, 1, 1)), "op"))
    assert activations(model) == {"x:0": ("op:0",)}
    assert weights(model) == {"value:0": (0,)}


@pytest.mark.parametrize("make", [ops.less, ops.less_equal, ops.greater, ops.greater_equal, ops.equal, ops.not_equal])
def test_a_constant_operand_of_a_comparison_stays_float(make: Binary) -> None:
    model = m.build(m.named(make(computed("x", 1, 4), m.constant("value", 1, 4)), "op"))
    assert activations(model) == {"x:0": ("op:0",)}
    assert weights(model) == {}


@pytest.mark.parametrize("shape", [(4,), (4, 1, 1), (1, 4, 1, 1), (2, 4, 1, 1)], ids=str)
def test_a_constant_operand_of_arithmetic_has_scales_along_its_first_axis(shape: tuple[int, ...]) -> None:
    model = m.build(m.named(ops.add(computed("x", 2, 4, 4, 4), m.constant("value", *shape)), "op"))
    assert weights(model) == {"value:0": (0,)}


@pytest.mark.parametrize("constant_first", [False, True])
def test_the_factor_of_a_scale_and_shift_stays_float(*, constant_first: bool) -> None:
    data, factor = computed("x", 1, 4, 2, 2), m.constant("factor", 1, 4, 1, 1)
    product = m.named(ops.multiply(*((factor, data) if constant_first else (data, factor))), "scale")
    model = m.build(m.relu(m.bias(product, "shift"), "last"))
    assert activations(model) == {"x:0": (f"scale:{int(constant_first)}",)}
    assert weights(model) == {}


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)], ids=str)
def test_single_numbers_stay_float(shape: tuple[int, ...]) -> None:
    model = m.build(m.named(ops.multiply(computed("x", 1, 4, 2), m.constant("value", *shape)), "op"))
    assert points(model).keys() == {"op/fq_input_0"}


@pytest.mark.parametrize("dtype", ["i32", "i64", "boolean"])
def test_integers_are_never_quantized(dtype: str) -> None:
    model = m.build(m.named(ops.equal(m.image("a", (1, 4), dtype), m.image("b", (1, 4), dtype)), "op"))
    assert points(model) == {}
    assert floats(model) == {"op": "integer tensor"}


def transposed_matmul(shape: tuple[int, ...], *, first: bool, transposed: bool) -> ov.Model:
    constant = m.constant("weights", *shape)
    if first:
        node = ops.matmul(constant, computed("x", *shape[:-2], 5, 5), transposed, False)
    else:
        node = ops.matmul(computed("x", *shape[:-2], 5, 5), constant, False, transposed)
    return m.build(m.named(node, "op"))


@pytest.mark.parametrize(
    ("model", "axes"),
    [
        pytest.param(transposed_matmul((5, 3), first=False, transposed=False), (1,), id="second"),
        pytest.param(transposed_matmul((3, 5), first=False, transposed=True), (0,), id="second-transposed"),
        pytest.param(transposed_matmul((3, 5), first=True, transposed=False), (0,), id="first"),
        pytest.param(transposed_matmul((5, 3), first=True, transposed=True), (1,), id="first-transposed"),
        pytest.param(transposed_matmul((2, 5, 3), first=False, transposed=False), (0, 2), id="3d"),
        pytest.param(transposed_matmul((1, 5, 3), first=False, transposed=False), (2,), id="3d-of-one"),
        pytest.param(transposed_matmul((4, 1, 3, 5), first=True, transposed=False), (0, 2), id="4d-first"),
        pytest.param(transposed_matmul((2, 3, 5), first=False, transposed=True), (0, 1), id="3d-transposed"),
        pytest.param(m.build(ops.matmul(computed("x", 2, 5), m.constant("weights", 5), False, False)), (), id="1d"),
    ],
)
def test_matmul_channels_are_the_output_features_of_each_matrix(model: ov.Model, axes: tuple[int, ...]) -> None:
    assert weights(model) == {"weights:0": axes}


def test_a_constant_without_channels_has_per_tensor_candidates_only() -> None:
    model = m.build(m.named(ops.matmul(computed("x", 2, 5), m.constant("weights", 5), False, False), "op"))
    assert forms(points(model)["op/fq_weights_1"]) == ["8 symmetric pertensor", "8 asymmetric pertensor"]


def deconvolution(data: ov.Node, *, grouped: bool) -> ov.Node:
    shape = (2, 2, 3, 2, 2) if grouped else (4, 3, 2, 2)
    make = ops.group_convolution_backprop_data if grouped else ops.convolution_backprop_data
    return m.named(make(data, m.constant("weights", *shape), [2, 2]), "op")


@pytest.mark.parametrize(
    ("model", "device", "axes"),
    [
        pytest.param(m.build(m.convolution(m.image(), "op")), "ANY", (0,), id="Convolution"),
        pytest.param(m.build(m.grouped_convolution(m.image(), "op", 2)), "ANY", (0, 1), id="GroupConvolution"),
        pytest.param(m.build(m.grouped_convolution(m.image(), "op", 4)), "ANY", (0, 1), id="depthwise"),
        pytest.param(m.build(deconvolution(m.image(), grouped=False)), "ANY", (1,), id="ConvolutionBackpropData"),
        pytest.param(m.build(deconvolution(m.image(), grouped=True)), "NPU", (0, 2), id="GroupConvolutionBackpropData"),
    ],
)
def test_channels_of_layers_are_the_output_channels(model: ov.Model, device: str, axes: tuple[int, ...]) -> None:
    (point,) = (each for each in points(model, target_device=device).values() if each.role == "weights")
    assert (point.name, point.consumers, point.channel_axes) == ("op/fq_weights_1", ("op:1",), axes)


def test_grouped_deconvolution_is_in_no_table_but_that_of_the_npu() -> None:
    model = m.build(deconvolution(m.image(), grouped=True))
    assert points(model) == {}
    assert floats(model) == {}


def test_depthwise_activations_may_have_a_scale_per_channel() -> None:
    model = m.build(m.grouped_convolution(computed("x", 1, 4, 8, 8), "op", 4))
    point = points(model)["op/fq_input_0"]
    assert forms(point) == ["8 symmetric perchannel", "8 asymmetric perchannel"]
    assert point.channel_axes == (1,)


@pytest.mark.parametrize(
    ("groups", "channels"),
    [pytest.param(2, 4, id="two-channels-a-group"), pytest.param(4, 8, id="channel-multiplier")],
)
def test_other_grouped_convolutions_are_quantized_like_plain_ones(groups: int, channels: int) -> None:
    model = m.build(m.grouped_convolution(computed("x", 1, 4, 8, 8), "op", groups, channels))
    assert forms(points(model)["op/fq_input_0"]) == ["8 symmetric pertensor", "8 asymmetric pertensor"]


def test_unknown_channel_count_leaves_one_scale() -> None:
    data = m.named(ops.parameter(ov.PartialShape([1, -1, 8, 8]), ov.Type.f32), "image")
    node = ops.group_convolution(data, m.constant("w", 4, 1, 1, 1, 1), [1, 1], [0, 0], [0, 0], [1, 1])
    point = points(m.build(m.named(node, "op")))["op/fq_input_0"]
    assert (point.channel_axes, forms(point)[0]) == ((), "8 symmetric pertensor")


def behind_convert() -> ov.Node:
    return ops.convert(m.constant("stored", 4, 4, 1, 1, dtype=np.float16), "f32")


def behind_reshape() -> ov.Node:
    return ops.reshape(m.constant("stored", 4, 4), m.integers("shape", 4, 4, 1, 1), False)


def behind_arithmetic() -> ov.Node:
    codes = ops.convert(m.constant("stored", 4, 4, 1, 1, dtype=np.int8), "f32")
    return ops.multiply(codes, m.constant("scale", 4, 1, 1, 1))


@pytest.mark.parametrize("make", [behind_convert, behind_reshape, behind_arithmetic])
def test_weights_may_stand_behind_constant_operations(make: Callable[[], ov.Node]) -> None:
    node = ops.convolution(m.image(), m.named(make(), "unpacked"), [1, 1], [0, 0], [0, 0], [1, 1])
    assert weights(m.build(m.named(node, "op"))) == {"unpacked:0": (0,)}


def test_weights_computed_from_the_input_are_activations() -> None:
    kernel = m.relu(m.image("kernel", (4, 4, 1, 1)), "kernel_relu")
    node = ops.convolution(m.image(), kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    model = m.build(m.named(node, "op"))
    assert activations(model) == {"image:0": ("op:0",), "kernel_relu:0": ("op:1",)}


@pytest.mark.parametrize(
    ("kind", "axes"),
    [
        pytest.param("LSTMSequence", {"inputs:0": (0, 1), "recurrence:0": (0, 1)}, id="LSTM"),
        pytest.param("GRUSequence", {"inputs:0": (0, 1), "recurrence:0": (0, 1)}, id="GRU"),
    ],
)
def test_recurrent_layers(kind: str, axes: dict[str, tuple[int, ...]]) -> None:
    model = m.recurrent(kind)
    assert activations(model) == {"relu:0": ("cell:0",)}
    assert weights(model) == axes
    assert points(model, target_device="GPU") == {}


def test_gru_with_linear_before_reset_stays_float() -> None:
    model = m.recurrent("GRUSequence", linear_before_reset=True)
    assert points(model) == {}
    assert "linear_before_reset" in floats(model)["cell"]


@pytest.mark.parametrize("kind", ["LSTMSequence", "GRUSequence"])
def test_recurrent_layers_of_a_free_batch_stay_float(kind: str) -> None:
    """OpenVINO compiles the quantized layer for a fixed batch only."""
    model = m.recurrent(kind)
    model.get_parameters()[0].set_partial_shape(ov.PartialShape([-1, 5, 3]))
    model.validate_nodes_and_infer_types()
    assert points(model) == {}
    assert "batch of fixed length" in floats(model)["cell"]


def test_recurrent_layers_without_a_quantized_form_are_named() -> None:
    data = m.relu(m.image("steps", (1, 3)), "relu")
    kernels = m.constant("inputs", 4, 3), m.constant("recurrence", 4, 4)
    offsets = m.constant("offsets", 4)
    cell = m.named(ops.rnn_cell(data, m.constant("state", 1, 4), *kernels, offsets, 4, ["tanh"], [], []), "cell")
    assert floats(m.build(cell)) == {"cell": "RNNCell has no quantized form on ANY"}
    on_gpu = floats(m.recurrent("LSTMSequence"), target_device="GPU")
    assert on_gpu == {"cell": "LSTMSequence has no quantized form on GPU"}


def test_a_tensor_without_elements_gets_no_quantizer() -> None:
    nothing = m.named(ops.constant(np.zeros((1, 0, 8, 8), np.float32)), "nothing")
    empty = m.named(ops.slice(m.relu_image(), *(m.integers(f"at_{n}", n) for n in (0, 0, 1, 1))), "empty")
    joined = m.concat("joined", computed("x", 1, 4, 8, 8), nothing, empty)
    quantized = {point.tensor for point in points(m.build(m.convolution(joined, "op"))).values()}
    assert quantized == {"x:0", "relu:0", "op_weights:0"}


def test_one_matrix_in_front_of_a_stack_has_one_scale() -> None:
    """OpenVINO does not compile a scale for each of its rows."""
    matrix, stack = m.constant("matrix", 6, 4), computed("x", 2, 4, 5)
    model = m.build(m.named(ops.matmul(matrix, stack, False, False), "op"))
    [point] = [each for each in points(model).values() if each.role == "weights"]
    assert point.channel_axes == ()
    assert {config.granularity for config in point.candidates} == {"pertensor"}
    alone = m.build(m.named(ops.matmul(m.constant("matrix", 6, 4), computed("y", 4, 5), False, False), "op"))
    assert weights(alone) == {"matrix:0": (0,)}


def test_shape_arithmetic_is_left_alone() -> None:
    data = computed("x", 1, 4)
    length = m.named(ops.convert(m.shape_of(data, "shape"), "f32"), "length")
    factor = m.named(ops.divide(length, m.constant("unit", 2)), "factor")
    scaled = m.named(ops.multiply(m.reshape(data, "y", 2, 2), factor), "scaled")
    model = m.build(m.softmax(scaled, "last"))
    assert activations(model) == {"x:0": ("y:0",)}
    assert floats(model) == {"factor": "computes a shape"}


def test_constant_operations_are_left_alone() -> None:
    folded = m.named(ops.add(m.constant("a", 2, 2), m.constant("b", 2, 2)), "folded")
    model = m.build(m.named(ops.softmax(ops.maximum(folded, computed("x", 2, 2)), 1), "last"))
    assert points(model) == {}
    assert floats(model) == {"folded": "constant"}


def test_one_constant_read_along_two_axes_gets_a_point_for_each() -> None:
    shared = m.constant("shared", 4, 4)
    first = m.named(ops.matmul(computed("x", 2, 4), shared, False, False), "plain")
    second = m.named(ops.matmul(computed("y", 2, 4), shared, False, True), "turned")
    third = m.named(ops.matmul(computed("z", 2, 4), shared, False, True), "again")
    found = {point.consumers: point.channel_axes for point in points(m.build(first, second, third)).values()}
    assert found[("plain:1",)] == (1,)
    assert found[("again:1", "turned:1")] == (0,)
