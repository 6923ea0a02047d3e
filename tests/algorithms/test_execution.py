"""What is quantized runs in int8: placement beside the runtime model of OpenVINO itself."""

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.algorithms.execution import IN_FLOATS, LAYERS, NOT_CARRIED, compare_execution
from tasks.graph.devices import PASS_THROUGH
from tasks.graph.placement import place_quantizers
from tasks.graph.presets import Preset, Scheme, TensorOptions
from tests.support import models as m
from tests.support.executed import in_floats, noise
from tests.support.layer_kinds import KINDS
from tests.support.observe import observe
from tests.support.quantize import settle

SYMMETRIC, MIXED = Scheme(Preset.PERFORMANCE), Scheme(Preset.MIXED)


def halves(data: ov.Node) -> ov.Output:
    return ops.split(data, m.number("axis", 1), 2).output(1)


def unequal(data: ov.Node) -> ov.Output:
    return ops.variadic_split(data, m.number("axis", 1), m.integers("lengths", 1, 3)).output(1)


def harmonics(data: ov.Node) -> ov.Node:
    cut = ops.slice(data, *(m.integers(f"at_{n}", n) for n in (2, 8, 1, 3)))
    shifted = ops.pad(cut, m.integers("before", 0, 0, 0, 0), m.integers("after", 0, 0, 0, 2), "constant")
    return ops.concat([data, shifted], 1)


def padded(mode: str, value: float | None = None, before: int = 1) -> Callable[[ov.Node], ov.Node]:
    def pad(data: ov.Node) -> ov.Node:
        filled = None if value is None else ops.constant(np.float32(value))
        return ops.pad(data, m.integers("before", 0, 0, before, 0), m.integers("after", 0, 0, 0, 2), mode, filled)

    return pad


CARRIERS: dict[str, Callable[[ov.Node], ov.Node | ov.Output]] = {
    "MaxPool": lambda x: m.max_pool(x, "pool"),
    "ReduceMax": lambda x: ops.reduce_max(x, m.integers("axes", 2), True),
    "Reshape": lambda x: m.reshape(x, "shaped", 1, 8, 4, 8),
    "Squeeze": lambda x: ops.squeeze(m.reshape(x, "shaped", 1, 4, 1, 8, 8), m.integers("axis", 2)),
    "Unsqueeze": lambda x: ops.unsqueeze(x, m.integers("axis", 2)),
    "Transpose": lambda x: m.transpose(x, "turned", 0, 2, 3, 1),
    "DepthToSpace": lambda x: ops.depth_to_space(x, "blocks_first", 2),
    "ShuffleChannels": lambda x: ops.shuffle_channels(x, 1, 2),
    "Concat": lambda x: m.concat("joined", x, m.convolution(x, "other")),
    "Split": halves,
    "VariadicSplit": unequal,
    "StridedSlice": lambda x: ops.strided_slice(
        x, *(m.integers(f"{n}", 0, 0, n, 0) for n in (2, 6)), m.integers("by", 1, 1, 1, 1), [1, 1, 0, 1], [1, 1, 0, 1]
    ),
    "Slice": lambda x: ops.slice(x, *(m.integers(f"at_{n}", n) for n in (2, 6, 1, 3))),
    "Gather": lambda x: ops.gather(x, m.integers("indices", 2, 0), m.number("axis", 2)),
    "Tile": lambda x: ops.tile(x, m.integers("repeats", 1, 2, 1, 1)),
    "Broadcast": lambda x: ops.broadcast(x, m.integers("to", 2, 4, 8, 8)),
    "Pad": padded("constant"),
    "Minimum": lambda x: ops.minimum(m.max_pool(x, "pool"), ops.constant(np.full((1, 1, 1, 1), 0.4, np.float32))),
    "Maximum": lambda x: ops.maximum(m.max_pool(x, "pool"), ops.constant(np.full((1, 1, 1, 1), -0.4, np.float32))),
    "ConvertLike": lambda x: ops.convert_like(x, m.image("like", (1,))),
}
MORE_CARRIERS = {
    "Slice, Pad, Concat": harmonics,
    "Pad, MaxPool": lambda x: m.max_pool(m.named(padded("constant")(x), "pad"), "pool"),
    "Pad with a value": padded("constant", 0.3),
    "Pad that crops": padded("constant", before=-1),
    "Pad with edges": padded("edge"),
    "Pad with reflections": padded("reflect"),
    "Concat twice the same": lambda x: ops.concat([x, x], 1),
    "Concat in space": lambda x: ops.concat([x, x], 2),
    "Tile samples": lambda x: ops.tile(x, m.integers("repeats", 2, 1, 1, 1)),
    "Reshape of channels": lambda x: m.reshape(x, "shaped", 1, 16, 4, 4),
    "Gather, Transpose": lambda x: m.transpose(
        m.named(ops.gather(x, m.integers("indices", 2, 0), m.number("axis", 1)), "gathered"), "turned", 0, 1, 3, 2
    ),
    "Maximum of channels": lambda x: ops.maximum(m.max_pool(x, "pool"), m.constant("least", 1, 4, 1, 1)),
}
Carrier = Callable[[ov.Node], ov.Node | ov.Output]


