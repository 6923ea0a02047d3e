"""Which INT8 models are broken, and which are merely poor or odd: models that OpenVINO really computes so."""

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.algorithms.faulty import Verdict, find_faults, wrong_kernels
from tasks.algorithms.inference import Sample
from tasks.algorithms.verification import Agreement, doubtful_outputs, verify
from tasks.graph.judging import Judged, judged_tensors
from tests.support import models as m

SHAPE = (1, 4, 7, 8)


def samples(shape: tuple[int, ...] = SHAPE, count: int = 4, mean: float = 0.3) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [{"data": rng.normal(mean, 1, shape).astype(np.float32)} for _ in range(count)]


def fake_quantize(data: ov.Node, low: float, high: float, levels: int = 256) -> ov.Node:
    limits = [ops.constant(np.float32(value)) for value in (low, high, low, high)]
    return ops.fake_quantize(data, *limits, levels)


def codes(values: np.ndarray, *, asymmetric: bool = False) -> ov.Node:
    """Weights as int8 codes; with ``asymmetric`` ones each channel of axis 1 has its scale and zero point."""
    others = tuple(axis for axis in range(values.ndim) if axis != 1) if asymmetric else None
    low, high = values.min(axis=others, keepdims=True), values.max(axis=others, keepdims=True)
    scale = (high - low) / 254 if asymmetric else np.abs(values).max() / 127
    zero_point = np.rint(-127 - low / scale) if asymmetric else np.zeros(1)
    converted = ops.convert(ops.constant((np.rint(values / scale) + zero_point).astype(np.int8)), "f32")
    if asymmetric:
        converted = ops.subtract(converted, ops.constant(zero_point.astype(np.float32)))
    return ops.multiply(converted, ops.constant(np.asarray(scale, np.float32)))


def transposed(quantized: bool, *, asymmetric: bool = True) -> ov.Model:
    """Two layers; of the second one OpenVINO forgets the zero points, if it has any."""
    image = m.relu(m.convolution(m.image("data", SHAPE), "first", 4), "relu")
    weights = m.constant("weights", 4, 6, 3, 3).get_data()
    read = (
        (fake_quantize(image, 0, 4), codes(weights + 0.5, asymmetric=asymmetric))
        if quantized
        else (image, ops.constant(weights + 0.5))
    )
    layer = m.named(ops.convolution_backprop_data(*read, [1, 1]), "layer")
    return m.build(m.relu(layer, "out"))


