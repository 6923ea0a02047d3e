"""The ends of rows against numpy's sort."""

from math import prod

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.graph.ends import End, find_together

Array = NDArray[np.float32]

SHAPES = [
    ((1, 16, 7, 7), (1,)),  # short rows
    ((1, 6, 64, 64), (1,)),  # rows of more columns than one
    ((3, 5, 40), (1,)),  # rows that lie apart in memory
    ((2, 3, 33, 31), (0, 1)),  # samples and channels
    ((4, 6, 35), (0,)),  # samples
    ((1, 24, 56, 56), ()),  # one row
    ((1, 12289), ()),  # a prime number of values
    ((7,), ()),  # hardly any
]


def compiled(*ends: End) -> ov.CompiledModel:
    parameters = {end.source.get_node().get_friendly_name(): end.source.get_node() for end in ends}
    model = ov.Model([find_together(ends)], list(parameters.values()), "ends")
    return ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def expected(values: Array, axes: tuple[int, ...], count: int, *, largest: bool) -> Array:
    rows = prod(values.shape[axis] for axis in axes)
    ordered = np.sort(np.moveaxis(values, axes, range(len(axes))).reshape(rows, -1), axis=1)
    return ordered[:, -count:] if largest else ordered[:, :count]


@pytest.mark.parametrize("largest", [True, False], ids=["largest", "smallest"])
@pytest.mark.parametrize("count", [1, 3, 4, 7, 40])
@pytest.mark.parametrize(("shape", "axes"), SHAPES, ids=str)
def test_the_values_are_the_ends_of_the_sorted_rows(
    shape: tuple[int, ...], axes: tuple[int, ...], count: int, *, largest: bool
) -> None:
    end = End(ops.parameter(list(shape), np.float32).output(0), axes, count, largest)
    if end.length < count:
        pytest.skip("no row is as long")
    # Many are equal: which of them are taken makes no difference, how many does.
    values = np.random.default_rng(count).integers(-40, 40, shape).astype(np.float32)
    (found,) = compiled(end)([values]).values()
    np.testing.assert_array_equal(np.sort(found, axis=1), expected(values, axes, count, largest=largest))


@pytest.mark.parametrize(("shape", "axes"), SHAPES, ids=str)
def test_a_row_that_is_constant_but_for_its_end(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    end = End(ops.parameter(list(shape), np.float32).output(0), axes, 2, largest=True)
    values = np.zeros(shape, np.float32)
    values.reshape(-1)[-1] = 1
    (found,) = compiled(end)([values]).values()
    np.testing.assert_array_equal(np.sort(found, axis=1), expected(values, axes, 2, largest=True))


@pytest.mark.parametrize("features", [8, 64, 384])
def test_ends_of_a_mean_over_tokens(features: int) -> None:
    tokens = ops.parameter([1, 5, features], np.float32)
    model = ov.Model([find_together([End(ops.reduce_mean(tokens, np.array([1])).output(0), (), 2, True)])], [tokens])
    values = np.random.default_rng(0).standard_normal((1, 5, features), np.float32)
    found = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(values)[0]
    np.testing.assert_allclose(np.sort(found), np.sort(values.mean(axis=1))[:, -2:], rtol=1e-5)


@pytest.mark.parametrize("count", [2, 12])
def test_ends_that_are_found_together_are_those_found_alone(count: int) -> None:
    sources = [ops.parameter([1, 8, 40, 40], np.float32) for _ in range(3)]
    ends = [End(source.output(0), (), count, largest=True) for source in sources]
    generator = np.random.default_rng(0)
    values = [generator.standard_normal((1, 8, 40, 40), np.float32) for _ in ends]
    (together,) = compiled(*ends)(values).values()
    alone = [next(iter(compiled(end)([each]).values())) for end, each in zip(ends, values, strict=True)]
    np.testing.assert_array_equal(np.sort(together, axis=1), np.sort(np.concatenate(alone), axis=1))
