import numpy as np
import openvino as ov
from openvino import opset13 as ops

from tasks.graph.text import model_text
from tests.support import models as m


def limit(name: str, *values: float) -> ov.Node:
    return m.named(ops.constant(np.array(values, np.float32).reshape(1, -1, 1, 1)), name)


def test_one_line_an_operation() -> None:
    data = m.named(ops.split(m.image(), m.number("axis", 1), 2), "split")
    model = m.build(m.named(ops.add(data.output(0), data.output(1)), "sum"))
    assert model_text(model).splitlines() == [
        "image = Parameter() f32[1,4,8,8]",
        "axis = Constant i64[] 1",
        "split = Split(image, axis) f32[1,2,8,8], f32[1,2,8,8]",
        "sum = Add(split, split:1) f32[1,2,8,8]",
        "result0 = Result(sum) f32[1,2,8,8]",
    ]


def test_a_fake_quantize_shows_levels_and_limits() -> None:
    low, high = limit("low", 0), limit("high", 2.5)
    model = m.build(m.named(ops.fake_quantize(m.image(), low, high, low, high, 256), "fq"))
    assert "fq = FakeQuantize(image) f32[1,4,8,8] levels=256 in=0..2.5\n" in model_text(model)
    assert "low" not in model_text(model)


def test_other_output_limits_and_channels_are_shown() -> None:
    limits = [limit("a", -1), limit("b", 1), limit("c", *[-2] * 5), limit("d", *range(5))]
    model = m.build(m.named(ops.fake_quantize(m.image(shape=(1, 5, 2, 2)), *limits, 255), "fq"))
    assert "levels=255 in=-1..1 out={-2 to -2, 5 values}..{0 to 4, 5 values}" in model_text(model)


def test_few_channels_are_listed() -> None:
    limits = [limit("a", -1, -2), limit("b", 1, 2)] * 2
    model = m.build(m.named(ops.fake_quantize(m.image(shape=(1, 2, 2, 2)), *limits, 255), "fq"))
    assert "levels=255 in={-1, -2}..{1, 2}\n" in model_text(model)


def test_a_constant_that_is_a_limit_and_an_operand_keeps_its_line() -> None:
    low, high = limit("low", 0), limit("high", 1)
    quantized = m.named(ops.fake_quantize(m.image(), low, high, low, high, 256), "fq")
    assert "high = Constant f32[1,1,1,1] 1\n" in model_text(m.build(m.multiply(quantized, high, "scaled")))


def test_equal_models_have_equal_texts_and_unequal_ones_not() -> None:
    assert model_text(m.convnet()) == model_text(m.convnet())
    assert model_text(m.crossed_pool()) != model_text(m.crossed_pool(lambda x: m.softmax(x, "softmax")))
