"""Corrected models answer, in the mean of every channel, what the float model answers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.bias_correction import Correction, correct_biases
from tasks.algorithms.inference import Sample, compile_for_samples
from tasks.algorithms.sequential_correction import MOST_GROUPS, correct_sequentially
from tasks.graph.constants import read_constant, write_constant
from tasks.graph.layers import find_layers
from tasks.graph.operations import read_operations
from tasks.graph.text import model_text
from tasks.graph.traversal import nodes_by_name
from tasks.numerics.statistics import Statistics
from tests.support import models as m
from tests.support.layer_kinds import KINDS, Kind
from tests.support.observe import observe

Array = NDArray[Any]


def statistics_of(model: ov.Model, data: list[Sample]) -> Statistics:
    """The means of what every layer reads."""
    return observe(model, (), data, means={layer.mean for layer in find_layers(read_operations(model))})


def rounded(model: ov.Model, step: float = 0.25) -> ov.Model:
    """The model with the weights of its layers on a coarse grid, by constants that other readers do not share."""
    copy = model.clone()
    nodes = nodes_by_name(copy)
    for layer in find_layers(read_operations(model)):
        node, port = nodes[layer.name], layer.weights.port
        write_constant(node, port, np.floor(read_constant(node, port) / step) * step, "rounded")
    copy.validate_nodes_and_infer_types()
    return copy


def answers(model: ov.Model, data: list[Sample]) -> Array:
    compiled = compile_for_samples(model)
    return np.stack([compiled(dict(sample))[0] for sample in data])


def error_of_means(model: ov.Model, other: ov.Model, data: list[Sample]) -> float:
    """The largest difference of the mean of a channel of the last layer, in units of the largest mean."""
    axis = find_layers(read_operations(model))[-1].output_axis
    first, second = (np.moveaxis(answers(each, data), axis, 0) for each in (model, other))
    means = [each.reshape(each.shape[0], -1).mean(axis=1, dtype=np.float64) for each in (first, second)]
    return float(np.abs(means[0] - means[1]).max() / np.abs(means[0]).max())


def bias_shapes(kind: Kind) -> dict[str, tuple[int, ...] | None]:
    [layer] = find_layers(read_operations(kind.model()))
    output = layer.operation.node.get_output_shape(0)
    channels, rank = output[layer.output_axis], len(output)
    shortest = (channels, *[1] * (-layer.output_axis - 1))
    full = tuple(channels if place == layer.output_axis else 1 for place in range(-rank, 0))
    ranks = {f"rank {length}": full[-length:] for length in range(len(shortest) + 1, rank)}
    return {"none": None, "shortest": shortest, **ranks, "full": full, "one number": (1,)}


CASES = [(name, shape) for name, kind in KINDS.items() for shape in bias_shapes(kind)]


@pytest.mark.parametrize(("name", "bias"), CASES, ids=[f"{name}, bias {shape}" for name, shape in CASES])
def test_means_come_back_exactly_where_channels_are_constant(name: str, bias: str) -> None:
    kind = KINDS[name]
    model = kind.model(bias_shapes(kind)[bias])
    data: list[Sample] = [{"data": kind.constant_channels(seed)} for seed in range(3)]
    before, quantized = model_text(model), rounded(model)
    [layer] = find_layers(read_operations(model))
    assert error_of_means(model, quantized, data) > 1e-3
    [correction] = correct_biases(model, quantized, statistics_of(model, data))
    assert correction.corrected == correction.channels == kind.model().output(0).shape[layer.output_axis]
    assert error_of_means(model, quantized, data) < 2e-6
    assert quantized.output(0).partial_shape == model.output(0).partial_shape
    assert model_text(model) == before


@pytest.mark.parametrize("name", ["convolution", "pointwise", "depthwise", "product"])
def test_a_bias_of_zeros_is_corrected(name: str) -> None:
    kind = KINDS[name]
    shape = bias_shapes(kind)["full"]
    assert shape is not None
    model = kind.model(shape, zero=True)
    data: list[Sample] = [{"data": kind.constant_channels()}]
    quantized = rounded(model)
    [correction] = correct_biases(model, quantized, statistics_of(model, data), threshold=0.5)
    assert correction.corrected == correction.channels
    assert error_of_means(model, quantized, data) < 2e-6


def clipped(
    model: ov.Model, high: float | Array, through: Callable[[ov.Node], ov.Node] = lambda node: node
) -> ov.Model:
    """The model with values between 0 and ``high`` in front of its layer, on so many levels that they hardly round."""
    copy = model.clone()
    node, [layer] = nodes_by_name(copy), find_layers(read_operations(model))
    data = node[layer.name].input_value(layer.data.port)
    quantizer = ops.fake_quantize(data, *(np.asarray(each, np.float32) for each in (0, high, 0, high)), 2**24)
    node[layer.name].input(layer.data.port).replace_source_output(through(quantizer).output(0))
    copy.validate_nodes_and_infer_types()
    return copy


def single(kind: Kind) -> Kind:
    """The kind with one value a channel, as behind a global pooling."""
    return replace(kind, shape=tuple(size if axis == kind.axis else 1 for axis, size in enumerate(kind.shape)))


def pooled(kind: Kind, count: int = 9) -> list[Sample]:
    draw = np.random.default_rng(2)
    return [{"data": draw.gamma(2.0, 0.5, kind.shape).astype(np.float32)} for _ in range(count)]


# Of these no kernel is larger than one value and its padding.
SINGLE = [
    "pointwise",
    "pointwise padded",
    "depthwise",
    "depthwise multiplier",
    "grouped",
    "convolution 3d",
    "transposed",
    "transposed grouped",
    *(name for name in KINDS if name.startswith(("product", "weights first"))),
]


@pytest.mark.parametrize("name", SINGLE)
def test_what_limits_cut_off_comes_back_where_a_sample_has_one_value_a_channel(name: str) -> None:
    kind = single(KINDS[name])
    model, data = kind.model(), pooled(kind)
    quantized = clipped(rounded(model), 1.4)
    before = error_of_means(model, quantized, data)
    correct_biases(model, quantized, statistics_of(model, data))
    assert error_of_means(model, quantized, data) < 5e-6 < before / 1000


def test_limits_by_channel_are_those_of_the_channels() -> None:
    kind = single(KINDS["pointwise"])
    model, data = kind.model(), pooled(kind)
    quantized = clipped(rounded(model), np.array([0.5, 1, 1.5, 9]).reshape(1, 4, 1, 1))
    correct_biases(model, quantized, statistics_of(model, data))
    assert error_of_means(model, quantized, data) < 5e-6


def test_limits_are_found_behind_operations_that_hand_values_on() -> None:
    kind = single(KINDS["pointwise"])
    model, data = kind.model(), pooled(kind)
    quantized = clipped(rounded(model), 1.4, lambda node: ops.max_pool(node, [1, 1], [1, 1], [0, 0], [0, 0], [1, 1]))
    correct_biases(model, quantized, statistics_of(model, data))
    assert error_of_means(model, quantized, data) < 5e-6


@pytest.mark.parametrize("alike", [True, False])
def test_what_limits_cut_off_comes_back_only_if_samples_lose_it_alike(alike: bool) -> None:
    kind = replace(KINDS["pointwise"], shape=(1, 40, 1, 1), weights=(6, 40, 1, 1))
    model = kind.model()
    places = [7 if alike else place for place in range(40)]
    data: list[Sample] = [{"data": np.eye(40, dtype=np.float32)[place].reshape(1, 40, 1, 1) * 3} for place in places]
    without, within = rounded(model), clipped(rounded(model), 1.4)
    for each in (without, within):
        correct_biases(model, each, statistics_of(model, data))
    assert (error_of_means(model, within, data) < 5e-6) == alike
    small: list[Sample] = [{"data": np.ones((1, 40, 1, 1), np.float32)}]
    moved = np.abs(answers(within, small) - answers(without, small)).max()
    assert (moved > 0.1) == alike


FLAT = replace(
    KINDS["product"], build=lambda x, w: ops.matmul(ops.reshape(x, np.array([5, 4]), False), w, False, False)
)


@pytest.mark.parametrize("name", ["convolution", "product", "product transposed data", "rows of one sample"])
def test_samples_that_limits_leave_alone_are_not_moved_by_others(name: str) -> None:
    kind = FLAT if name == "rows of one sample" else KINDS[name]
    model, data = kind.model(), pooled(kind)
    without, within = rounded(model), clipped(rounded(model), 1.4)
    for each in (without, within):
        correct_biases(model, each, statistics_of(model, data))
    small: list[Sample] = [{"data": np.minimum(data[0]["data"], 1.4)}]
    np.testing.assert_allclose(answers(within, small), answers(without, small), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["padded at one side", "depthwise", "transposed padded"])
def test_random_images_are_better_for_it(name: str) -> None:
    kind = KINDS[name]
    model, draw = kind.model(), np.random.default_rng(0)
    data: list[Sample] = [{"data": draw.gamma(1.0, 1.0, kind.shape).astype(np.float32)} for _ in range(40)]
    quantized = rounded(model)
    before = error_of_means(model, quantized, data)
    correct_biases(model, quantized, statistics_of(model, data))
    assert error_of_means(model, quantized, data) < before / 4


def images(count: int) -> list[Sample]:
    draw = np.random.default_rng(1)
    return [{"image": draw.normal(0.5, 1, (1, 4, 8, 8)).astype(np.float32)} for _ in range(count)]


def test_samples_left_out_do_not_count() -> None:
    data = images(12)
    model = m.convnet()
    quantized = rounded(model)
    statistics = statistics_of(model, data)
    fewer, again = quantized.clone(), quantized.clone()
    correct_biases(model, fewer, statistics, left_out=(0, 5, 11))
    kept = [sample for place, sample in enumerate(data) if place not in {0, 5, 11}]
    correct_biases(model, again, statistics_of(model, kept))
    assert model_text(fewer) == model_text(again)
    correct_biases(model, quantized, statistics)
    assert model_text(fewer) != model_text(quantized)


def test_threshold_decides_by_channel() -> None:
    kind = KINDS["pointwise"]
    model = kind.model((1, 6, 1, 1))
    data: list[Sample] = [{"data": kind.constant_channels()}]
    statistics, bias = statistics_of(model, data), np.abs(read_constant(nodes_by_name(model)["bias"], 1).reshape(-1))
    free, held = rounded(model), rounded(model)
    correct_biases(model, free, statistics)
    shifts = np.abs(read_constant(nodes_by_name(free)["bias"], 1) - read_constant(nodes_by_name(model)["bias"], 1))
    shares = np.sort(shifts.reshape(-1) / bias)
    threshold = float((shares[2] + shares[3]) / 2)
    [correction] = correct_biases(model, held, statistics, threshold=threshold)
    assert (correction.channels, correction.corrected) == (6, 3)
    assert correction.reason == "threshold: 3 of 6 channels would change too much"
    moved = read_constant(nodes_by_name(held)["bias"], 1) != read_constant(nodes_by_name(model)["bias"], 1)
    assert (moved.reshape(-1) == (shifts.reshape(-1) / bias < threshold)).all()


def test_what_was_not_observed_is_named() -> None:
    model = m.convnet()
    quantized = rounded(model)
    statistics = dict(statistics_of(model, images(2)))
    [stem, *_] = find_layers(read_operations(model))
    del statistics[stem.mean.tensor]
    first, *others = correct_biases(model, quantized, statistics)
    assert first == Correction("stem", 0, 0, "the mean of 'image:0' is not known")
    assert all(each.corrected == each.channels for each in others)


def test_layers_whose_weights_are_as_they_were_are_left_alone() -> None:
    model = m.convnet()
    copy = model.clone()
    assert correct_biases(model, copy, statistics_of(model, images(2))) == ()
    assert model_text(copy) == model_text(model)


@pytest.mark.parametrize("correct", ["closed form", "sequential"])
def test_results_are_the_same_to_the_byte(correct: str) -> None:
    data, texts = images(8), []
    for threads in (1, 3):
        model = m.convnet()
        quantized = rounded(model)
        if correct == "closed form":
            correct_biases(model, quantized, statistics_of(model, data))
        else:
            correct_sequentially(model, quantized, data, threads=threads)
        texts.append(model_text(quantized))
    assert texts[0] == texts[1]


def deep(layers: int) -> ov.Model:
    data = m.image()
    for number in range(layers):
        data = m.named(ops.tanh(m.convolution(data, f"layer{number}", 4, 1)), f"tanh{number}")
    return m.build(m.convolution(data, "last", 4, 1))


@pytest.mark.parametrize("make", [m.convnet, lambda: deep(3)])
def test_sequential_brings_the_means_of_few_layers_back_exactly(make: Callable[[], ov.Model]) -> None:
    model, data = make(), images(24)
    quantized = rounded(model)
    assert error_of_means(model, quantized, data) > 1e-2
    corrections = correct_sequentially(model, quantized, data)
    assert [each.layer for each in corrections] == [each.name for each in find_layers(read_operations(model))]
    assert error_of_means(model, quantized, data) < 5e-6


def test_sequential_is_better_than_the_closed_form_with_many_layers_in_a_group() -> None:
    model, data = deep(2 * MOST_GROUPS + 3), images(24)
    closed, quantized = rounded(model), rounded(model)
    correct_biases(model, closed, statistics_of(model, data))
    correct_sequentially(model, quantized, data)
    assert error_of_means(model, quantized, data) < error_of_means(model, closed, data) / 2


def test_sequential_infers_once_for_the_float_model_and_once_a_group() -> None:
    model, inferred = deep(2 * MOST_GROUPS), []
    correct_sequentially(model, rounded(model), images(3), advance=lambda: inferred.append(1))
    assert len(inferred) == 3 * (1 + MOST_GROUPS)


def test_sequential_corrects_layers_of_float_weights_if_asked_for() -> None:
    model = m.convnet()
    copy = model.clone()
    assert correct_sequentially(model, copy, images(2)) == ()
    assert len(correct_sequentially(model, copy, images(2), every_layer=True)) == 4
