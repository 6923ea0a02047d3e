"""Which tensors share a scale, and from which configurations it is chosen."""

from collections.abc import Callable

import openvino as ov
import pytest
from openvino import opset13 as ops

from tests.support import models as m
from tests.support.placed import forms, points

Reader = Callable[[ov.Node], ov.Node]


def groups(model: ov.Model, **options: str) -> dict[str, set[str]]:
    """Tensors by group."""
    found: dict[str, set[str]] = {}
    for point in points(model, **options).values():
        if point.group is not None:
            found.setdefault(point.group, set()).add(point.tensor)
    return found


def average(data: ov.Node) -> ov.Node:
    return m.named(ops.avg_pool(data, [1, 1], [0, 0], [0, 0], [2, 2], False), "average")


@pytest.mark.parametrize(
    ("readers", "expected"),
    [
        pytest.param([lambda x: m.convolution(x, "conv")], {"concat": {"relu:0", "tanh:0"}}, id="convolution"),
        pytest.param(
            [lambda x: m.convolution(m.max_pool(x, "pool"), "conv")],
            {"concat": {"relu:0", "tanh:0"}},
            id="convolution-behind-a-pass-through-operation",
        ),
        pytest.param(
            [lambda x: m.matmul(m.reshape(x, "flat", 1, -1), "fc")], {"concat": {"relu:0", "tanh:0"}}, id="matmul"
        ),
        pytest.param([lambda x: m.grouped_convolution(x, "conv", 2)], {"concat": {"relu:0", "tanh:0"}}, id="grouped"),
        pytest.param([average], {}, id="no-layer"),
        pytest.param([lambda x: m.grouped_convolution(x, "conv", 8)], {}, id="depthwise"),
        pytest.param(
            [lambda x: m.convolution(x, "conv"), lambda x: m.grouped_convolution(x, "other", 8)],
            {},
            id="a-layer-and-a-depthwise-one",
        ),
        pytest.param([lambda x: m.convolution(x, "conv"), lambda x: m.softmax(x, "soft")], {}, id="not-crossed"),
    ],
)
def test_a_concat_unifies_in_front_of_layers(readers: list[Reader], expected: dict[str, set[str]]) -> None:
    assert groups(m.concat_of_branches(*readers)) == expected


def test_members_of_a_group_have_the_same_per_tensor_candidates() -> None:
    found = points(m.concat_of_branches(lambda x: m.convolution(x, "conv")))
    members = [point for point in found.values() if point.group == "concat"]
    assert [forms(point) for point in members] == [["8 symmetric pertensor", "8 asymmetric pertensor"]] * 2


def test_a_member_s_other_consumers_restrict_the_whole_group() -> None:
    picture = m.image()
    shared, other = m.relu(picture, "shared"), m.named(ops.tanh(picture), "other")
    model = m.build(
        m.convolution(m.concat("concat", shared, other), "conv"), m.grouped_convolution(shared, "depthwise", 4)
    )
    found = points(model)
    assert groups(model) == {"concat": {"shared:0", "other:0"}}
    assert found["concat/fq_input_1"].candidates == found["concat/fq_input_0"].candidates
    assert {config.granularity for config in found["concat/fq_input_0"].candidates} == {"pertensor"}


def test_concats_over_concats_make_one_group() -> None:
    first = m.concat("first", m.relu(m.image("a"), "x"), m.relu(m.image("b"), "y"))
    second = m.concat("second", first, m.relu(m.image("c"), "z"))
    assert groups(m.build(m.convolution(second, "conv"))) == {"first": {"x:0", "y:0", "z:0"}}


def test_a_shared_tensor_joins_groups() -> None:
    shared = m.relu(m.image("a"), "shared")
    left = m.concat("left", shared, m.relu(m.image("b"), "x"))
    right = m.concat("right", m.relu(m.image("c"), "y"), shared)
    model = m.build(m.convolution(left, "conv_left"), m.convolution(right, "conv_right"))
    (members,) = groups(model).values()
    assert members == {"shared:0", "x:0", "y:0"}


def test_separate_concats_make_separate_groups() -> None:
    def branch(name: str) -> ov.Node:
        joined = m.concat(name, *(m.relu(m.image(f"{name}_{part}"), f"{name}_{part}_relu") for part in "ab"))
        return m.convolution(joined, f"{name}_conv")

    assert groups(m.build(branch("left"), branch("right"))).keys() == {"left", "right"}


def test_a_concat_with_a_constant_does_not_unify() -> None:
    joined = m.concat("joined", m.relu(m.image("a"), "x"), m.relu(m.image("b"), "y"), m.constant("c", 1, 2, 8, 8))
    assert groups(m.build(m.convolution(joined, "conv"))) == {}


@pytest.mark.parametrize("kind", ["LSTMSequence", "GRUSequence"])
def test_states_and_inputs_of_recurrent_layers_share_a_scale(kind: str) -> None:
    weights = {"cell/weights": {"inputs:0", "recurrence:0"}}
    assert groups(m.recurrent(kind, state_is_constant=False)) == {"cell": {"relu:0", "state:0"}} | weights
    assert groups(m.recurrent(kind)) == weights


@pytest.mark.parametrize(
    ("device", "expected"),
    [("NPU", {"sum": {"x:0", "y:0"}}), ("CPU", {})],
)
def test_npu_unifies_operands_of_arithmetic(device: str, expected: dict[str, set[str]]) -> None:
    total = m.add(m.relu(m.image("a"), "x"), m.relu(m.image("b"), "y"), "sum")
    assert groups(m.build(m.relu(total, "last")), target_device=device) == expected


def test_npu_unifies_operands_through_pass_through_operations() -> None:
    pooled = m.max_pool(m.relu(m.image("a"), "x"), "pool")
    total = m.add(pooled, m.relu(m.image("b", (1, 4, 7, 7)), "y"), "sum")
    model = m.build(m.relu(total, "last"))
    assert groups(model, target_device="NPU") == {"sum": {"x:0", "y:0"}}


def test_npu_leaves_the_operand_of_a_constant_alone() -> None:
    model = m.build(m.relu(m.bias(m.relu_image(), "sum"), "last"))
    assert groups(model, target_device="NPU") == {}


def test_chains_of_many_concats_stay_fast() -> None:
    joined = m.relu(m.image("start", (1, 1, 4, 4)), "start_relu")
    for index in range(400):
        joined = m.concat(f"concat{index}", joined, m.relu(m.image(f"in{index}", (1, 1, 4, 4)), f"relu{index}"))
    (members,) = groups(m.build(m.convolution(joined, "conv"))).values()
    assert len(members) == 401