def carried(make: Carrier, relu: bool = False) -> ov.Model:
    """A convolution ``first``, the operation, a convolution ``last``."""
    first = m.convolution(m.image("x", (1, 4, 8, 8)), "first")
    data = make(m.relu(first, "first_relu") if relu else first)
    shape = (data if isinstance(data, ov.Output) else data.output(0)).get_shape()
    flat = [1] * (len(shape) - 2)
    pads = [0] * len(flat)
    weights = m.constant("last_weights", 4, shape[1], *flat)
    return m.build(m.relu(m.named(ops.convolution(data, weights, flat, pads, pads, flat), "last"), "out"))


def test_every_operation_that_quantizers_move_over_is_tried() -> None:
    assert CARRIERS.keys() == PASS_THROUGH


def require_integers_behind(make: Carrier, scheme: Scheme, *, relu: bool = False, device: str = "ANY") -> None:
    model = carried(make, relu)
    data = noise(model)
    quantized, setup, execution = settle(model, data, scheme, device)
    assert {"first", "last"} <= {target for point in setup.points for target in point.targets}
    assert in_floats(model, quantized, setup) == set()
    assert execution.by_levels == ()


@pytest.mark.parametrize("make", CARRIERS.values(), ids=CARRIERS.keys())
def test_a_layer_behind_an_operation_that_quantizers_move_over_runs_in_integers(make: Carrier) -> None:
    require_integers_behind(make, SYMMETRIC)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["ANY", "CPU", "CPU_SPR"])
@pytest.mark.parametrize(("scheme", "relu"), [(SYMMETRIC, False), (SYMMETRIC, True), (MIXED, False), (MIXED, True)])
@pytest.mark.parametrize("make", (CARRIERS | MORE_CARRIERS).values(), ids=(CARRIERS | MORE_CARRIERS).keys())
def test_a_layer_behind_such_an_operation_runs_in_integers_in_every_scheme(
    make: Carrier, scheme: Scheme, relu: bool, device: str
) -> None:
    require_integers_behind(make, scheme, relu=relu, device=device)


def compared(model: ov.Model, scheme: Scheme) -> tuple[dict[str, str], tuple[str, ...]]:
    setup = place_quantizers(model)
    statistics = observe(model, {name for point in setup.points for name in point.observed}, noise(model))
    execution = compare_execution(model, setup, statistics, scheme)
    return dict(execution.left_float), execution.by_levels


def test_what_does_not_carry_integers_is_named() -> None:
    found, _ = compared(carried(lambda x: m.named(harmonics(x), "joined")), SYMMETRIC)
    assert found == {"joined": f"{NOT_CARRIED} to 'last'"}


def test_a_layer_that_stays_in_floats_anyway_loses_its_quantizers() -> None:
    """OpenVINO moves a quantizer behind a Concat in front of it, and computes the constant in floats."""
    model = carried(lambda x: m.concat("joined", x, m.constant("coordinates", 1, 2, 8, 8)))
    quantized, setup, _ = settle(model, noise(model), SYMMETRIC)
    assert {each.name: each.reason for each in setup.float_operations} == {"last": IN_FLOATS}
    assert in_floats(model, quantized, setup) == set()


def test_one_layer_alone_does_not_tell_that_nothing_runs_in_integers() -> None:
    model = m.build(KINDS["transposed"].model().get_results()[0].input_value(0).get_node())
    assert compared(model, MIXED) == ({}, ("layer",))


# --- levels


@pytest.mark.parametrize("name", ["transposed", "weights first", "weights first, vector"])
@pytest.mark.parametrize("scheme", [SYMMETRIC, MIXED], ids=["symmetric", "mixed"])
def test_layers_that_know_no_zero_points_have_none_on_cpu(name: str, scheme: Scheme) -> None:
    for model in (KINDS[name].model(), relu_before(name)):
        quantized, setup, _ = settle(model, noise(model), scheme, "CPU")
        assert in_floats(model, quantized, setup) == set()
        assert "layer" in {target for point in setup.points for target in point.targets}


