"""CPU_SPR: one operand of a sum of two branches stays float."""

import openvino as ov
import pytest
from openvino import opset13 as ops

from tests.support import models as m
from tests.support.placed import activations


def sum_inputs(model: ov.Model, device: str = "CPU_SPR") -> set[str]:
    """The inputs of ``sum`` that read a quantized tensor."""
    consumers = {each for readers in activations(model, target_device=device).values() for each in readers}
    return consumers & {"sum:0", "sum:1"}


def sum_of_sizes(first: int, second: int) -> ov.Model:
    def branch(name: str, size: int) -> ov.Node:
        return m.relu(
            m.biased_convolution(m.relu(m.image(f"{name}_in", (1, 4, size, 1)), f"{name}_a"), name), f"{name}_b"
        )

    return m.build(m.relu(m.add(branch("left", first), branch("right", second), "sum"), "last"))


def test_other_devices_quantize_both_operands() -> None:
    assert sum_inputs(m.two_sums(shared=True), "CPU") == {"sum:0", "sum:1"}


def test_the_layer_s_own_result_stays_float_where_the_other_operand_is_shared() -> None:
    model = m.two_sums(shared=True)
    assert sum_inputs(model) == {"sum:1"}
    assert activations(model, target_device="CPU_SPR")["other_relu:0"] == ("reader:0", "sum:1")


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param((8, 1), {"sum:1"}, id="first-is-larger"),
        pytest.param((1, 8), {"sum:0"}, id="second-is-larger"),
        pytest.param((8, 8), {"sum:1"}, id="equal"),
    ],
)
def test_the_larger_operand_of_two_branches_stays_float(sizes: tuple[int, int], expected: set[str]) -> None:
    assert sum_inputs(sum_of_sizes(*sizes)) == expected


def test_only_the_sum_s_own_input_becomes_float() -> None:
    left = m.relu(m.biased_convolution(m.relu(m.image("a"), "a_relu"), "left"), "left_relu")
    right = m.relu(m.biased_convolution(m.relu(m.image("b"), "b_relu"), "right"), "right_relu")
    model = m.build(m.relu(m.add(left, right, "sum"), "last"), m.convolution(left, "reader"))
    assert activations(model, target_device="CPU_SPR")["left_relu:0"] == ("reader:0",)
    assert sum_inputs(model) == {"sum:1"}


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(
            m.build(m.relu(m.add(m.relu(m.image("a"), "x"), m.relu(m.image("b"), "y"), "sum"), "last")), id="no-layer"
        ),
        pytest.param(m.build(m.relu(m.named(ops.add(*[m.relu_image()] * 2), "sum"), "last")), id="doubled"),
    ],
)
def test_other_sums_keep_both(model: ov.Model) -> None:
    assert sum_inputs(model) == {"sum:0", "sum:1"}


def test_sums_with_a_constant_are_untouched() -> None:
    model = m.build(m.relu(m.bias(m.relu_image(), "sum"), "last"))
    assert sum_inputs(model) == {"sum:0"}
