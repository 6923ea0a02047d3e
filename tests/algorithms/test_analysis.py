"""The error of layers and its parts, beside numpy in float64 on tensors tapped one model at a time."""

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.analysis import LayerError, analyze, channel_errors
from tasks.algorithms.inference import compile_for_samples, one_sample_at_a_time
from tasks.graph.biases import change_bias, insert_bias
from tasks.graph.layers import find_layers
from tasks.graph.operations import read_operations
from tasks.graph.presets import Preset, TensorOptions
from tasks.graph.traversal import find_output, nodes_by_name
from tasks.numerics.affine import Granularity
from tests.support import models as m
from tests.support.layer_kinds import KINDS, Kind
from tests.support.quantize import quantize as fully_quantized


def fake_quantize(data: ov.Output, name: str, low: float, high: float, levels: int = 256) -> ov.Output:
    limits = [ops.constant(np.float32(value)) for value in (low, high, low, high)]
    return m.named(ops.fake_quantize(data, *limits, levels), name).output(0)


def quantize(model: ov.Model, *layers: str, weights: bool = True, activations: bool = True) -> ov.Model:
    """A copy with coarse quantizers in front of layers."""
    copy = model.clone()
    nodes = nodes_by_name(copy)
    for layer in layers:
        for port in range(2):
            source = nodes[layer].input_value(port)
            constant = source.get_node().get_type_name() == "Constant"
            if weights if constant else activations:
                quantized = fake_quantize(source, f"{layer}/fq_{port}", *((-2, 2, 15) if constant else (-1.5, 2, 60)))
                nodes[layer].input(port).replace_source_output(quantized)
    copy.validate_nodes_and_infer_types()
    return copy


def tapped(model: ov.Model, tensor: str, samples: list[dict[str, NDArray[np.float32]]]) -> NDArray[np.float64]:
    copy = one_sample_at_a_time(model)
    source = find_output(nodes_by_name(copy), tensor)
    compiled = compile_for_samples(ov.Model([source], copy.get_parameters(), "tap"), 1)
    return np.array([compiled(sample)[0] for sample in samples], np.float64)


def data(shape: tuple[int, ...], count: int = 3) -> list[dict[str, NDArray[np.float32]]]:
    rng = np.random.default_rng(1)
    return [{"data": rng.normal(0.3, 0.8, shape).astype(np.float32)} for _ in range(count)]


def only(found: tuple[LayerError, ...], layer: str) -> LayerError:
    [error] = [each for each in found if each.layer == layer]
    return error


def centred(values: NDArray[np.float64], axis: int) -> tuple[float, float]:
    """Energy without, and energy of the mean of each channel, over samples and positions."""
    others = tuple(place for place in range(values.ndim) if place != axis % values.ndim)
    means = values.mean(axis=others, keepdims=True)
    return float(np.square(values - means).sum()), float(np.square(np.broadcast_to(means, values.shape)).sum())


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_error_of_every_kind_of_layer(kind: Kind) -> None:
    model = kind.model()
    quantized = quantize(model, "layer")
    samples = data(kind.shape)
    reference = tapped(model, "layer:0", samples)
    whole = tapped(quantized, "layer:0", samples) - reference
    by_weights = tapped(quantize(model, "layer", activations=False), "layer:0", samples) - reference
    [layer] = find_layers(read_operations(model))
    axis = layer.output_axis

    [error] = analyze(model, quantized, samples, threads=1).layers
    assert error.signal == pytest.approx(np.square(reference).sum(), rel=1e-4)
    assert error.noise == pytest.approx(np.square(whole).sum(), rel=1e-3)
    assert error.weights == pytest.approx(centred(by_weights, axis)[0], rel=1e-3)
    assert error.activations == pytest.approx(centred(whole - by_weights, axis)[0], rel=1e-3)
    assert error.inherited == pytest.approx(0, abs=1e-5 * error.noise)
    assert error.mean_shift == pytest.approx(centred(whole, axis)[1], rel=1e-3)
    assert error.sqnr_db == pytest.approx(10 * np.log10(error.signal / error.noise))


@pytest.fixture
def chain() -> ov.Model:
    x = m.relu(m.biased_convolution(m.image("data"), "first", kernel=3), "relu")
    return m.build(m.biased_convolution(m.max_pool(x, "pool"), "second", kernel=3))


