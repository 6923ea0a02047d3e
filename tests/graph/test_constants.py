"""The values of constant tensors, whatever operations lead to them: OpenVINO's own results are the oracle."""

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.algorithms.ranges import estimate_parameters
from tasks.errors import InputError
from tasks.graph.constants import constant_value
from tasks.graph.edits import insert_quantizers
from tasks.graph.naming import name_nodes
from tasks.graph.placement import place_quantizers
from tasks.graph.presets import Scheme
from tasks.graph.traversal import is_constant
from tasks.numerics.statistics import TensorStatistic
from tests.support.constant_operations import BUILT, COMPUTED, LEFT_OUT, built, factories

F32 = {"INFERENCE_PRECISION_HINT": "f32"}
# What OpenVINO (2026.4) does not run on a CPU when all inputs are constants, in the float model either.
NEVER_RUN = frozenset(
    {"adaptive_max_pool", "generate_proposals", "matrix_nms", "multiclass_nms", "nms_rotated", "non_max_suppression"}
)
ALL = [pytest.param(name, make, id=f"{name}-{opset}") for name, opset, make in built()]


def test_every_operation_is_built_or_left_out_for_a_reason() -> None:
    assert factories().keys() == BUILT.keys() | LEFT_OUT.keys()
    assert not BUILT.keys() & LEFT_OUT.keys()


def _inferred(node: ov.Node) -> list[np.ndarray]:
    """What OpenVINO infers for the outputs of an operation on constants, beside an input, in float32 where real."""
    x = ops.parameter([1], np.float32)
    outputs = [
        ops.convert(output, "f32").output(0) if output.get_element_type().is_real() else output
        for output in node.outputs()
    ]
    compiled = ov.Core().compile_model(ov.Model([*outputs, ops.abs(x).output(0)], [x]), "CPU", F32)
    found = compiled([np.ones(1, np.float32)])
    return [np.array(found[place]) for place in range(len(outputs))]


@pytest.mark.parametrize(("name", "make"), ALL)
def test_a_constant_is_what_openvino_computes(name: str, make: Callable[[], ov.Node]) -> None:
    node = make()
    if name in COMPUTED:
        assert not is_constant(node.output(0))
        with pytest.raises(ValueError, match="is not constant"):
            constant_value(node.output(0))
    elif name in NEVER_RUN:
        with pytest.raises(RuntimeError):
            _inferred(node)
        with pytest.raises(InputError, match=f"cannot compute the constant {node.get_type_name()}"):
            constant_value(node.output(0))
    else:
        for output, expected in zip(node.outputs(), _inferred(node), strict=True):
            assert is_constant(output)
            np.testing.assert_allclose(constant_value(output), expected, rtol=1e-4, atol=1e-5)


NOT_COMPARED = {
    "fake_quantize": "such a model is refused",
    "multinomial": "random",
    "random_uniform": "random",
    "read_value": "a state has to be written as well",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make"), [each for each in ALL if each.values[0] not in NEVER_RUN | NOT_COMPARED.keys()]
)
def test_what_reads_a_constant_branch_is_quantized(name: str, make: Callable[[], ov.Node]) -> None:
    branch = ops.convert(make().output(0), "f32")
    shape = branch.output(0).get_partial_shape()
    if shape.is_dynamic:
        pytest.skip("a constant of unknown shape")
    x = ops.parameter(list(shape.to_shape()), np.float32)
    model = ov.Model([ops.relu(ops.add(x, branch))], [x], name)
    name_nodes(model)
    setup = place_quantizers(model)
    channels = [*shape.to_shape(), 1, 1][1]
    seen = np.full((1, channels), 2, np.float32)
    statistics = {point.tensor: TensorStatistic(-seen, seen) for point in setup.points}
    quantized = model.clone()
    insert_quantizers(quantized, setup.points, estimate_parameters(model, setup, statistics, Scheme(), frozenset()))
    sample = np.linspace(-1, 1, int(np.prod(shape.to_shape()))).reshape(shape.to_shape()).astype(np.float32)
    before, after = (ov.Core().compile_model(each, "CPU", F32)([sample])[0] for each in (model, quantized))
    assert np.abs(after - before).max(initial=0) <= 0.02 * max(1.0, float(np.abs(before).max(initial=0)))


def test_the_value_outlives_what_computed_it() -> None:
    q = ops.constant(np.random.default_rng(0).standard_normal((1, 2, 4, 8)).astype(np.float32))
    found = constant_value(ops.scaled_dot_product_attention(q, q, q).output(0))
    kept = found.copy()
    for _ in range(3):
        constant_value(
            ops.scaled_dot_product_attention(q, q, ops.constant(np.zeros((1, 2, 4, 8), np.float32))).output(0)
        )
    np.testing.assert_array_equal(found, kept)


@pytest.mark.parametrize("kind", ["bf16", "f16", "f64", "f8e4m3", "f8e5m2"])
def test_real_numbers_of_any_kind_are_read_behind_an_operation(kind: str) -> None:
    values = np.array([[0.5, -1.25], [0.0, 3.0]], np.float32)  # which all of them hold
    found = constant_value(ops.transpose(ops.convert(ops.constant(values), kind), ops.constant([1, 0])).output(0))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.T)
