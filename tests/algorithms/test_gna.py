"""Placed, calibrated, inserted and run: models quantized for GNA on the CPU."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray

from tasks.algorithms.evaluation import collect_outputs
from tasks.algorithms.inference import Sample, compile_for_samples
from tasks.algorithms.layerwise_tuning import plan_tuning, tune_layers
from tasks.algorithms.ranges import estimate_parameters, from_arrays, to_arrays
from tasks.graph.edits import insert_quantizers
from tasks.graph.placement import observed_tensors, place_quantizers
from tasks.graph.presets import Preset, Scheme, TensorOptions
from tasks.graph.reading import locate
from tasks.graph.scope import IgnoredScope
from tasks.numerics.aggregators import Aggregator
from tasks.numerics.estimators import Border, RangeEstimator
from tasks.numerics.metrics import sqnr
from tests.support import models as m
from tests.support.observe import observe

WIDEST = TensorOptions(range_estimator=RangeEstimator(max=Border(aggregator=Aggregator.MAX)))
BYTES = Scheme(activations=WIDEST)
WIDE = Scheme(Preset.ACCURACY, activations=WIDEST)


def samples(count: int = 4) -> list[Sample]:
    drawn = np.random.default_rng(1)
    return [{"image": drawn.normal(size=(1, 4, 8, 8)).astype(np.float32)} for _ in range(count)]


def quantized(model: ov.Model, device: str, scheme: Scheme) -> ov.Model:
    setup = place_quantizers(model, target_device=device)
    tensors = observed_tensors(model, setup, target_device=device)
    statistics = observe(model, tensors, samples())
    parameters = estimate_parameters(model, setup, statistics, scheme, frozenset())
    result = model.clone()
    insert_quantizers(result, setup.points, from_arrays(to_arrays(parameters)))
    return result


def levels(model: ov.Model) -> Counter[int]:
    return Counter(
        node.get_attributes()["levels"] for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"
    )


def output(model: ov.Model) -> NDArray[Any]:
    (values,) = collect_outputs(model, samples(), lambda: None)[0].values()
    return values


ROWS = [
    # 16-bit weights of the convolutions stay behind FakeQuantize, 8-bit ones become int8 constants.
    pytest.param("GNA", BYTES, {2**16: 7, 2**32: 3, 2**16 - 1: 3}, 40, id="GNA"),
    pytest.param("GNA", WIDE, {2**16: 7, 2**32: 3, 2**16 - 1: 4}, 70, id="GNA-accuracy"),
    pytest.param("GNA3", BYTES, {2**16: 7, 2**32: 3}, 40, id="GNA3"),
    pytest.param("GNA3", WIDE, {2**16: 7, 2**32: 3, 2**16 - 1: 4}, 70, id="GNA3-accuracy"),
    pytest.param("GNA3.5", BYTES, {2**16: 7, 2**32: 3}, 40, id="GNA3.5"),
    pytest.param("GNA3.5", WIDE, {2**16: 7, 2**32: 3, 2**16 - 1: 4}, 70, id="GNA3.5-accuracy"),
]
DEVICES = pytest.mark.parametrize(("device", "scheme", "expected", "decibels"), ROWS)


@DEVICES
def test_levels(device: str, scheme: Scheme, expected: dict[int, int], decibels: float, tmp_path: Path) -> None:
    ov.save_model(quantized(m.convnet(), device, scheme), tmp_path / "model.xml", compress_to_fp16=False)
    read = ov.Core().read_model(tmp_path / "model.xml")
    assert levels(read) == expected
    ov.Core().compile_model(read, "CPU")


@DEVICES
def test_output(device: str, scheme: Scheme, expected: dict[int, int], decibels: float) -> None:
    model = m.convnet()
    assert sqnr(output(model), output(quantized(model, device, scheme))) > decibels


@pytest.mark.parametrize("scheme", [BYTES, WIDE])
def test_the_embedded_model(scheme: Scheme) -> None:
    model = ov.Core().read_model(locate("pkg://tasks.digits/digits.xml"))
    (port,) = model.inputs
    values = np.random.default_rng(0).random((2, *port.get_partial_shape().get_min_shape()[1:]), np.float32)
    data = [{port.get_any_name(): value[None]} for value in values]
    setup = place_quantizers(model, target_device="GNA")
    statistics = observe(model, observed_tensors(model, setup, target_device="GNA"), data)
    result = model.clone()
    insert_quantizers(result, setup.points, estimate_parameters(model, setup, statistics, scheme, frozenset()))
    expected, found = (collect_outputs(each, data, lambda: None)[0] for each in (model, result))
    assert expected.keys() == found.keys()
    assert all(sqnr(expected[name], found[name]) > 30 for name in expected)


# OpenVINO 2026.4.1, CPU: with two streams this differs in 3 of 600 compilations, by a factor of 1 / scale, with three
# such layers in 13 to 17 of 600; never with one stream, with kernels of 3 x 3, or with float weights.
#
#     x = ops.parameter([1, 4, 8, 8], ov.Type.f32)
#     w = ops.multiply(ops.convert(int8_codes_of_shape_4_4_1_1, "f32"), scales_of_shape_4_1_1_1)
#     model = ov.Model([ops.relu(ops.convolution(x, w, [1, 1], [0, 0], [0, 0], [1, 1]))], [x])
#     settings = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 2, "INFERENCE_NUM_THREADS": 2}
#     core.compile_model(model, "CPU", settings).create_infer_request().infer({0: data})
@pytest.mark.parametrize(
    ("device", "levels_of", "streams"),
    [pytest.param("GNA3", 2**16, 1, id="16-bit activations"), pytest.param("ANY", 256, 2, id="8-bit activations")],
)
def test_weights_are_unpacked_by_one_stream(device: str, levels_of: int, streams: int) -> None:
    model = quantized(m.convnet(), device, BYTES)
    assert levels_of in levels(model)
    assert compile_for_samples(model, threads=2).get_property("NUM_STREAMS") == streams


def test_outputs_are_the_same_in_every_compilation() -> None:
    model = quantized(m.convnet(), "GNA3", BYTES)
    first = output(model)
    for _ in range(20):
        np.testing.assert_allclose(output(model), first, rtol=1e-5)


def test_layers_that_read_inputs_of_16_bits_are_tuned() -> None:
    model = m.build(m.matmul(m.image(), "dense", 6))
    result = quantized(model, "GNA", BYTES)
    assert 2**16 in levels(result)
    plan = plan_tuning(model, result, IgnoredScope(), None)
    assert plan.groups == (("dense",),)
    (tuned,) = tune_layers(model, result, ("dense",), samples(16))
    assert 0 < tuned.after < tuned.before