def relu_before(name: str) -> ov.Model:
    kind = KINDS[name]
    data = m.relu(m.image("data", kind.shape), "positive")
    return m.build(m.relu(m.named(kind.build(data, m.constant("weights", *kind.weights)), "layer"), "out"))


def test_with_levels_of_pot_they_are_named() -> None:
    assert compared(KINDS["transposed"].model(), MIXED) == ({}, ("layer",))
    assert compared(KINDS["convolution"].model(), Scheme(Preset.ACCURACY)) == ({}, ("layer",))
    assert compared(KINDS["convolution"].model(), MIXED) == ({}, ())


@pytest.mark.parametrize(("bits", "named"), [(6, ("layer",)), (8, ()), (None, ())])
def test_levels_that_were_asked_for_stay_and_are_named(bits: int | None, named: tuple[str, ...]) -> None:
    scheme = Scheme(activations=TensorOptions(bits=bits))
    assert compared(KINDS["convolution"].model(), scheme) == ({}, named)


# --- attention


def attention(*, cached: bool, fused: bool = False, positive: bool = False, stateful: bool = False) -> ov.Model:
    """One layer of attention; with a cache, the keys and the values of tokens before come from an input or a state."""
    tokens = m.image("tokens", (1, 5, 8))
    others, outputs, sinks = [tokens], list[ov.Node](), list[ov.Node]()

    def heads(name: str) -> ov.Node:
        projected = m.bias(m.matmul(tokens, name, 8), f"{name}_bias")
        projected = m.relu(projected, f"{name}_relu") if positive else projected
        return m.transpose(m.reshape(projected, f"{name}_split", 1, 5, 2, 4), f"{name}_heads", 0, 2, 1, 3)

    def with_past(name: str) -> ov.Node:
        if not cached:
            return heads(name)
        if stateful:
            start = m.constant(f"{name}_start", 1, 2, 3, 4)
            past = m.named(ops.read_value(start, name, np.float32, [1, 2, -1, 4]), f"{name}_read")
        else:
            past = m.image(f"{name}_past", (1, 2, 3, 4))
            others.append(past)
        both = m.named(ops.concat([past, heads(name)], 2), f"{name}_cache")
        sinks.extend([ops.assign(both, name)] if stateful else [])
        outputs.extend([] if stateful else [both])
        return both

    query, key, value = heads("query"), with_past("key"), with_past("value")
    if fused:
        context = m.named(ops.scaled_dot_product_attention(query, key, value), "attend")
    else:
        scores = m.named(ops.matmul(query, key, False, True), "scores")
        scaled = m.named(ops.multiply(scores, ops.constant(np.float32(0.5))), "scaled")
        context = m.named(ops.matmul(m.named(ops.softmax(scaled, -1), "shares"), value, False, False), "context")
    results = [ops.result(each) for each in (m.relu(context, "out"), *outputs)]
    return ov.Model(results, sinks, others, "attention") if sinks else ov.Model(results, others, "attention")


CACHES = [(True, True, False), (True, False, True), (True, False, False), (False, False, False)]
FORMS = [("ANY", SYMMETRIC), ("CPU", MIXED), ("CPU", SYMMETRIC)]


def require_integer_products(cache: tuple[bool, bool, bool], device: str, scheme: Scheme) -> None:
    cached, stateful, positive = cache
    model = attention(cached=cached, stateful=stateful, positive=positive)
    quantized, setup, _ = settle(model, noise(model), scheme, device)
    # POT leaves the second product float where its values are a biased, split and turned projection.
    products = {"scores", "context"} if cached else {"scores"}
    assert products <= {target for point in setup.points for target in point.targets}
    assert in_floats(model, quantized, setup) == set()


@pytest.mark.parametrize(("cache", "form"), list(zip(CACHES[:2], FORMS[:2], strict=True)))
def test_products_of_attention_run_in_integers(cache: tuple[bool, bool, bool], form: tuple[str, Scheme]) -> None:
    require_integer_products(cache, *form)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cache", CACHES)
def test_products_of_attention_run_in_integers_on_every_device(
    cache: tuple[bool, bool, bool], form: tuple[str, Scheme]
) -> None:
    require_integer_products(cache, *form)


@pytest.mark.parametrize("device", ["ANY", "GPU", "NPU"])
def test_fused_attention_is_listed(device: str) -> None:
    found = place_quantizers(attention(cached=True, fused=True), target_device=device).float_operations
    assert [each.reason for each in found if each.name == "attend"] == [
        f"ScaledDotProductAttention has no quantized form on {device}"
    ]


def test_layers_are_those_that_multiply_weights() -> None:
    assert {"Convolution", "MatMul", "ConvolutionBackpropData", "LSTMSequence", "GRUSequence"} <= LAYERS
