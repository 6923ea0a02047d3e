"""What it costs to leave operations float: products are counted as the loops of each operation are."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.graph.costs import _products, float_costs
from tasks.graph.operations import read_operations
from tests.support import models as m


def weights(*shape: int) -> ov.Node:
    return ops.constant(np.ones(shape, np.float32))


def x(*shape: int) -> ov.Node:
    return ops.parameter(shape, np.float32)


PLAIN = [1, 1], [0, 0], [0, 0], [1, 1]
# An operation, and what its loops multiply: outputs (of a transposed convolution inputs) times what each meets.
COUNTED = {
    "convolution": (ops.convolution(x(1, 3, 8, 8), weights(5, 3, 3, 3), *PLAIN), 5 * 6 * 6 * 3 * 9),
    "grouped": (ops.group_convolution(x(1, 4, 8, 8), weights(2, 3, 2, 3, 3), *PLAIN), 6 * 6 * 6 * 2 * 9),
    "transposed": (ops.convolution_backprop_data(x(1, 3, 4, 4), weights(3, 5, 2, 2), [2, 2]), 3 * 16 * 5 * 4),
    "matrix": (ops.matmul(x(2, 7, 16), weights(16, 9), False, False), 2 * 7 * 9 * 16),
    "transposed matrix": (ops.matmul(x(2, 16, 7), weights(16, 9), True, False), 2 * 7 * 9 * 16),
    "free batch": (ops.matmul(x(-1, 16), weights(9, 16), False, True), 9 * 16),
    "sum": (ops.add(x(2, 3), x(2, 3)), 0),
    "sequence": (
        ops.gru_sequence(
            x(1, 7, 3),
            x(1, 1, 4),
            ops.constant([7]),
            weights(1, 12, 3),
            weights(1, 12, 4),
            weights(1, 12),
            4,
            "forward",
        ),
        7 * (12 * 3 + 12 * 4 + 12 + 1),
    ),
}


@pytest.mark.parametrize("kind", COUNTED)
def test_products(kind: str) -> None:
    node, expected = COUNTED[kind]
    parameters = [each.get_node() for each in node.input_values() if each.get_node().get_type_name() == "Parameter"]
    operations = read_operations(ov.Model(node.outputs(), parameters))
    [found] = [each for each in operations if each.name == node.get_friendly_name()]
    assert _products(found) == expected


def test_all_layers_in_float_cost_no_more_than_the_three_times_that_int8_saves() -> None:
    costs = float_costs(m.convnet())
    assert all(0 <= cost < 3 for cost in costs.values())
    assert 0 < sum(costs.values()) < 3
    assert max(costs, key=lambda name: costs[name]) in {"conv", "stem", "outer", "classifier", "branch"}


def test_a_larger_layer_costs_more() -> None:
    narrow, wide = (
        float_costs(
            ov.Model(
                [
                    ops.matmul(
                        ops.matmul(data, weights(16, width), False, False, name="mine"),
                        weights(width, 16),
                        False,
                        False,
                    )
                ],
                [data],
            )
        )["mine"]
        for width in (64, 4096)
        for data in [ops.parameter([64, 16], np.float32)]
    )
    assert wide > narrow
