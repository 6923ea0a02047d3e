"""What the edited graph computes, what it leaves as it was, and that equal edits give equal files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.engine.artifact_store import Store
from tasks.graph.constants import constant_value
from tasks.graph.edits import insert_quantizers
from tasks.graph.placement import QuantizationPoint, Role, place_quantizers
from tasks.graph.reading import locate
from tasks.graph.traversal import find_output, nodes_by_name
from tasks.numerics.affine import (
    FakeQuantizeParameters,
    Granularity,
    Mode,
    QuantizerConfig,
    Range,
    activation_parameters,
    count_levels,
    fake_quantize,
    weight_parameters,
    widen_for_saturation,
)
from tests.support import models as m

Array = NDArray[Any]
SYMMETRIC = QuantizerConfig(8, Mode.SYMMETRIC, Granularity.PERCHANNEL)
ASYMMETRIC = QuantizerConfig(8, Mode.ASYMMETRIC, Granularity.PERCHANNEL)
DIGITS = "pkg://tasks.digits/digits.xml"


def run(model: ov.Model, *inputs: Array) -> list[Array]:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    return [np.array(value) for value in compiled(list(inputs)).values()]


def values(*shape: int, seed: int = 0) -> Array:
    """Between -1 and 1, asymmetric, and of another size in every channel of any axis."""
    drawn = np.random.default_rng(seed).normal(0.4, 1, shape)
    for axis, size in enumerate(shape):
        drawn *= np.linspace(0.5, 2, size).reshape([-1 if each == axis else 1 for each in range(len(shape))])
    scaled: Array = (drawn / np.abs(drawn).max()).astype(np.float32)
    return scaled


def bounds(low: float, high: float, channels: int = 1) -> Range:
    """``high`` is that of the last channel, the first one has half of it."""
    highs = np.linspace(high / 2, high, channels) if channels > 1 else np.array([high])
    return Range(np.full(channels, low, np.float32), highs.astype(np.float32))


def limits_of(weights: Array, axes: tuple[int, ...], config: QuantizerConfig) -> FakeQuantizeParameters:
    kept = axes if config.granularity == Granularity.PERCHANNEL else ()
    reduced = tuple(axis for axis in range(weights.ndim) if axis not in kept)
    low, high = weights.min(axis=reduced).reshape(-1), weights.max(axis=reduced).reshape(-1)
    if config.mode == Mode.SYMMETRIC:
        high = np.maximum(np.abs(low), np.abs(high))
        low = -high
    return weight_parameters(Range(low, high), config)


@dataclass(frozen=True)
class Layer:
    name: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    make: Callable[[ov.Node, ov.Node], ov.Node]
    port: int = 1
    data: tuple[int, ...] = (1, 4, 6, 6)

    def model(self, weights: Array, dtype: str = "f32") -> ov.Model:
        constant = m.named(ops.constant(weights, dtype=getattr(ov.Type, dtype)), "weights")
        return m.build(m.named(self.make(m.image(shape=self.data, dtype=dtype), constant), "op"))

    def point(self, tensor: str = "weights:0") -> QuantizationPoint:
        name = f"op/fq_weights_{self.port}"
        return QuantizationPoint(name, tensor, (f"op:{self.port}",), Role.WEIGHTS, (SYMMETRIC,), self.axes)


def convolve(data: ov.Node, weights: ov.Node) -> ov.Node:
    return ops.convolution(data, weights, [1, 1], [0, 0], [0, 0], [1, 1])


def convolve_grouped(data: ov.Node, weights: ov.Node) -> ov.Node:
    return ops.group_convolution(data, weights, [1, 1], [0, 0], [0, 0], [1, 1])


def deconvolve(data: ov.Node, weights: ov.Node) -> ov.Node:
    return ops.convolution_backprop_data(data, weights, [2, 2])


CONVOLUTION = Layer("Convolution", (5, 4, 3, 3), (0,), convolve)
DECONVOLUTION = Layer("ConvolutionBackpropData", (4, 5, 2, 2), (1,), deconvolve)
LAYERS = [
    CONVOLUTION,
    Layer("GroupConvolution", (2, 3, 2, 3, 3), (0, 1), convolve_grouped),
    DECONVOLUTION,
    Layer("MatMul", (6, 5), (1,), lambda data, weights: ops.matmul(data, weights, False, False), 1, (1, 6)),
    Layer("MatMul-transposed", (5, 6), (0,), lambda data, weights: ops.matmul(data, weights, False, True), 1, (1, 6)),
    Layer("MatMul-first", (5, 6), (0,), lambda data, weights: ops.matmul(weights, data, False, False), 0, (6, 2)),
    Layer(
        "MatMul-first-transposed", (6, 5), (1,), lambda data, weights: ops.matmul(weights, data, True, False), 0, (6, 2)
    ),
    Layer("MatMul-3d", (2, 6, 5), (2,), lambda data, weights: ops.matmul(data, weights, False, False), 1, (2, 3, 6)),
]
CONFIGS = [
    pytest.param(SYMMETRIC, id="symmetric"),
    pytest.param(ASYMMETRIC, id="asymmetric"),
    pytest.param(QuantizerConfig(8, Mode.SYMMETRIC, Granularity.PERTENSOR), id="symmetric-pertensor"),
    pytest.param(QuantizerConfig(8, Mode.ASYMMETRIC, Granularity.PERTENSOR), id="asymmetric-pertensor"),
    pytest.param(QuantizerConfig(4, Mode.SYMMETRIC, Granularity.PERCHANNEL), id="4-bits-symmetric"),
    pytest.param(QuantizerConfig(4, Mode.ASYMMETRIC, Granularity.PERCHANNEL), id="4-bits-asymmetric"),
    pytest.param(QuantizerConfig(8, Mode.SYMMETRIC, Granularity.PERCHANNEL, -127, 127), id="forced-levels"),
]


def quantized_weights(model: ov.Model, layer: Layer) -> Array:
    return constant_value(find_output(nodes_by_name(model), f"op/fq_weights_{layer.port}:0"))


def types(model: ov.Model) -> list[str]:
    return [str(node.get_type_name()) for node in model.get_ordered_ops()]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_int8_weights_are_those_of_a_fake_quantize(layer: Layer, config: QuantizerConfig) -> None:
    weights, data = values(*layer.shape), values(*layer.data, seed=1)
    limits = limits_of(weights, layer.axes, config)
    expected = fake_quantize(weights, limits, layer.axes if limits.input_low.size > 1 else ())
    model = layer.model(weights)
    insert_quantizers(model, (layer.point(),), {layer.point().name: limits})
    forgotten = layer == DECONVOLUTION and config.mode == Mode.ASYMMETRIC
    assert ("FakeQuantize" in types(model)) == forgotten
    np.testing.assert_allclose(quantized_weights(model, layer), expected, rtol=0, atol=1e-6)
    (output,) = run(model, data)
    (reference,) = run(layer.model(expected), data)
    np.testing.assert_allclose(output, reference, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("config", [pytest.param(SYMMETRIC, id="symmetric"), pytest.param(ASYMMETRIC, id="asymmetric")])
@pytest.mark.parametrize(
    "layer",
    [CONVOLUTION, replace(DECONVOLUTION, shape=(8, 8, 2, 2), data=(1, 8, 6, 6))],
    ids=lambda layer: layer.name,
)
def test_quantized_layers_compute_what_their_quantizers_give(layer: Layer, config: QuantizerConfig) -> None:
    """Integer kernels of OpenVINO run where data are quantized as well."""
    weights, data = values(*layer.shape), values(*layer.data, seed=1)
    limits = limits_of(weights, layer.axes, config)
    read = activation_parameters(Range(data.min(keepdims=True).ravel(), data.max(keepdims=True).ravel()), SYMMETRIC)
    model = layer.model(weights)
    point = QuantizationPoint("op/fq_input_0", "image:0", ("op:0",), Role.ACTIVATIONS, (SYMMETRIC,), ())
    insert_quantizers(model, (point, layer.point()), {point.name: read, layer.point().name: limits})
    (output,) = run(model, data)
    (expected,) = run(layer.model(fake_quantize(weights, limits, layer.axes)), fake_quantize(data, read, ()))
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", [pytest.param(SYMMETRIC, id="symmetric"), pytest.param(ASYMMETRIC, id="asymmetric")])
def test_halved_weights_use_half_of_the_codes(config: QuantizerConfig) -> None:
    weights = values(*CONVOLUTION.shape)
    limits = widen_for_saturation(limits_of(weights, (0,), config))
    model = CONVOLUTION.model(weights)
    insert_quantizers(model, (CONVOLUTION.point(),), {CONVOLUTION.point().name: limits})
    expected = fake_quantize(weights, limits, (0,))
    np.testing.assert_allclose(quantized_weights(model, CONVOLUTION), expected, rtol=0, atol=1e-6)
    codes = constant_value(find_output(nodes_by_name(model), "op/fq_weights_1/codes:0"))
    spans = codes.astype(int).reshape(5, -1)
    assert (spans.max(axis=1) - spans.min(axis=1)).max() <= 128


@pytest.mark.parametrize(
    ("config", "lowest", "highest"),
    [
        pytest.param(SYMMETRIC, -127, 127, id="8-bits"),
        pytest.param(ASYMMETRIC, -128, 127, id="8-bits-asymmetric"),
        pytest.param(QuantizerConfig(4, Mode.SYMMETRIC, Granularity.PERCHANNEL), -7, 7, id="4-bits"),
        pytest.param(QuantizerConfig(4, Mode.ASYMMETRIC, Granularity.PERCHANNEL), -8, 7, id="4-bits-asymmetric"),
    ],
)
def test_codes_fit_their_bits(config: QuantizerConfig, lowest: int, highest: int) -> None:
    weights = values(*CONVOLUTION.shape)
    model = CONVOLUTION.model(weights)
    insert_quantizers(model, (CONVOLUTION.point(),), {CONVOLUTION.point().name: limits_of(weights, (0,), config)})
    codes = constant_value(find_output(nodes_by_name(model), "op/fq_weights_1/codes:0"))
    assert codes.dtype == np.int8
    assert codes.min() >= lowest
    assert codes.max() == highest


def test_symmetric_weights_need_no_zero_point() -> None:
    weights = values(*CONVOLUTION.shape)
    for config, subtracts in ((SYMMETRIC, 0), (ASYMMETRIC, 1)):
        model = CONVOLUTION.model(weights)
        insert_quantizers(model, (CONVOLUTION.point(),), {CONVOLUTION.point().name: limits_of(weights, (0,), config)})
        assert types(model).count("Subtract") == subtracts


@pytest.mark.parametrize("config", [pytest.param(SYMMETRIC, id="symmetric"), pytest.param(ASYMMETRIC, id="asymmetric")])
def test_zero_stays_zero(config: QuantizerConfig) -> None:
    weights = values(*CONVOLUTION.shape)
    weights[:, ::2] = 0
    model = CONVOLUTION.model(weights)
    insert_quantizers(model, (CONVOLUTION.point(),), {CONVOLUTION.point().name: limits_of(weights, (0,), config)})
    assert np.all(quantized_weights(model, CONVOLUTION)[:, ::2] == 0)


@pytest.mark.parametrize("config", [pytest.param(SYMMETRIC, id="symmetric"), pytest.param(ASYMMETRIC, id="asymmetric")])
def test_weights_stored_as_f16(config: QuantizerConfig) -> None:
    stored = values(*CONVOLUTION.shape).astype(np.float16)
    unpacked = m.named(ops.convert(m.named(ops.constant(stored), "stored"), "f32"), "weights")
    model = m.build(m.named(convolve(m.image(shape=CONVOLUTION.data), unpacked), "op"))
    weights = stored.astype(np.float32)
    limits = limits_of(weights, (0,), config)
    insert_quantizers(model, (CONVOLUTION.point(),), {CONVOLUTION.point().name: limits})
    np.testing.assert_allclose(
        quantized_weights(model, CONVOLUTION), fake_quantize(weights, limits, (0,)), rtol=0, atol=1e-6
    )
    assert "stored" not in nodes_by_name(model)


@pytest.mark.parametrize("config", [pytest.param(SYMMETRIC, id="symmetric"), pytest.param(ASYMMETRIC, id="asymmetric")])
def test_models_in_half_precision_stay_so(config: QuantizerConfig) -> None:
    weights, data = values(*CONVOLUTION.shape), values(*CONVOLUTION.data, seed=1)
    limits = limits_of(weights, (0,), config)
    activations = activation_parameters(bounds(float(data.min()), float(data.max())), config)
    point = QuantizationPoint("op/fq_input_0", "image:0", ("op:0",), Role.ACTIVATIONS, (config,), ())
    model = CONVOLUTION.model(weights, "f16")
    insert_quantizers(
        model, (CONVOLUTION.point(), point), {CONVOLUTION.point().name: limits, "op/fq_input_0": activations}
    )
    assert model.output(0).get_element_type() == ov.Type.f16
    (output,) = run(model, data.astype(np.float16))
    (reference,) = run(CONVOLUTION.model(fake_quantize(weights, limits, (0,))), fake_quantize(data, activations))
    np.testing.assert_allclose(output, reference, rtol=0, atol=0.02 * np.abs(reference).max())


def test_more_levels_than_int8_has_stay_behind_a_fake_quantize() -> None:
    weights = values(*CONVOLUTION.shape)
    limits = limits_of(weights, (0,), QuantizerConfig(12, Mode.SYMMETRIC, Granularity.PERCHANNEL))
    model = CONVOLUTION.model(weights)
    insert_quantizers(model, (CONVOLUTION.point(),), {CONVOLUTION.point().name: limits})
    np.testing.assert_allclose(
        quantized_weights(model, CONVOLUTION), fake_quantize(weights, limits, (0,)), rtol=0, atol=1e-6
    )


def test_other_readers_of_weights_keep_the_float_ones() -> None:
    weights, data = values(5, 4, 1, 1), values(1, 4, 6, 6, seed=1)
    constant = m.named(ops.constant(weights), "weights")
    model = m.build(m.named(convolve(m.image(shape=data.shape), constant), "op"), m.relu(constant, "reader"))
    limits = limits_of(weights, (0,), SYMMETRIC)
    insert_quantizers(model, (CONVOLUTION.point(),), {CONVOLUTION.point().name: limits})
    _, read = run(model, data)
    np.testing.assert_array_equal(read, np.maximum(weights, 0))
    assert not np.array_equal(quantized_weights(model, CONVOLUTION), weights)


def test_one_constant_quantized_along_two_axes() -> None:
    weights = values(4, 4)
    constant = m.named(ops.constant(weights), "weights")
    data = m.image(shape=(1, 4))
    model = m.build(
        m.named(ops.matmul(data, constant, False, False), "columns"),
        m.named(ops.matmul(data, constant, False, True), "rows"),
    )
    points = tuple(
        QuantizationPoint(f"{name}/fq_weights_1", "weights:0", (f"{name}:1",), Role.WEIGHTS, (ASYMMETRIC,), (axis,))
        for name, axis in (("columns", 1), ("rows", 0))
    )
    parameters = {point.name: limits_of(weights, point.channel_axes, ASYMMETRIC) for point in points}
    insert_quantizers(model, points, parameters)
    nodes = nodes_by_name(model)
    for point in points:
        expected = fake_quantize(weights, parameters[point.name], point.channel_axes)
        np.testing.assert_allclose(constant_value(find_output(nodes, f"{point.name}:0")), expected, rtol=0, atol=1e-6)


def activation_point(consumers: tuple[str, ...], axes: tuple[int, ...] = ()) -> QuantizationPoint:
    return QuantizationPoint("conv/fq_input_0", "relu:0", consumers, Role.ACTIVATIONS, (SYMMETRIC,), axes)


@pytest.mark.parametrize(
    ("channels", "axes"), [pytest.param(1, (), id="pertensor"), pytest.param(4, (1,), id="perchannel")]
)
def test_activations_are_quantized_for_their_consumers_only(channels: int, axes: tuple[int, ...]) -> None:
    data = values(1, 4, 8, 8)
    limits = activation_parameters(bounds(-1, 3, channels), SYMMETRIC)
    relu = m.relu_image()
    float_model = m.build(m.convolution(relu, "conv"), relu)
    expected, untouched = run(float_model, data)
    model = float_model.clone()
    insert_quantizers(model, (activation_point(("conv:0",), axes),), {"conv/fq_input_0": limits})
    output, kept = run(model, data)
    np.testing.assert_array_equal(kept, untouched)
    inner = m.image("inner", (1, 4, 8, 8))
    (reference,) = run(m.build(m.convolution(inner, "conv")), fake_quantize(untouched, limits, axes))
    # The plugin may round a value in the middle of two levels the other way.
    np.testing.assert_allclose(output, reference, rtol=0, atol=0.1)
    assert np.mean(np.abs(output - reference)) < 1e-3
    assert np.abs(output - expected).max() > 1e-3


def test_an_output_keeps_its_name_behind_a_fake_quantize() -> None:
    relu = m.relu(m.image(), "relu")
    relu.output(0).get_tensor().set_names({"scores"})
    model = m.build(relu, m.softmax(relu, "other"))
    consumers = ("other:0", "result0:0")
    point = QuantizationPoint("fq", "relu:0", consumers, Role.ACTIVATIONS, (SYMMETRIC,), ())
    insert_quantizers(model, (point,), {"fq": activation_parameters(bounds(-1, 1), QuantizerConfig())})
    assert model.output("scores").get_node().input_value(0).get_node().get_friendly_name() == "fq"
    assert nodes_by_name(model)["relu"].output(0).get_names() == set()
    data = values(1, 4, 8, 8)
    outputs = run(model, data)
    np.testing.assert_allclose(
        outputs[0],
        fake_quantize(np.maximum(data, 0), activation_parameters(bounds(-1, 1), QuantizerConfig())),
        atol=1e-6,
    )


@pytest.mark.parametrize("levels", [2**16 - 1, 2**16, 2**32 - 1, 2**32])
def test_many_levels_change_little(levels: int) -> None:
    """Beyond 2^24 float32 arithmetic cannot tell levels apart: the error is that of the numbers, not of the levels."""
    low, high = (each.astype(np.float32) for each in (np.array([-1.0]), np.array([1.0])))
    model = m.build(m.relu(m.image(), "relu"))
    point = QuantizationPoint("fq", "image:0", ("relu:0",), Role.ACTIVATIONS, (SYMMETRIC,), ())
    insert_quantizers(model, (point,), {"fq": FakeQuantizeParameters(low, high, low, high, levels)})
    (node,) = (each for each in model.get_ordered_ops() if each.get_type_name() == "FakeQuantize")
    assert node.get_attributes()["levels"] == levels
    data = values(1, 4, 8, 8)
    (found,) = run(model, data)
    assert np.abs(found - np.maximum(data, 0)).max() <= max(1 / levels, 2.0**-22)


@pytest.mark.parametrize("shape", ["...", "?,?,?,?"])
def test_activations_of_unknown_rank_or_shape(shape: str) -> None:
    data = m.named(ops.parameter(ov.PartialShape(shape), ov.Type.f32), "image")
    model = m.build(m.named(ops.avg_pool(m.relu(data, "relu"), [1, 1], [0, 0], [0, 0], [2, 2], False), "conv"))
    limits = activation_parameters(bounds(0, 255), SYMMETRIC)
    insert_quantizers(model, (activation_point(("conv:0",)),), {"conv/fq_input_0": limits})
    model.reshape([1, 1, 2, 2])
    (output,) = run(model, np.full((1, 1, 2, 2), 3.3, np.float32))
    np.testing.assert_allclose(output, 3, rtol=1e-6)


def made_up_limits(model: ov.Model, points: tuple[QuantizationPoint, ...]) -> Mapping[str, FakeQuantizeParameters]:
    nodes = nodes_by_name(model)

    def limits(point: QuantizationPoint) -> FakeQuantizeParameters:
        if point.role == Role.WEIGHTS:
            return limits_of(constant_value(find_output(nodes, point.tensor)), point.channel_axes, point.candidates[0])
        return activation_parameters(bounds(-4, 4), point.candidates[0])

    return {point.name: limits(point) for point in points}


def quantize(model: ov.Model) -> ov.Model:
    setup = place_quantizers(model)
    assert setup.points
    copy = model.clone()
    insert_quantizers(copy, setup.points, made_up_limits(model, setup.points))
    return copy


def test_inputs_outputs_and_their_annotations_survive(tmp_path: Path) -> None:
    model = m.convnet()
    model.input(0).get_tensor().set_names({"pixels", "x"})
    model.output(0).get_tensor().set_names({"scores"})
    model.get_parameters()[0].set_layout(ov.Layout("NCHW"))
    model.get_results()[0].set_layout(ov.Layout("NC"))
    model.set_rt_info("cats,dogs", ["model_info", "labels"])
    ov.save_model(quantize(model), tmp_path / "model.xml", compress_to_fp16=False)
    read = ov.Core().read_model(tmp_path / "model.xml")
    assert [node.get_friendly_name() for node in read.get_parameters()] == ["image"]
    assert [node.get_friendly_name() for node in read.get_results()] == ["result0"]
    assert read.input(0).get_names() == {"pixels", "x"}
    assert read.output(0).get_names() == {"scores"}
    assert read.get_parameters()[0].get_layout() == ov.Layout("NCHW")
    assert read.get_results()[0].get_layout() == ov.Layout("NC")
    assert read.get_rt_info(["model_info", "labels"]).astype(str) == "cats,dogs"
    assert read.output(0).get_partial_shape() == model.output(0).get_partial_shape()


@pytest.mark.parametrize(
    "make",
    [m.convnet, m.attention, lambda: m.recurrent("LSTMSequence"), lambda: m.two_sums(shared=True)],
    ids=["convnet", "attention", "recurrent", "sums"],
)
def test_names_are_unique_and_edits_repeat_to_the_byte(make: Callable[[], ov.Model], store: Store) -> None:
    first, second = quantize(make()), quantize(make())
    names = [node.get_friendly_name() for node in first.get_ordered_ops()]
    assert len(names) == len(set(names))
    assert store.put_model(first, "a") == store.put_model(second, "b")
    assert store.put_model(first, "a") != store.put_model(make(), "a")


def test_the_files_shrink_and_plain_openvino_runs_them(store: Store) -> None:
    path = locate(DIGITS)
    model = ov.Core().read_model(path)
    folder = store.model_folder(store.put_model(quantize(model), "digits"))
    assert (folder / "model.bin").stat().st_size <= 0.27 * path.with_suffix(".bin").stat().st_size
    compiled = ov.Core().compile_model(folder / "model.xml", "CPU")
    shape = [1 if size.is_dynamic else size.get_length() for size in compiled.input(0).get_partial_shape()]
    (scores,) = compiled(np.ones(shape, np.float32)).values()
    assert scores.shape == (1, 10)
    assert np.all(np.isfinite(scores))


def test_levels_of_every_fake_quantize() -> None:
    model = quantize(m.convnet())
    quantizers = [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    levels = {node.get_attributes()["levels"] for node in quantizers}
    assert levels == {count_levels(SYMMETRIC, weights=False)}