def quantized_product(x: ov.Node, name: str, features: int = 6, levels: int = 256) -> Callable[[bool], ov.Node]:
    """A layer, float or quantized."""
    weights = m.constant(f"{name}_weights", features, x.get_output_shape(0)[-1]).get_data()

    def make(quantized: bool) -> ov.Node:
        read = fake_quantize(x, -4, 4 * (levels // 2 - 1) / (levels // 2), levels) if quantized else x
        constant = codes(weights) if quantized else ops.constant(weights)
        return m.named(ops.matmul(read, constant, False, True), name)

    return make


def both(make: Callable[[bool], ov.Model]) -> tuple[ov.Model, ov.Model]:
    return make(False), make(True)


def verdict(models: tuple[ov.Model, ov.Model], data: list[Sample]) -> Verdict:
    return find_faults(*models, verify(*models, data, threads=1), data, 1)


def test_a_kernel_that_forgets_something_is_named() -> None:
    broken = verdict(both(transposed), samples())
    assert (broken.operations, broken.executed) == (("layer",), True)
    assert len(broken.faults) == 1
    assert broken.faults[0].startswith("output 'result0', judged by 'out:0', has an SQNR of ")
    assert "where the model's own graph has " in broken.faults[0]


def test_kernels_that_are_right_are_not_named() -> None:
    models = transposed(False), transposed(True, asymmetric=False)
    assert verdict(models, samples()) == Verdict()
    assert wrong_kernels(models[1], samples(), 1) == ()


def head(make: Callable[[ov.Node], list[ov.Node]], levels: int = 256) -> Callable[[bool], ov.Model]:
    """A layer and what is made of its output."""

    def model(quantized: bool) -> ov.Model:
        layer = quantized_product(m.image("data", (3, 8)), "layer", 6, levels)(quantized)
        return m.build(*make(layer))

    return model


def masked(x: ov.Node) -> list[ov.Node]:
    mask = ops.constant(np.array([0, 0, -np.inf, 0, 0, -np.inf], np.float32))
    return [m.named(ops.add(x, mask), "masked")]


def undefined_in_both(x: ov.Node) -> list[ov.Node]:
    return [m.named(ops.sqrt(ops.subtract(x, np.float32(0.5))), "root")]


def far_below_zero(x: ov.Node) -> list[ov.Node]:
    """Probabilities next to zero."""
    return [m.named(ops.sigmoid(ops.multiply(ops.subtract(x, np.float32(30)), np.float32(3))), "probabilities")]


def zeros(x: ov.Node) -> list[ov.Node]:
    return [m.relu(ops.subtract(x, np.float32(1000)), "zeros")]


def constant_output(x: ov.Node) -> list[ov.Node]:
    return [m.named(ops.add(ops.multiply(x, np.float32(1e-5)), np.float32(1)), "ones")]


def next_to_nothing(x: ov.Node) -> list[ov.Node]:
    return [m.named(ops.multiply(ops.floor_mod(x, np.float32(0.01)), np.float32(1e-6)), "rests")]


def embedding(x: ov.Node) -> list[ov.Node]:
    return [m.named(ops.normalize_l2(x, m.integers("axes", 1), 1e-6, "add"), "embedding")]


def ties(x: ov.Node) -> list[ov.Node]:
    """Rows in the order of scores that are all but equal: any noise orders them otherwise."""
    mean = ops.reduce_mean(x, m.integers("axis", 1), True)
    scores = ops.add(ops.multiply(mean, np.float32(1e-6)), np.float32(1))
    order = ops.topk(ops.reshape(scores, m.integers("all", -1), False), np.array(3), 0, "max", "value", "i64")
    return [m.named(ops.gather(x, order.output(1), np.array(0)), "sorted"), order.output(0), order.output(1)]


@pytest.mark.parametrize(
    "make",
    [masked, undefined_in_both, far_below_zero, zeros, constant_output, next_to_nothing, embedding, ties],
    ids=lambda make: make.__name__,
)
def test_what_is_odd_is_not_broken(make: Callable[[ov.Node], list[ov.Node]]) -> None:
    found = verdict(both(head(make)), samples((3, 8)))
    assert found.faults == ()


def test_merely_poor_models_are_not_broken() -> None:
    models = both(head(lambda x: [x], levels=6))
    [found] = verify(*models, samples((3, 8)), threads=1)
    assert 0 < found.sqnr_db < 10
    assert not found.doubtful


def test_what_the_float_model_does_not_compute_is_said() -> None:
    found = verdict(both(head(masked)), samples((3, 8)))
    assert found.notes == (
        "output 'result0': the float model itself computes 24 of 72 numbers that are not finite; only the others were"
        " compared",
    )


def unbounded(quantized: bool) -> ov.Model:
    """The quantized model divides by what was rounded to zero."""
    x = m.image("data", (3, 8))
    bottom = m.relu(ops.add(ops.abs(x), np.float32(0.01)), "bottom")
    read = m.named(fake_quantize(bottom, 0, 60, 4), "fq") if quantized else bottom
    return m.build(m.named(ops.divide(ops.constant(np.ones((1, 8), np.float32)), read), "quotient"))


def test_values_that_are_not_finite_are_broken_and_so_is_the_operation_that_makes_them() -> None:
    broken = verdict(both(unbounded), samples((3, 8)))
    assert broken.operations == ("quotient",)
    assert not broken.executed
    assert "is not finite in 96 of 96 numbers" in broken.faults[0]


def test_more_noise_than_signal_begins_somewhere() -> None:
    """Coarse steps far above what is computed: all is rounded to one of them."""

    def model(quantized: bool) -> ov.Model:
        layer = quantized_product(m.image("data", (3, 8)), "layer")(quantized)
        read = fake_quantize(layer, -15, 45, 4) if quantized else layer
        first = m.named(ops.add(read, m.named(ops.constant(np.float32(0.25)), "quarter")), "first")
        return m.build(m.named(ops.negative(first), "second"), layer)

    models, data = both(model), samples((3, 8))
    broken = verdict(models, data)
    assert (broken.operations, broken.executed) == (("first",), False)
    assert len(broken.faults) == 1
    assert broken.faults[0].startswith("output 'result0', judged by 'second:0', has an SQNR of -")


def test_outputs_behind_a_selection_are_judged_by_what_it_reads_and_picks_from() -> None:
    def model(quantized: bool) -> ov.Model:
        return head(ties)(quantized)

    for each in both(model):
        found = judged_tensors(each)
        assert {one.output for one in found} == {"result0", "result1", "result2"}
        assert Judged("result0", "layer:0") in found


def test_probabilities_are_judged_by_what_a_softmax_reads() -> None:
    def model(quantized: bool) -> ov.Model:
        return head(lambda x: [m.softmax(x, "softmax"), m.named(ops.sigmoid(x), "sigmoid")])(quantized)

    expected = (Judged("result0", "layer:0", 1), Judged("result1", "layer:0"))
    assert judged_tensors(model(False)) == judged_tensors(model(True)) == expected


def test_doubts_of_outputs() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=(20, 5)).astype(np.float32)
    near = wanted + 0.1 * rng.normal(size=wanted.shape).astype(np.float32)
    undefined = near.copy()
    undefined[17, 2] = np.nan

    def doubtful(found: np.ndarray, graph: np.ndarray, exact: np.ndarray = wanted) -> bool:
        return bool(doubtful_outputs({"y": exact}, {"y": found}, {"y": graph[:4]}))

    assert not doubtful(near, near)
    assert not doubtful(near, near + 0.03 * rng.normal(size=wanted.shape).astype(np.float32))
    assert doubtful(wanted + 5, wanted + 5)
    assert doubtful(undefined, near)
    assert doubtful(near, wanted)
    assert not doubtful(undefined, near, np.where(np.isnan(undefined), -np.inf, wanted))
    assert not doubtful_outputs({"y": wanted.astype(np.int64)}, {"y": near}, {})
    assert not doubtful_outputs({"y": wanted}, {}, {})
    assert doubtful_outputs({"y": wanted}, {"y": undefined[:18]}, {}) == ("y",)


def test_what_counts_as_nothing() -> None:
    assert Agreement("y", "y", 10, signal=1e-12, lost=1).nothing
    assert not Agreement("y", "y", 10, signal=1e-12, lost=1).below_noise
    assert Agreement("y", "y", 10, signal=1, lost=2).below_noise
    assert Agreement("y", "y", 10, signal=1, deviation=2e-4, costs=1e-4).deviates
    assert not Agreement("y", "y", 10, signal=1, deviation=2e-4, costs=1e-4).deviates_beyond_rounding
    assert not Agreement("y", "y", 10, signal=1, deviation=9e-5).deviates
