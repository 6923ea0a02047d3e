"""GNA: outputs of operations are quantized too. Which ones, for whom, and with how many bits."""

from collections.abc import Callable

import openvino as ov
import pytest
from openvino import opset13 as ops
from openvino import opset15
from openvino.op.util import Variable, VariableInfo

from tasks.graph.placement import Role, observed_tensors, place_quantizers
from tasks.graph.scope import IgnoredOperation, IgnoredScope
from tests.support import models as m
from tests.support.placed import activations, floats, points, weights

GNA = ["GNA", "GNA3", "GNA3.5"]
NOTHING = IgnoredScope()


def bits(model: ov.Model, device: str = "GNA", ignored: IgnoredScope = NOTHING) -> dict[str, int]:
    """Bits by quantized computed tensor."""
    return {
        point.tensor: candidate.bits
        for point in points(model, target_device=device, ignored=ignored).values()
        if point.role == Role.ACTIVATIONS
        for candidate in point.candidates
    }


def layer(*readers: Callable[[ov.Node], ov.Node]) -> ov.Model:
    """A biased convolution of ``relu`` and what reads it."""
    data = m.biased_convolution(m.relu_image(), "conv")
    return m.build(*(reader(data) for reader in readers))


@pytest.mark.parametrize("device", GNA)
def test_a_network_from_input_to_output(device: str) -> None:
    assert bits(m.convnet(), device) == {
        "image:0": 16,
        # What layers and sums leave for activation functions keeps the accumulator's bits.
        "stem_bias:0": 32,
        "stem_relu:0": 16,
        "branch_bias:0": 32,
        "branch_relu:0": 16,
        # A sum takes 16 bits, so the layer in front of it has to leave these.
        "last_bias:0": 16,
        "sum:0": 32,
        "sum_relu:0": 16,
        # Nothing is said about what a mean leaves: quantized for the layer below.
        "mean:0": 16,
        "classifier_bias:0": 16,
    }
    assert floats(m.convnet(), target_device=device) == {}


def test_names() -> None:
    found = {point.tensor: point.name for point in points(m.convnet(), target_device="GNA").values()}
    assert found["stem_bias:0"] == "stem_bias/fq_output_0"
    assert found["mean:0"] == "flat/fq_input_0"
    assert found["stem_weights:0"] == "stem/fq_weights_1"


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("GNA", {"stem": (16,), "classifier": (8, 16)}),
        ("GNA3", {"stem": (8, 16), "classifier": (8, 16)}),
        ("GNA3.5", {"stem": (8, 16), "classifier": (8, 16)}),
    ],
)
def test_bits_of_weights_in_the_order_of_the_table(device: str, expected: dict[str, tuple[int, ...]]) -> None:
    found = points(m.convnet(), target_device=device)
    for name, each in expected.items():
        assert tuple(config.bits for config in found[f"{name}/fq_weights_1"].candidates) == each


@pytest.mark.parametrize(
    ("readers", "expected"),
    [
        pytest.param([lambda x: m.softmax(x, "a")], 32, id="float-reader"),
        pytest.param([lambda x: m.relu(x, "a")], 32, id="function"),
        pytest.param([lambda x: m.convolution(x, "a")], 16, id="layer"),
        pytest.param([lambda x: x], 16, id="output-of-the-model"),
        pytest.param([lambda x: m.relu(x, "a"), lambda x: m.convolution(x, "b")], 16, id="function-and-layer"),
        pytest.param([lambda x: m.softmax(x, "a"), lambda x: m.convolution(x, "b")], 16, id="float-reader-and-layer"),
        pytest.param([lambda x: m.relu(m.max_pool(x, "pool"), "a")], 32, id="function-behind-pooling"),
    ],
)
@pytest.mark.parametrize("device", GNA)
def test_consumers_decide_about_the_output_of_a_layer(
    readers: list[Callable[[ov.Node], ov.Node]], expected: int, device: str
) -> None:
    assert bits(layer(*readers), device)["conv_bias:0"] == expected