def test_errors_are_inherited(chain: ov.Model) -> None:
    quantized = quantize(chain, "first")
    samples = data((1, 4, 8, 8))
    found = analyze(chain, quantized, samples, threads=1).layers
    second = only(found, "second")
    assert [each.layer for each in found] == ["first", "second"]
    assert second.weights == second.activations == 0
    error = tapped(quantized, "second_bias:0", samples) - tapped(chain, "second_bias:0", samples)
    assert second.inherited == pytest.approx(centred(error, 2)[0], rel=1e-3)
    assert second.noise == pytest.approx(second.inherited + second.mean_shift, rel=1e-3)


def test_quantizer_in_front_of_a_pooling_belongs_to_the_layer_behind(chain: ov.Model) -> None:
    quantized = chain.clone()
    nodes = nodes_by_name(quantized)
    nodes["pool"].input(0).replace_source_output(fake_quantize(nodes["relu"].output(0), "fq", 0, 2, 16))
    samples = data((1, 4, 8, 8))
    second = only(analyze(chain, quantized, samples, threads=1).layers, "second")
    error = tapped(quantized, "second:0", samples) - tapped(chain, "second:0", samples)
    assert second.activations == pytest.approx(centred(error, 2)[0], rel=1e-3)
    assert second.activations > 0
    assert second.inherited == pytest.approx(0, abs=1e-5 * second.noise)


@pytest.mark.parametrize("bias", [True, False])
def test_a_changed_bias_changes_the_shift_of_means_alone(*, bias: bool) -> None:
    kind = KINDS["convolution"]
    model = kind.model((1, 6, 1, 1) if bias else None)
    before, samples = quantize(model, "layer"), data(kind.shape)
    after = before.clone()
    nodes = nodes_by_name(after)
    add = nodes["bias"] if bias else insert_bias(nodes["layer"], -3, "layer/bias_correction")
    change_bias(add, -3, np.full(6, 0.5), suffix="corrected")
    after.validate_nodes_and_infer_types()
    first, second = (analyze(model, each, samples, threads=1).layers[0] for each in (before, after))
    for part in ("signal", "weights", "activations"):
        assert getattr(second, part) == pytest.approx(getattr(first, part), rel=1e-3)
    assert second.inherited == pytest.approx(0, abs=1e-4 * second.noise)
    assert second.mean_shift > first.mean_shift
    assert second.noise - first.noise == pytest.approx(second.mean_shift - first.mean_shift, rel=1e-2)


def test_what_is_computed_otherwise_than_from_weights_and_inputs() -> None:
    kind = KINDS["convolution"]
    model = kind.model((1, 6, 1, 1))
    right, samples = quantize(model, "layer"), data(kind.shape)
    wrong = right.clone()
    nodes = nodes_by_name(wrong)
    product = m.named(ops.multiply(nodes["layer"], np.float32(1.1)), "kernel")
    nodes["bias"].input(0).replace_source_output(product.output(0))
    [before], [after] = (analyze(model, each, samples, threads=1).layers for each in (right, wrong))
    error = tapped(wrong, "bias:0", samples) - tapped(right, "bias:0", samples)
    assert before.execution < 1e-10 * before.signal
    assert after.execution == pytest.approx(centred(error, -3)[0], rel=1e-3)
    assert after.inherited == pytest.approx(0, abs=1e-5 * after.noise)


def test_layers_without_a_bias_are_seen_as_deployed() -> None:
    """Without its snippets OpenVINO computes zeros behind INT8 convolutions that have no bias and several readers."""
    model = m.build(m.convolution(m.convolution(m.image("data"), "first", 4), "second", 4))
    samples = data((1, 4, 8, 8), 20)
    quantized = fully_quantized(model, samples, bits=8)
    assert all(each.sqnr_db > 20 for each in analyze(model, quantized, samples).layers)


