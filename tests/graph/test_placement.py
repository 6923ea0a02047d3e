"""The whole decision: what is reported, model types, taps, and that the model stays as it is."""

import time

import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.errors import InputError
from tasks.graph.placement import FloatOperation, Role, observed_tensors, place_quantizers
from tasks.graph.scope import IgnoredOperation, IgnoredScope
from tasks.graph.text import model_text
from tests.support import models as m
from tests.support.placed import activations, floats, forms, points, weights


def mvn(data: ov.Node, name: str) -> ov.Node:
    return m.named(ops.mvn(data, m.integers(f"{name}_axes", -1), True, 1e-6, "INSIDE_SQRT"), name)


def transformer() -> ov.Model:
    """A normalization, a sum, and a product of two computed matrices behind a Squeeze."""
    tokens = m.relu_image((1, 6, 8))
    normal = mvn(tokens, "norm")
    first, second = m.matmul(normal, "query", 8), m.matmul(normal, "key", 8)
    scores = m.named(ops.matmul(m.squeeze(first, "squeezed", 0), second, False, True), "scores")
    total = m.add(m.relu(scores, "scores_relu"), m.relu(m.image("mask", (1, 6, 6)), "mask_relu"), "sum")
    return m.build(m.relu(total, "last"))


def test_convnet() -> None:
    assert activations(m.convnet()) == {
        "image:0": ("stem:0",),
        "stem_relu:0": ("pool:0",),
        "branch_relu:0": ("last:0",),
        "last_bias:0": ("sum:0",),
        "sum_relu:0": ("mean:0",),
        "mean:0": ("flat:0",),
    }
    assert weights(m.convnet()).keys() == {f"{layer}_weights:0" for layer in ("stem", "branch", "last", "classifier")}


def test_points_are_sorted_by_name_and_name_their_input() -> None:
    names = [point.name for point in place_quantizers(m.convnet()).points]
    assert names == sorted(names)
    assert {"stem/fq_input_0", "stem/fq_weights_1", "pool/fq_input_0"} <= set(names)


def test_the_model_is_not_changed_and_the_answer_is_always_the_same() -> None:
    model = m.convnet()
    before = model_text(model)
    assert place_quantizers(model) == place_quantizers(model) == place_quantizers(m.convnet())
    assert model_text(model) == before


@pytest.mark.parametrize("device", ["ANY", "CPU", "CPU_SPR", "GPU", "NPU", "GNA", "GNA3", "GNA3.5"])
def test_every_point_has_candidates_that_its_tensor_can_have(device: str) -> None:
    for model in (m.convnet(), m.attention(), transformer(), m.recurrent("LSTMSequence")):
        for point in points(model, target_device=device).values():
            assert point.candidates, point.name
            if not point.channel_axes:
                assert all(config.granularity == "pertensor" for config in point.candidates), point.name


def test_float_operations_tell_why_in_the_order_of_the_graph() -> None:
    setup = place_quantizers(m.convnet(), ignored=IgnoredScope(scope=("branch",)))
    # Biases of quantized operations belong to them; that of the ignored one is float as well.
    assert setup.float_operations == (
        FloatOperation("branch", "Convolution", "ignored"),
        FloatOperation("branch_bias", "Add", "bias"),
    )


def test_bodies_stay_float() -> None:
    assert points(m.loop_around_convolution()) == {}
    assert floats(m.loop_around_convolution()) == {"loop": "its body is not quantized"}


def test_a_model_that_is_quantized_already_is_refused() -> None:
    limits = [m.constant(name, 1) for name in "abcd"]
    model = m.build(m.named(ops.fake_quantize(m.image(), *limits, 256), "fq"))
    with pytest.raises(InputError, match="quantized already: it has a FakeQuantize 'fq'"):
        place_quantizers(model)


def test_a_model_without_anything_to_quantize_has_no_points() -> None:
    setup = place_quantizers(m.build(m.relu_image()))
    assert (setup.points, setup.float_operations) == ((), ())


def test_f16_models_are_quantized_too() -> None:
    data = m.relu(m.image(dtype="f16"), "relu")
    weights_ = m.named(ops.convert(m.constant("stored", 4, 4, 1, 1), "f16"), "w")
    conv = m.named(ops.convolution(data, weights_, [1, 1], [0, 0], [0, 0], [1, 1]), "conv")
    assert points(m.build(conv)).keys() == {"conv/fq_input_0", "conv/fq_weights_1"}


# Model types


@pytest.mark.parametrize("model_type", ["Transformer", "bert", "", "None"])
def test_unknown_model_types_are_errors(model_type: str) -> None:
    with pytest.raises(InputError, match=f"model_type: unknown value '{model_type}'.*Allowed: transformer"):
        place_quantizers(m.convnet(), model_type=model_type)