@pytest.mark.parametrize("device", GNA)
@pytest.mark.parametrize("last", [lambda x: m.relu(x, "second"), lambda x: m.convolution(x, "second")])
def test_functions_and_inputs_decide_about_their_own_outputs(last: Callable[[ov.Node], ov.Node], device: str) -> None:
    assert bits(m.build(last(m.relu_image())), device) == {"image:0": 16, "relu:0": 16, "second:0": 16}


def test_every_reader_gets_the_quantized_output_but_not_shapeof() -> None:
    data = m.relu_image()
    sized = m.named(ops.reshape(m.softmax(data, "float"), m.shape_of(data, "shape"), False), "sized")
    model = m.build(m.convolution(data, "conv"), sized)
    assert activations(model, target_device="GNA")["relu:0"] == ("conv:0", "float:0")


def test_the_output_of_a_layer_without_bias_is_its_own() -> None:
    model = m.build(m.relu(m.convolution(m.relu_image(), "conv"), "last"))
    assert bits(model)["conv:0"] == 32


def test_a_layer_and_its_bias_may_both_have_readers() -> None:
    data = m.matmul(m.relu_image((1, 4)), "fc")
    model = m.build(m.relu(m.bias(data, "biased"), "a"), m.relu(data, "b"))
    found = activations(model, target_device="GNA")
    assert (found["fc:0"], found["biased:0"]) == (("b:0",), ("a:0",))


def test_an_output_behind_a_pooling_is_quantized_once() -> None:
    model = m.build(m.max_pool(m.relu_image(), "pool"))
    assert activations(model, target_device="GNA") == {"image:0": ("relu:0",), "relu:0": ("pool:0",)}
    assert bits(model) == {"image:0": 16, "relu:0": 16}


def test_an_input_that_is_an_output_stays_float() -> None:
    data = m.image()
    model = m.build(m.relu(data, "relu"), data)
    assert activations(model, target_device="GNA") == {"image:0": ("relu:0",), "relu:0": ("result0:0",)}
    assert floats(model, target_device="GNA") == {"result1": "passes an input on"}


def test_integers_stay_as_they_are() -> None:
    model = m.build(m.image("counts", (1, 4), "i64"), m.relu_image())
    assert floats(model, target_device="GNA") == {"counts": "integer tensor", "result0": "passes an input on"}


def test_a_swish_reads_the_float_layer() -> None:
    model = layer(lambda x: m.named(ops.swish(x), "swish"))
    assert "conv_bias:0" not in bits(model)


def test_preprocessing_reads_the_float_input() -> None:
    model = m.build(m.convolution(m.bias(m.scale(m.image(), "scale"), "shift"), "conv"))
    assert bits(model) == {"shift:0": 16, "conv:0": 16}
    assert floats(model, target_device="GNA")["image"] == "nothing reads it quantized"


@pytest.mark.parametrize("make", [ops.maximum, ops.minimum])
def test_maximum_and_minimum_are_not_crossed(make: Callable[[ov.Node, ov.Node], ov.Node]) -> None:
    limited = m.named(make(m.relu_image(), m.constant("limit", 1, 1, 1, 1)), "limited")
    model = m.build(m.convolution(limited, "conv"))
    assert activations(model, target_device="GNA") == {
        "image:0": ("relu:0",),
        "relu:0": ("limited:0",),
        "limited:0": ("conv:0",),
        "conv:0": ("result0:0",),
    }


def test_a_concat_shares_no_scale() -> None:
    model = m.concat_of_branches(lambda x: m.convolution(x, "conv"))
    found = points(model, target_device="GNA").values()
    assert {point.group for point in found} == {None}
    assert {point.group for point in points(model, target_device="CPU").values()} == {None, "concat"}


