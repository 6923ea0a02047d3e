"""Outputs in front of their last softmax or sigmoid."""

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from tasks.graph.logits import has_logits, take_logits

from tests.support import models as m

X = np.random.default_rng(0).normal(1, 2, (1, 4, 3, 3)).astype(np.float32)


def result_of(model: ov.Model) -> np.ndarray:
    return np.asarray(ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(X)[0])


def quantized(output: ov.Output) -> ov.Output:
    return ops.fake_quantize(output, *(np.float32(each) for each in (0, 1, 0, 1)), 256).output(0)


@pytest.mark.parametrize("behind", [lambda output: output, quantized], ids=["plain", "quantized"])
@pytest.mark.parametrize(
    ("last", "expected"),
    [
        pytest.param(lambda x: ops.softmax(x, 1), X - X.mean(axis=1, keepdims=True), id="softmax"),
        pytest.param(lambda x: ops.softmax(x, -2), X - X.mean(axis=2, keepdims=True), id="softmax-from-the-end"),
        pytest.param(ops.sigmoid, X, id="sigmoid"),
    ],
)
def test_outputs_become_what_the_last_activation_reads(
    last: Callable[[ov.Node], ov.Node], behind: Callable[[ov.Output], ov.Output], expected: np.ndarray
) -> None:
    model = m.build(behind(last(m.image("data", X.shape)).output(0)))
    assert has_logits(model)
    take_logits(model)
    np.testing.assert_allclose(result_of(model), expected, rtol=1e-5, atol=1e-6)
    assert not has_logits(model)


def test_other_outputs_stay() -> None:
    model = m.build(ops.multiply(ops.sigmoid(m.image("data", X.shape)), np.float32(2)))
    before = result_of(model)
    assert not has_logits(model)
    take_logits(model)
    np.testing.assert_array_equal(result_of(model), before)


def test_a_softmax_along_its_axis_hides_a_common_shift_alone() -> None:
    def logits(shift: np.ndarray) -> np.ndarray:
        model = m.build(ops.softmax(ops.add(m.image("data", X.shape), shift.astype(np.float32)), 1))
        take_logits(model)
        return result_of(model)

    common, single = np.ones((1, 1, 1, 1)), np.array([1, 0, 0, 0]).reshape(1, 4, 1, 1)
    np.testing.assert_allclose(logits(0 * common), logits(common), atol=1e-5)
    assert np.abs(logits(0 * common) - logits(single)).max() > 0.5