def test_the_nearest_model_type_is_proposed() -> None:
    with pytest.raises(InputError, match="Did you mean 'transformer'"):
        place_quantizers(m.convnet(), model_type="Transformers")


def test_transformer_leaves_normalizations_and_sums_float() -> None:
    assert {"norm", "sum"} <= {
        each.split(":")[0] for readers in activations(transformer()).values() for each in readers
    }
    assert floats(transformer(), model_type="transformer") == {
        "norm": "model type transformer",
        "sum": "model type transformer",
    }


def test_transformer_keeps_what_follows_a_squeeze_quantized() -> None:
    assert activations(transformer(), model_type="transformer") == {
        "norm:0": ("key:0", "query:0"),
        "query:0": ("squeezed:0",),
        "key:0": ("scores:1",),
    }


@pytest.mark.parametrize("device", ["ANY", "CPU", "CPU_SPR", "GPU", "NPU"])
def test_transformer_makes_products_of_computed_matrices_symmetric(device: str) -> None:
    found = points(transformer(), model_type="transformer", target_device=device)
    for name in ("squeezed/fq_input_0", "scores/fq_input_1"):
        first, last = found[name].candidates[0], found[name].candidates[-1]
        assert (first.mode, first.bits, last.mode, last.bits) == ("symmetric", 8, "symmetric", 8)
    assert forms(found["key/fq_input_0"])[-1] == "8 asymmetric pertensor"


def test_without_a_model_type_products_keep_all_candidates() -> None:
    assert len(points(transformer())["scores/fq_input_1"].candidates) == 2


@pytest.mark.parametrize(("device", "quantized"), [("CPU", False), ("CPU_SPR", True)])
def test_transformer_keeps_multiply_on_cpu_spr_only(device: str, quantized: bool) -> None:
    product = m.multiply(m.relu(m.image("a"), "x"), m.relu(m.image("b"), "y"), "product")
    found = points(m.build(m.relu(product, "last")), model_type="transformer", target_device=device)
    assert ("product/fq_input_0" in found) is quantized


# Observed tensors


IGNORED = [
    pytest.param(None, IgnoredScope(), id="nothing"),
    pytest.param(None, IgnoredScope(scope=("branch", "classifier")), id="layers"),
    pytest.param(None, IgnoredScope(scope=("pool",)), id="pass-through"),
    pytest.param(None, IgnoredScope(operations=(IgnoredOperation("Add"),)), id="sums"),
    pytest.param("transformer", IgnoredScope(), id="transformer"),
]


@pytest.mark.parametrize(("model_type", "ignored"), IGNORED)
def test_taps_do_not_depend_on_what_is_ignored(model_type: str | None, ignored: IgnoredScope) -> None:
    model = m.convnet()
    taps = observed_tensors(model, place_quantizers(model, model_type=model_type, ignored=ignored))
    assert taps == observed_tensors(model, place_quantizers(model))


def test_taps_cover_every_activation_and_no_more_than_quantizable_operations_read() -> None:
    model = m.crossed_pool(lambda x: m.softmax(m.max_pool(x, "second_pool"), "float_reader"))
    setup = place_quantizers(model)
    assert observed_tensors(model, setup) == ("pool:0",)
    assert {point.tensor for point in setup.points if point.role == Role.ACTIVATIONS} == {"pool:0"}


def test_taps_include_both_ends_of_a_crossed_operation() -> None:
    model = m.crossed_pool()
    assert observed_tensors(model, place_quantizers(model)) == ("pool:0", "relu:0")


def test_taps_include_what_only_this_setup_needs() -> None:
    pooled = m.max_pool(m.relu_image(), "outer")
    model = m.build(
        m.convolution(m.max_pool(pooled, "left"), "conv"), m.convolution(m.max_pool(pooled, "right"), "other")
    )
    setup = place_quantizers(model, ignored=IgnoredScope(scope=("other",)))
    assert "outer:0" in observed_tensors(model, setup)
    assert "outer:0" not in observed_tensors(model, place_quantizers(model))


def test_taps_are_sorted_and_computed() -> None:
    model = m.attention()
    taps = observed_tensors(model, place_quantizers(model))
    assert list(taps) == sorted(set(taps))
    assert "query_weights:0" not in taps


def test_taps_are_those_of_the_device() -> None:
    model = m.recurrent("LSTMSequence")
    assert observed_tensors(model, place_quantizers(model)) == ("cell:0", "relu:0")
    assert observed_tensors(model, place_quantizers(model, target_device="GPU"), target_device="GPU") == ()


def test_thousands_of_operations_take_seconds_at_most() -> None:
    data = m.relu_image()
    for index in range(700):
        data = m.add(m.relu(m.biased_convolution(data, f"conv{index}"), f"relu{index}"), data, f"sum{index}")
    model = m.build(data)
    start = time.perf_counter()
    setup = place_quantizers(model)
    assert time.perf_counter() - start < 2
    assert len(setup.points) > 2000
