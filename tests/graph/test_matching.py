from collections.abc import Callable

import openvino as ov
import pytest

from tasks.graph.matching import Step, chain, either, match, op, optional
from tasks.graph.operations import Operation, read_operations
from tests.support import models


def found(model: ov.Model, step: Step, last: str) -> set[str] | None:
    """Names of the first match that ends in ``last``."""
    operation = next(each for each in read_operations(model) if each.name == last)
    for pattern in step(()):
        result = match(pattern, operation)
        if result is not None:
            return {each.name for each in result}
    return None


def scaled_and_shifted() -> ov.Model:
    return models.build(models.bias(models.scale(models.relu_image(), "scale"), "shift"))


def test_chain_follows_the_data_and_leaves_out_what_is_kept() -> None:
    step = chain(op("Relu", keep=True), op("Multiply", const=True), op("Add", const=True))
    assert found(scaled_and_shifted(), step, "shift") == {"scale", "shift"}


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(chain(op("Tanh"), op("Multiply"), op("Add")), id="another-type-at-the-start"),
        pytest.param(chain(op("Relu"), op("Add")), id="one-operation-more-between"),
        pytest.param(chain(op("Relu", const=True), op("Multiply"), op("Add")), id="no-constant-operand"),
        pytest.param(op("Add", op("Relu"), op("Multiply")), id="two-computed-operands-asked"),
    ],
)
def test_nothing_is_found_where_one_condition_fails(step: Step) -> None:
    assert found(scaled_and_shifted(), step, "shift") is None


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        pytest.param(chain(op("Relu"), optional(op("Multiply")), op("Add")), {"relu", "scale", "shift"}, id="present"),
        pytest.param(chain(op("Multiply"), optional(op("Tanh")), op("Add")), {"scale", "shift"}, id="absent"),
        pytest.param(chain(either(op("Tanh"), op("Multiply")), op("Add")), {"scale", "shift"}, id="second-of-either"),
    ],
)
def test_alternatives(step: Step, expected: set[str]) -> None:
    assert found(scaled_and_shifted(), step, "shift") == expected


@pytest.mark.parametrize("swap", [False, True], ids=["as-written", "swapped"])
def test_operands_match_in_any_order(swap: bool) -> None:
    picture = models.image()
    first, second = models.relu(picture, "relu"), models.softmax(picture, "softmax")
    model = models.build(
        models.multiply(second, first, "product") if swap else models.multiply(first, second, "product")
    )
    assert found(model, op("Multiply", op("Softmax"), op("Relu")), "product") == {"relu", "softmax", "product"}


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        pytest.param(lambda data: data, {"relu", "clamp", "product"}, id="same-operation"),
        pytest.param(lambda data: models.softmax(data, "other"), None, id="another-operation"),
    ],
)
def test_a_label_asks_for_the_very_same_operation(
    gate: Callable[[ov.Node], ov.Node], expected: set[str] | None
) -> None:
    data = models.relu_image()
    model = models.build(models.multiply(models.clamp(data, "clamp"), gate(data), "product"))
    step = chain(op("Relu", label="x"), op("Clamp"), op("Multiply", same="x"))
    assert found(model, step, "product") == expected


def test_sole_refuses_results_that_others_read() -> None:
    step = chain(op("Convolution", sole=True), op("Relu"))
    conv = models.convolution(models.image(), "conv")
    assert found(models.build(models.relu(conv, "last")), step, "last") == {"conv", "last"}
    conv = models.convolution(models.image(), "conv")
    assert found(models.build(models.relu(conv, "last"), models.softmax(conv, "other")), step, "last") is None


def test_shape_arithmetic_counts_as_a_constant() -> None:
    data = models.relu_image()
    model = models.build(models.multiply(data, models.fill("fill", models.shape_of(data, "shape")), "product"))
    assert found(model, op("Multiply", const=True), "product") == {"product"}


def test_operations_link_both_ways() -> None:
    by_name: dict[str, Operation] = {each.name: each for each in read_operations(models.crossed_pool())}
    assert [str(source) for source in by_name["conv"].sources] == ["pool:0", "conv_weights:0"]
    assert [str(edge) for edge in by_name["pool"].readers] == ["conv:0"]
    assert by_name["conv_weights"].constant
    assert not by_name["pool"].known
