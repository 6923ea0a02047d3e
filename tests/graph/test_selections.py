"""What is computed behind a selection is known, and left out where both models are compared place by place."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.algorithms.analysis import analyze
from tasks.algorithms.clipping_weight import choose_clipping_weight
from tasks.algorithms.inference import Sample
from tasks.algorithms.layerwise_tuning import plan_tuning
from tasks.graph.operations import read_operations
from tasks.graph.placement import place_quantizers
from tasks.graph.presets import Scheme
from tasks.graph.scope import IgnoredScope
from tasks.graph.selections import find_selections
from tests.support import models as m
from tests.support.observe import observe
from tests.support.quantize import quantize

SHAPE = (1, 4, 8, 8)


def two_stages(*, free: bool) -> ov.Model:
    """A head reads the places of most score: a fixed number of them, or as many as pass a limit."""
    stem = m.relu(m.biased_convolution(m.image("image", SHAPE), "stem", 8, 3), "stem_relu")
    scores = m.reshape(m.convolution(stem, "score", 1), "scores", -1)
    places = m.reshape(m.transpose(stem, "channels_last", 0, 2, 3, 1), "places", 36, 8)
    if free:
        above = m.named(ops.greater(scores, ops.constant(np.float32(0))), "above")
        chosen = m.reshape(m.named(ops.non_zero(above, "i64"), "chosen"), "indices", -1).output(0)
    else:
        chosen = m.named(ops.topk(scores, np.array(12), 0, "max", "value", "i64"), "chosen").output(1)
    picked = m.named(ops.gather(places, chosen, np.array(0)), "picked")
    return m.build(m.matmul(picked, "head", 4))


def samples() -> list[Sample]:
    generator = np.random.default_rng(0)
    return [{"image": generator.normal(size=SHAPE).astype(np.float32)} for _ in range(12)]


@pytest.mark.parametrize("free", [False, True])
def test_layers_behind_a_selection_are_named_and_left_out(*, free: bool) -> None:
    model, data = two_stages(free=free), samples()
    quantized = quantize(model, data, bits=8)
    kind = "NonZero" if free else "TopK"
    reason = f"head: it reads what 'chosen' ({kind}) selects: other things in the quantized model"
    plan, found = plan_tuning(model, quantized, IgnoredScope(), None), analyze(model, quantized, data)
    assert plan.groups == (("stem",), ("score",))
    assert plan.skipped == found.skipped == (reason,)
    assert [each.layer for each in found.layers] == ["stem", "score"]


def test_outputs_of_another_number_tell_nothing_of_ranges() -> None:
    model, data = two_stages(free=True), samples()
    setup = place_quantizers(model)
    statistics = observe(model, sorted({point.tensor for point in setup.points}), data, values=True)
    found = choose_clipping_weight(model, setup, statistics, Scheme(), range(len(data)), dict(enumerate(data)))
    assert found.factor == 1
    assert found.sqnr_db == ()


def test_a_selection_by_what_quantization_leaves_alone_is_none() -> None:
    """As a mask leaves some tokens of all."""
    tokens = m.image("tokens", (6, 8))
    mask = m.named(ops.parameter([6], ov.Type.f32), "mask")
    kept = m.reshape(m.named(ops.non_zero(mask, "i64"), "kept"), "indices", -1)
    model = m.build(m.matmul(m.named(ops.gather(tokens, kept, np.array(0)), "picked"), "head", 4))
    assert find_selections(read_operations(model)) == {}
