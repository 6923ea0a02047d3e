"""What is measured and counted; never how quick it is."""

import math

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.algorithms.inference import Sample
from tasks.algorithms.speed import describe_machine, measure_speed
from tasks.errors import InputError
from tasks.graph.edits import insert_quantizers
from tasks.graph.placement import QuantizationPoint, Role
from tasks.numerics.affine import (
    Granularity,
    Mode,
    QuantizerConfig,
    Range,
    activation_parameters,
    weight_parameters,
)
from tests.support import models as m

SHORT = 0.01
SAMPLE: Sample = {"image": np.ones((16, 8, 8), np.float32)}
CAPABILITIES = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
CONFIG = QuantizerConfig(8, Mode.SYMMETRIC, Granularity.PERCHANNEL)


def convolution(batch: int = 1) -> ov.Model:
    data = m.named(ops.parameter(ov.PartialShape([batch, 16, 8, 8]), ov.Type.f32), "image")
    weights = m.constant("weights", 16, 16, 3, 3)
    return m.build(m.named(ops.convolution(data, weights, [1, 1], [1, 1], [1, 1], [1, 1]), "conv"))


def quantized() -> ov.Model:
    model = convolution()
    points = (
        QuantizationPoint("conv/fq_input_0", "image:0", ("conv:0",), Role.ACTIVATIONS, (CONFIG,), ()),
        QuantizationPoint("conv/fq_weights_1", "weights:0", ("conv:1",), Role.WEIGHTS, (CONFIG,), (0,)),
    )
    four = np.full(16, 4, np.float32)
    parameters = {
        "conv/fq_input_0": activation_parameters(Range(-four[:1], four[:1]), CONFIG),
        "conv/fq_weights_1": weight_parameters(Range(-four, four), CONFIG),
    }
    insert_quantizers(model, points, parameters)
    return model


def test_one_speed_a_model_in_their_order() -> None:
    plain, chain = convolution(), m.build(m.named(ops.tanh(m.named(ops.erf(m.image(shape=(1, 16, 8, 8))), "e")), "t"))
    speeds = measure_speed([plain, chain], SAMPLE, SHORT)
    assert len(speeds) == 2
    assert all(math.isfinite(each.latency_ms) and each.latency_ms > 0 for each in speeds)
    assert all(math.isfinite(each.throughput_fps) and each.throughput_fps > 0 for each in speeds)


def test_a_float_model_has_no_int8_kernels() -> None:
    (speed,) = measure_speed([convolution()], SAMPLE, SHORT)
    assert (speed.kernels, speed.int8_kernels) == (1, 0)


@pytest.mark.skipif("INT8" not in CAPABILITIES, reason="the CPU has no 8-bit kernels")
def test_a_quantized_convolution_runs_in_int8() -> None:
    (speed,) = measure_speed([quantized()], SAMPLE, SHORT)
    assert 0 < speed.int8_kernels <= speed.kernels


@pytest.mark.parametrize("batch", [-1, 4], ids=["free", "fixed"])
def test_models_of_any_batch_take_one_sample(batch: int) -> None:
    model = convolution(batch)
    (speed,) = measure_speed([model], SAMPLE, SHORT)
    assert speed.kernels >= 1
    assert model.input(0).get_partial_shape()[0] == ov.Dimension(batch)


def test_a_sample_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(InputError, match="'image'"):
        measure_speed([convolution()], {"picture": SAMPLE["image"]}, SHORT)


def test_the_machine_has_a_name_and_processors() -> None:
    name, _, processors = describe_machine().rpartition(", ")
    assert name
    count, _, unit = processors.partition(" ")
    assert int(count) > 0
    assert unit == "processors"