def test_attention_with_a_scale_for_each_token() -> None:
    """One graph of both models computes its layers wrongly, the quantized model alone does not."""
    x = m.image("x", (1, 5, 8))
    q, k, v = (m.bias(m.matmul(x, name, 8), f"{name}_bias") for name in "qkv")
    scores = m.softmax(m.named(ops.matmul(q, k, False, True), "scores"), "softmax")
    mixed = m.named(ops.reduce_mean(ops.matmul(scores, v, False, False), m.integers("axis", 1), True), "mean")
    model = m.build(m.bias(m.matmul(mixed, "o", 6), "o_bias"))
    samples = [{"x": each} for each in np.random.default_rng(0).normal(size=(24, 1, 5, 8)).astype(np.float32)]
    per_token = TensorOptions(granularity=Granularity.PERCHANNEL)
    quantized = fully_quantized(model, samples, 8, preset=Preset.PERFORMANCE, activations=per_token)
    found = analyze(model, quantized, samples)
    assert {each.layer for each in found.layers} | {reason[0] for reason in found.skipped} == {*"qkvo"}
    assert all(each.execution < 1e-8 * each.signal for each in found.layers)


def test_equal_models_have_no_error(chain: ov.Model) -> None:
    for each in analyze(chain, chain, data((1, 4, 8, 8)), threads=1).layers:
        assert each.noise == each.mean_shift == 0
        assert each.sqnr_db == np.inf
    assert channel_errors(chain, chain) == {}


def test_models_stay_as_they_are(chain: ov.Model) -> None:
    quantized = quantize(chain, "first")
    names = [nodes_by_name(model).keys() for model in (chain, quantized)]
    analyze(chain, quantized, data((1, 4, 8, 8)), threads=1)
    assert [nodes_by_name(model).keys() for model in (chain, quantized)] == names


def test_what_openvino_cannot_run_side_by_side_is_named() -> None:
    picture = m.image("picture", (1, 4, 9, 9))
    padded = ops.convolution(picture, m.constant("weights", 6, 4, 1, 1), [2, 2], [1, 1], [1, 1], [1, 1])
    model = m.build(m.named(padded, "layer"))
    found = analyze(model, quantize(model, "layer"), data((1, 4, 9, 9)), threads=1)
    assert found.layers == ()
    assert found.skipped[0].startswith("all layers: OpenVINO cannot run the model on a CPU: ")


def test_sequences_of_any_length() -> None:
    x = m.named(ops.parameter([1, -1, 4], ov.Type.f32), "data")
    model = m.build(m.named(ops.matmul(x, m.constant("weights", 4, 3), False, False), "layer"))
    quantized = quantize(model, "layer")
    rng = np.random.default_rng(0)
    samples = [{"data": rng.normal(size=(length, 4)).astype(np.float32)} for length in (2, 7)]
    [error] = analyze(model, quantized, samples, threads=1).layers
    outputs = [
        np.concatenate([compile_for_samples(each, 1)({"data": sample["data"][None]})[0][0] for sample in samples])
        for each in (model, quantized)
    ]
    whole = outputs[1].astype(np.float64) - outputs[0]
    assert error.noise == pytest.approx(np.square(whole).sum(), rel=1e-3)
    assert error.mean_shift == pytest.approx(len(whole) * np.square(whole.mean(axis=0)).sum(), rel=1e-3)


def test_layers_without_finite_values_are_named(chain: ov.Model) -> None:
    samples = data((1, 4, 8, 8))
    samples[0]["data"][0, 0, 0, 0] = np.inf
    found = analyze(chain, quantize(chain, "first"), samples, threads=1)
    assert "first: it computes values that are not finite" in found.skipped
    assert "first" not in [each.layer for each in found.layers]


def test_errors_of_channels() -> None:
    model = KINDS["depthwise multiplier"].model()
    quantized = quantize(model, "layer")
    weights, coarse = (nodes_by_name(each)["layer"].input_value(1).get_node() for each in (model, quantized))
    values = weights.get_data().astype(np.float64)
    codes = np.clip(np.rint((values + 2) / 4 * 14), 0, 14) / 14 * 4 - 2
    assert coarse.get_type_name() == "FakeQuantize"
    expected = np.square(codes - values).sum(axis=(2, 3, 4)) / np.square(values).sum(axis=(2, 3, 4))
    np.testing.assert_allclose(channel_errors(model, quantized)["layer"], expected.reshape(-1), rtol=1e-4)
