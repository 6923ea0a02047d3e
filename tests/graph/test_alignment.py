"""Which layers are pairs, what an alignment changes and that the model's function is not among it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino as ov
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.engine.artifact_store import Store
from tasks.graph.alignment import AlignmentPair, align_pair, find_pairs
from tasks.graph.constants import constant_value
from tasks.graph.naming import output_names
from tasks.graph.traversal import find_output, nodes_by_name
from tests.support import models as m
from tests.support.placed import activations

Array = NDArray[Any]
Layer = Callable[[ov.Node], ov.Node]
PAIR = AlignmentPair("a", "a_bias", "a_bias:0", "b", "b_bias")
TYPES = {"f32": np.float32, "f16": np.float16, "f64": np.float64}


def run(model: ov.Model, data: Array, *tensors: str) -> list[Array]:
    """The outputs of the model, or some of its tensors."""
    if tensors:
        copy = model.clone()
        nodes = nodes_by_name(copy)
        model = ov.Model([find_output(nodes, tensor) for tensor in tensors], copy.get_parameters(), "tapped")
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    return [np.array(value) for value in compiled([data]).values()]


def pixels(*shape: int) -> Array:
    return np.random.default_rng(list(shape)).normal(size=shape or (1, 4, 8, 8)).astype(np.float32)


def shifts(channels: int, seed: int = 0) -> tuple[Array, Array]:
    """A centre and factors for a tensor of so many channels."""
    drawn = np.random.default_rng([channels, seed])
    return drawn.normal(scale=2, size=channels), np.exp(drawn.uniform(-2, 2, channels))


def channels_of(model: ov.Model, pair: AlignmentPair) -> int:
    return int(find_output(nodes_by_name(model), pair.tensor).get_partial_shape()[1].get_length())


def align_all(model: ov.Model, seed: int = 0) -> ov.Model:
    aligned = model.clone()
    for pair in find_pairs(model):
        align_pair(aligned, pair, *shifts(channels_of(model, pair), seed))
    return aligned


def assert_same(output: Array, expected: Array, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(output, expected, rtol=0, atol=tolerance * float(np.abs(expected).max()))


def convolve(name: str, channels: int = 4, kernel: int = 1, *, rank: int = 4, **options: Any) -> Layer:
    """A convolution with whatever differs from no stride, no dilation, no padding."""

    def layer(data: ov.Node) -> ov.Node:
        weights = m.constant(f"{name}_weights", channels, data.get_output_shape(0)[1], *[kernel] * (rank - 2))
        geometry = {"strides": [1], "pads_begin": [0], "pads_end": [0], "dilations": [1]} | options
        spread = {key: value * (rank - 2) if isinstance(value, list) else value for key, value in geometry.items()}
        return m.named(ops.convolution(data, weights, **spread), name)

    return layer


def add_bias(name: str, *shape: int, port: int = 1) -> Layer:
    def layer(data: ov.Node) -> ov.Node:
        operands = [data, data]
        operands[port] = m.constant(f"{name}_value", *shape)
        return m.named(ops.add(*operands), name)

    return layer


def biased(name: str, **options: Any) -> Layer:
    return lambda data: m.bias(convolve(name, **options)(data), f"{name}_bias")


A, B = biased("a"), biased("b")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        pytest.param((A, B), PAIR, id="biased"),
        pytest.param((convolve("a"), convolve("b")), AlignmentPair("a", None, "a:0", "b", None), id="without-biases"),
        pytest.param((convolve("a"), add_bias("a_bias", 4, 1, 1, port=0), B), PAIR, id="bias-first"),
        pytest.param((convolve("a"), add_bias("a_bias"), B), PAIR, id="one-number-as-bias"),
        pytest.param((biased("a", kernel=3, pads_begin=[1], strides=[2]), B), PAIR, id="any-producer-geometry"),
        pytest.param((A, biased("b", kernel=3)), PAIR, id="large-kernel"),
        pytest.param((A, biased("b", auto_pad="same_upper")), PAIR, id="automatic-padding-of-kernel-1"),
        pytest.param((A, biased("b", kernel=3, auto_pad="valid")), PAIR, id="automatic-padding-of-none"),
        pytest.param((lambda x: m.bias(m.grouped_convolution(x, "a", 2, 6), "a_bias"), B), PAIR, id="grouped-producer"),
    ],
)
def test_pairs(layers: tuple[Layer, ...], expected: AlignmentPair) -> None:
    assert find_pairs(m.between_relus(*layers)) == (expected,)


def test_rows_of_a_product_are_channels() -> None:
    model = m.between_relus(
        lambda x: m.row_matmul(x, "a"), add_bias("a_bias", 1, 4, 1), convolve("b", rank=3), shape=(1, 5, 7)
    )
    assert find_pairs(model) == (AlignmentPair("a", "a_bias", "a_bias:0", "b", None),)


def grouped(data: ov.Node) -> ov.Node:
    return m.grouped_convolution(data, "b", 2)


def computed_weights(data: ov.Node) -> ov.Node:
    kernel = m.reshape(m.mean(data, "means"), "kernel", 4, 1, 1, 1)
    return m.named(ops.convolution(data, ops.broadcast(kernel, [4, 4, 1, 1]), [1, 1], [0, 0], [0, 0], [1, 1]), "b")


def deconvolve(name: str) -> Layer:
    return lambda x: m.named(ops.convolution_backprop_data(x, m.constant(f"{name}_weights", 4, 4, 1, 1), [1, 1]), name)


def sum_of_two(data: ov.Node) -> ov.Node:
    return m.add(m.convolution(data, "a"), m.convolution(data, "c"), "a_bias")


def doubled(data: ov.Node) -> ov.Node:
    layer = m.convolution(data, "a")
    return m.add(layer, layer, "a_bias")


def paddle_bias(data: ov.Node) -> ov.Node:
    values = m.constant("a_bias_value", 1, 4)
    return m.named(ops.add(m.convolution(data, "a"), values, auto_broadcast="pdpd"), "a_bias")


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param((A, lambda x: m.relu(x, "between"), B), id="activation"),
        pytest.param((A, lambda x: m.max_pool(x, "between"), B), id="pooling"),
        pytest.param((A, lambda x: m.scale(x, "between"), B), id="scale"),
        pytest.param((A, add_bias("more", 1, 4, 1, 1), B), id="two-biases"),
        pytest.param((A, biased("b", strides=[2])), id="stride"),
        pytest.param((A, biased("b", kernel=2, dilations=[2])), id="dilation"),
        pytest.param((A, biased("b", pads_begin=[1])), id="padding-before"),
        pytest.param((A, biased("b", pads_end=[1])), id="padding-behind"),
        pytest.param((A, biased("b", kernel=3, auto_pad="same_upper")), id="automatic-padding"),
        pytest.param((A, grouped), id="grouped-consumer"),
        pytest.param((A, deconvolve("b")), id="deconvolution-as-consumer"),
        pytest.param((A, lambda x: m.matmul(x, "b", 4)), id="matmul-as-consumer"),
        pytest.param((computed_weights,), id="computed-weights"),
        pytest.param((deconvolve("a"), B), id="deconvolution-as-producer"),
        pytest.param((lambda x: m.matmul(x, "a", 4), B), id="columns-of-a-product"),
        pytest.param((lambda x: m.row_matmul(x, "a", 4), B), id="rows-of-many-products"),
        pytest.param((sum_of_two, B), id="sum-of-two-layers"),
        pytest.param((doubled, B), id="sum-with-itself"),
        pytest.param((paddle_bias, B), id="bias-broadcast-in-another-way"),
        pytest.param((convolve("a", 1), add_bias("a_bias", 1, 4, 1, 1), B), id="bias-that-makes-channels"),
    ],
)
def test_no_pair(layers: tuple[Layer, ...]) -> None:
    assert find_pairs(m.between_relus(*layers)) == ()


@pytest.mark.parametrize("auto_pad", ["same_upper", "same_lower"])
def test_automatic_padding_of_an_unknown_shape_is_padding(auto_pad: str) -> None:
    model = m.between_relus(A, biased("b", kernel=3, auto_pad=auto_pad))
    model.reshape([1, 4, -1, -1])
    assert set(nodes_by_name(model)["b"].get_attributes()["pads_begin"]) == {0}
    assert find_pairs(model) == ()


@pytest.mark.parametrize("read", ["a", "a_bias"])
@pytest.mark.parametrize("reader", [lambda x: x, lambda x: m.relu(x, "other")], ids=["result", "operation"])
@pytest.mark.parametrize("order", [1, -1], ids=["behind", "before"])
def test_another_reader_excludes_a_pair(read: str, reader: Layer, order: int) -> None:
    layer = m.convolution(m.relu_image(), "a")
    tensors = {"a": layer, "a_bias": m.bias(layer, "a_bias")}
    outputs = [B(tensors["a_bias"]), reader(tensors[read])]
    assert find_pairs(m.build(*outputs[::order])) == ()


def test_one_row_for_many_products_makes_no_channels() -> None:
    def product(data: ov.Node) -> ov.Node:
        return m.named(ops.matmul(m.constant("row", 8), data, False, False), "a")

    assert find_pairs(m.between_relus(product, convolve("b", rank=3))) == ()


def test_constant_layers_are_no_producers() -> None:
    made = m.bias(m.convolution(m.constant("data", 1, 4, 8, 8), "a"), "a_bias")
    assert find_pairs(m.build(m.add(B(made), m.image(), "sum"))) == ()


def test_pairs_are_sorted_by_consumer() -> None:
    pairs = find_pairs(m.linear_layers("d", "c", "b", "a"))
    assert [(pair.producer, pair.consumer) for pair in pairs] == [("b", "a"), ("c", "b"), ("d", "c")]


def test_the_tensor_moves_and_the_output_stays() -> None:
    model, data = m.linear_layers("a", "b", kernel=3), pixels()
    (tensor, output), (centre, factors) = run(model, data, "a_bias:0", "b_bias:0"), shifts(4)
    aligned = model.clone()
    align_pair(aligned, PAIR, centre, factors)
    moved, kept = run(aligned, data, "a_bias:0", "b_bias:0")
    assert_same(moved, (tensor - centre.reshape(1, 4, 1, 1)) / factors.reshape(1, 4, 1, 1))
    assert_same(kept, output)


PRODUCERS = [
    pytest.param(A, id="convolution"),
    pytest.param(convolve("a", 6, 3), id="without-bias"),
    pytest.param(lambda x: m.grouped_convolution(x, "a", 4), id="depthwise"),
    pytest.param(lambda x: m.bias(m.grouped_convolution(x, "a", 2, 6), "a_bias"), id="grouped"),
    pytest.param(lambda x: add_bias("a_bias")(convolve("a", 5)(x)), id="scalar-bias"),
    pytest.param(lambda x: add_bias("a_bias", 4, 1, 1, port=0)(convolve("a")(x)), id="bias-of-rank-3"),
    pytest.param(lambda x: add_bias("a_bias", 1, 1, 8, 8)(convolve("a")(x)), id="bias-by-place"),
    pytest.param(lambda x: add_bias("a_bias", 8)(convolve("a")(x)), id="bias-by-column"),
]
CONSUMERS = [
    pytest.param(biased("b", kernel=3), id="biased"),
    pytest.param(convolve("b", 3), id="without-bias"),
    pytest.param(lambda x: add_bias("b_bias")(convolve("b", 5)(x)), id="scalar-bias"),
]


@pytest.mark.parametrize("producer", PRODUCERS)
@pytest.mark.parametrize("consumer", CONSUMERS)
def test_the_function_is_preserved(producer: Layer, consumer: Layer) -> None:
    model, data = m.between_relus(producer, consumer), pixels()
    assert len(find_pairs(model)) == 1
    aligned = align_all(model)
    assert_same(run(aligned, data)[0], run(model, data)[0])
    assert not np.allclose(run(aligned, data, "a:0")[0], run(model, data, "a:0")[0], rtol=0.01)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_the_function_of_a_product_is_preserved(transposed: bool, with_bias: bool) -> None:
    layers: list[Layer] = [lambda x: m.row_matmul(x, "a", 6, transposed=transposed)]
    layers += [add_bias("a_bias", 6, 1)] if with_bias else []
    model, data = m.between_relus(*layers, convolve("b", 3, 2, rank=3), shape=(2, 5, 7)), pixels(2, 5, 7)
    aligned = align_all(model)
    assert len(find_pairs(model)) == 1
    assert_same(run(aligned, data)[0], run(model, data)[0])
    assert not np.allclose(run(aligned, data, "a:0")[0], run(model, data, "a:0")[0], rtol=0.01)


def test_three_spatial_axes_and_a_free_batch() -> None:
    model = m.between_relus(convolve("a", 3, 2, rank=5), convolve("b", 2, 2, rank=5), shape=(1, 2, 4, 4, 4))
    model.reshape([-1, 2, -1, 4, 4])
    assert_same(run(align_all(model), pixels(3, 2, 5, 4, 4))[0], run(model, pixels(3, 2, 5, 4, 4))[0])


def typed_pair(element_type: str) -> ov.Model:
    """The pair of PAIR in another element type throughout."""

    def constant(name: str, *shape: int) -> ov.Node:
        return m.named(ops.constant(m.constant(name, *shape).get_data(), dtype=getattr(ov.Type, element_type)), name)

    data = m.image(dtype=element_type)
    for name in "ab":
        layer = ops.convolution(data, constant(f"{name}_weights", 4, 4, 1, 1), [1, 1], [0, 0], [0, 0], [1, 1])
        data = m.named(ops.add(m.named(layer, name), constant(f"{name}_value", 1, 4, 1, 1)), f"{name}_bias")
    return m.build(data)


@pytest.mark.parametrize(
    ("element_type", "tolerance"),
    [pytest.param("f16", 3e-3, id="f16"), pytest.param("bf16", 3e-2, id="bf16"), pytest.param("f64", 1e-5, id="f64")],
)
def test_the_element_type_is_kept(element_type: str, tolerance: float) -> None:
    model = typed_pair(element_type)
    aligned = align_all(model)
    assert {output.get_element_type().get_type_name() for node in aligned.get_ops() for output in node.outputs()} == {
        element_type
    }
    data = np.ones((1, 4, 8, 8), np.float32)
    tensor = ov.Tensor(data.astype(TYPES[element_type])) if element_type in TYPES else as_bf16(data)
    output, expected = (compile_plainly(each)(tensor)[0] for each in (aligned, model))
    assert_same(output, expected, tolerance)


def as_bf16(data: Array) -> ov.Tensor:
    return ov.Tensor((data.view(np.uint32) >> 16).astype(np.uint16).view(np.float16), data.shape, ov.Type.bf16)


def compile_plainly(model: ov.Model) -> ov.CompiledModel:
    # Outputs of a type that numpy lacks come as f32.
    prepared = ov.preprocess.PrePostProcessor(model.clone())
    prepared.output().tensor().set_element_type(ov.Type.f32)
    return ov.Core().compile_model(prepared.build(), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.mark.parametrize("stored", ["f16", "bf16"])
def test_compressed_constants_become_f32(stored: str) -> None:
    data = m.relu_image()
    for name in "ab":
        weights = m.compressed(f"{name}_weights", 4, 4, 1, 1, stored=stored)
        layer = m.named(ops.convolution(data, weights, [1, 1], [0, 0], [0, 0], [1, 1]), name)
        data = m.add(layer, m.compressed(f"{name}_value", 1, 4, 1, 1, stored=stored), f"{name}_bias")
    model = m.build(data)
    aligned = align_all(model)
    assert [node.get_type_name() for node in aligned.get_ops()].count("Convert") == 0
    assert_same(run(aligned, pixels())[0], run(model, pixels())[0])


def test_shared_constants_stay_for_their_other_readers() -> None:
    weights, values = m.constant("weights", 4, 4, 1, 1), m.constant("values", 1, 4, 1, 1)
    data = picture = m.relu_image()
    for name in "ab":
        layer = m.named(ops.convolution(data, weights, [1, 1], [0, 0], [0, 0], [1, 1]), name)
        data = m.add(layer, values, f"{name}_bias")
    other = m.named(ops.convolution(picture, weights, [1, 1], [0, 0], [0, 0], [1, 1]), "other")
    model = m.build(data, m.add(other, values, "other_sum"))
    for output, expected in zip(run(align_all(model), pixels()), run(model, pixels()), strict=True):
        assert_same(output, expected)


@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (4, 1, 1), (1, 4, 8, 8)])
def test_biases_keep_their_shape(shape: tuple[int, ...]) -> None:
    model = m.between_relus(convolve("a"), add_bias("a_bias", *shape), convolve("b"), add_bias("b_bias", *shape))
    nodes = nodes_by_name(align_all(model))
    assert [constant_value(nodes[name].input_value(1)).shape for name in ("a_bias", "b_bias")] == [shape, shape]


def test_the_values_are_those_of_the_formulas() -> None:
    model = m.linear_layers("a", "b", kernel=3)
    (centre, factors), before = shifts(4), nodes_by_name(model)
    old = {name: constant_value(before[name].input_value(1)) for name in ("a", "a_bias", "b", "b_bias")}
    align_pair(model, PAIR, centre, factors)
    after = nodes_by_name(model)
    new = {name: constant_value(after[name].input_value(1)) for name in old}
    np.testing.assert_allclose(new["a"], old["a"] / factors.reshape(4, 1, 1, 1), rtol=1e-6)
    np.testing.assert_allclose(new["a_bias"].ravel(), (old["a_bias"].ravel() - centre) / factors, rtol=1e-6)
    np.testing.assert_allclose(new["b"], old["b"] * factors.reshape(1, 4, 1, 1), rtol=1e-6)
    offset = np.einsum("oikl,i->o", old["b"].astype(np.float64), centre)
    np.testing.assert_allclose(new["b_bias"].ravel(), old["b_bias"].ravel() + offset, rtol=1e-5)


def test_the_order_of_chained_edits_does_not_matter() -> None:
    model = m.between_relus(*(convolve(name) for name in "abcd"))
    backwards_edited = model.clone()
    for pair in reversed(find_pairs(model)):
        align_pair(backwards_edited, pair, *shifts(channels_of(model, pair)))
    tensors = [pair.tensor for pair in find_pairs(align_all(model))]
    assert len(tensors) == 3
    for one, other in zip(
        run(align_all(model), pixels(), *tensors), run(backwards_edited, pixels(), *tensors), strict=True
    ):
        assert_same(one, other)


def test_an_inserted_bias_takes_over_all_readers_and_the_name_of_the_output(store: Store) -> None:
    last = convolve("b")(A(m.relu_image()))
    model = m.build(last, m.relu(last, "other"))
    model.output(0).get_tensor().set_names({"scores"})
    aligned = align_all(model)
    nodes = nodes_by_name(aligned)
    assert [reader.get_node().get_friendly_name() for reader in nodes["b"].output(0).get_target_inputs()] == [
        "b/aligned_bias"
    ]
    read = store.open_model(store.put_model(aligned, "a"))
    assert output_names(read) == output_names(model)
    for output, expected in zip(run(read, pixels()), run(model, pixels()), strict=True):
        assert_same(output, expected)


def test_a_layer_between_two_pairs_gets_one_bias() -> None:
    aligned = align_all(m.between_relus(*(convolve(name) for name in "abc")))
    inserted = [name for name in nodes_by_name(aligned) if name.endswith("aligned_bias")]
    assert inserted == ["a/aligned_bias", "b/aligned_bias", "c/aligned_bias"]


def test_names_are_unique_and_edits_repeat_to_the_byte(store: Store) -> None:
    def make() -> ov.Model:
        return align_all(m.between_relus(A, convolve("b"), convolve("c")))

    names = [node.get_friendly_name() for node in make().get_ordered_ops()]
    assert len(names) == len(set(names))
    assert store.put_model(make(), "a") == store.put_model(make(), "b")


def test_an_aligned_model_can_be_aligned_again() -> None:
    model = m.between_relus(convolve("a"), convolve("b"))
    twice = align_all(align_all(model), seed=1)
    names = [node.get_friendly_name() for node in twice.get_ordered_ops()]
    assert len(names) == len(set(names))
    assert_same(run(twice, pixels())[0], run(model, pixels())[0])


def test_an_inserted_bias_is_not_quantized() -> None:
    model = m.between_relus(convolve("a"), convolve("b"), convolve("c"))
    placed = activations(align_all(model))
    assert placed == {"relu:0": ("a:0",), "a/aligned_bias:0": ("b:0",), "b/aligned_bias:0": ("c:0",)}


@st.composite
def chains(draw: st.DrawFn) -> ov.Model:
    """Up to five layers, each with or without a bias, some of them with an activation behind."""

    def layer(name: str) -> Layer:
        channels, kernel = draw(st.integers(1, 3)) * 2, draw(st.sampled_from([1, 1, 3]))
        form = draw(st.sampled_from(["plain", "plain", "padded", "grouped"]))
        with_bias, active = draw(st.booleans()), draw(st.integers(0, 3)) == 0

        def build(data: ov.Node) -> ov.Node:
            if form == "grouped":
                data = m.grouped_convolution(data, name, 2, channels)
            else:
                data = convolve(name, channels, kernel, pads_begin=[1 if form == "padded" else 0])(data)
            data = m.bias(data, f"{name}_bias") if with_bias else data
            return m.relu(data, f"{name}_relu") if active else data

        return build

    return m.between_relus(*(layer(f"layer{index}") for index in range(draw(st.integers(2, 5)))), shape=(1, 4, 16, 16))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(model=chains(), seed=st.integers(0, 1000))
def test_the_function_of_any_chain_is_preserved(model: ov.Model, seed: int) -> None:
    between = [pair.tensor for pair in find_pairs(model)]
    event(f"{len(between)} pairs")
    data = pixels(1, 4, 16, 16)
    expected, *tensors = run(model, data, "end:0", *between)
    # Rounding is relative to what the layers add up, of which an activation may leave little.
    magnitude = max(float(np.abs(tensor).max()) for tensor in (expected, *tensors))
    np.testing.assert_allclose(run(align_all(model, seed), data)[0], expected, rtol=0, atol=1e-5 * magnitude)