def test_depthwise_convolutions_are_quantized_like_others() -> None:
    model = m.build(m.grouped_convolution(m.relu_image(), "conv", 4))
    assert weights(model, target_device="GNA") == {"conv_weights:0": (0, 1)}
    assert bits(model)["relu:0"] == 16


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda x: ops.power(x, m.constant("exponent", 1)), id="Power"),
        pytest.param(ops.sigmoid, id="Sigmoid"),
        pytest.param(ops.tanh, id="Tanh"),
        pytest.param(lambda x: ops.prelu(x, m.constant("slope", 4)), id="PRelu"),
        pytest.param(lambda x: ops.clamp(x, 0.0, 1.0), id="Clamp"),
        pytest.param(ops.log, id="Log"),
        pytest.param(ops.abs, id="Abs"),
        pytest.param(ops.exp, id="Exp"),
        pytest.param(ops.sign, id="Sign"),
        pytest.param(opset15.softsign, id="SoftSign"),
    ],
)
def test_functions_read_32_bits_and_leave_16(make: Callable[[ov.Node], ov.Node]) -> None:
    model = layer(lambda x: m.named(make(x), "function"))
    found = bits(model)
    assert (found["conv_bias:0"], found["function:0"]) == (32, 16)
    assert weights(model, target_device="GNA").keys() == {"conv_weights:0"}


def remembering(*, read: bool) -> ov.Model:
    """A sum with what the last inference left; the output is the sum, or with ``read`` what was assigned."""
    info = VariableInfo()
    info.data_shape, info.data_type, info.variable_id = ov.PartialShape([1, 4]), ov.Type.f32, "state"
    variable = Variable(info)
    data = m.image(shape=(1, 4))
    past = m.named(ops.read_value(m.constant("start", 1, 4), variable), "past")
    total = m.add(m.relu(data, "relu"), past, "total")
    assign = m.named(ops.assign(total, variable), "assign")
    result = m.named(ops.result(assign if read else total), "result")
    return ov.Model([result], [assign], [data], "stateful")


@pytest.mark.parametrize(("read", "readers"), [(True, ("assign:0",)), (False, ("assign:0", "result:0"))])
def test_an_assigned_value_is_quantized_once(read: bool, readers: tuple[str, ...]) -> None:
    model = remembering(read=read)
    found = activations(model, target_device="GNA")
    assert found == {"image:0": ("relu:0",), "relu:0": ("total:0",), "past:0": ("total:1",), "total:0": readers}
    assert floats(model, target_device="GNA") == ({"result": "result of an assignment"} if read else {})


# What the user leaves out


def test_an_ignored_operation_reads_and_leaves_float() -> None:
    model = layer(lambda x: m.relu(x, "last"))
    ignored = IgnoredScope(scope=("conv",))
    assert bits(model, ignored=ignored) == {"image:0": 16, "conv_bias:0": 32, "last:0": 16}
    ignored = IgnoredScope(scope=("last",))
    assert bits(model, ignored=ignored) == {"image:0": 16, "relu:0": 16, "last:0": 16}


def test_inputs_and_outputs_of_the_model_can_be_ignored() -> None:
    model = m.build(m.convolution(m.relu_image(), "conv"))
    assert bits(model) == {"image:0": 16, "relu:0": 16, "conv:0": 16}
    # Without a say of its own an input is quantized as its reader wants it.
    ignored = IgnoredScope(operations=(IgnoredOperation("Parameter"),))
    assert bits(model, ignored=ignored) == {"image:0": 32, "relu:0": 16, "conv:0": 16}
    ignored = IgnoredScope(operations=(IgnoredOperation("Result"),))
    assert bits(model, ignored=ignored) == {"image:0": 16, "relu:0": 16}


@pytest.mark.parametrize(
    "ignored", [NOTHING, IgnoredScope(scope=("conv",)), IgnoredScope(operations=(IgnoredOperation("Relu"),))]
)
def test_taps_cover_outputs_whatever_is_ignored(ignored: IgnoredScope) -> None:
    model = layer(lambda x: m.relu(x, "last"))
    setup = place_quantizers(model, target_device="GNA", ignored=ignored)
    assert observed_tensors(model, setup, target_device="GNA") == ("conv_bias:0", "image:0", "last:0", "relu:0")
