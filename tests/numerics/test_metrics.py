"""Metrics against their definitions."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from tasks.numerics.metrics import agreement, cosine_similarity, expected_agreement, sqnr, top_k

Array = NDArray[np.float32]
shapes = arrays.array_shapes(min_dims=2, max_dims=3, max_side=5)
finite = st.floats(-1e4, 1e4, width=32)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Array, Array]:
    shape = draw(shapes)
    first, second = (draw(arrays.arrays(np.float32, shape, elements=finite)) for _ in range(2))
    return first, second


@st.composite
def classified(draw: st.DrawFn) -> tuple[Array, NDArray[np.int64], int]:
    """Scores with many ties."""
    samples, classes = draw(st.integers(1, 6)), draw(st.integers(2, 7))
    scores = draw(arrays.arrays(np.float32, (samples, classes), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))
    labels = draw(arrays.arrays(np.int64, samples, elements=st.integers(0, classes - 1)))
    return scores, labels, draw(st.integers(1, classes + 1))


@given(pairs())
def test_sqnr_is_the_ratio_of_powers_in_decibels(pair: tuple[Array, Array]) -> None:
    signal = math.fsum(float(value) ** 2 for value in pair[0].flat)
    noise = math.fsum((float(a) - float(b)) ** 2 for a, b in zip(pair[0].flat, pair[1].flat, strict=True))
    found = sqnr(*pair)
    if noise == 0:
        assert found == math.inf
    elif signal == 0:
        assert found == -math.inf
    else:
        assert found == pytest.approx(10 * math.log10(signal / noise), abs=1e-6)


def test_sqnr_of_large_float32_numbers_does_not_overflow() -> None:
    reference = np.full((2, 3), 1e30, np.float32)
    assert sqnr(reference, reference * np.float32(0.9)) == pytest.approx(20, abs=1e-3)


def test_sqnr_of_nan_is_nan() -> None:
    assert math.isnan(sqnr(np.ones((1, 2), np.float32), np.array([[1, np.nan]], np.float32)))


@given(pairs())
def test_cosine_is_the_mean_over_samples(pair: tuple[Array, Array]) -> None:
    expected = []
    for a, b in zip(*pair, strict=True):
        first, second = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
        norms = math.sqrt(first @ first) * math.sqrt(second @ second)
        alike = 1.0 if not first.any() and not second.any() else 0.0
        expected.append(float(first @ second) / norms if norms else alike)
    assert cosine_similarity(*pair) == pytest.approx(float(np.mean(expected)), abs=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param([[0, 0]], [[0, 0]], 1, id="both-zero"),
        pytest.param([[0, 0]], [[1, 0]], 0, id="one-zero"),
        pytest.param([[1, 0]], [[0, 0]], 0, id="other-zero"),
        pytest.param([[1, 0]], [[0, 5]], 0, id="orthogonal"),
        pytest.param([[1, 2]], [[-3, -6]], -1, id="opposite"),
        pytest.param([[0, 0], [1, 1]], [[0, 0], [2, 2]], 1, id="scaled"),
        pytest.param([[1, 0], [1, 0]], [[1, 0], [0, 1]], 0.5, id="mean"),
    ],
)
def test_cosine_of_known_vectors(first: list[list[float]], second: list[list[float]], expected: float) -> None:
    assert cosine_similarity(np.array(first, np.float32), np.array(second, np.float32)) == pytest.approx(expected)


def naive_top_k(scores: Array, labels: NDArray[np.int64], k: int) -> float:
    hits = 0
    for row, label in zip(scores, labels, strict=True):
        best = sorted(range(len(row)), key=lambda index: (-row[index], index))[:k]
        hits += int(label) in best
    return hits / len(labels)


@given(classified())
def test_top_k_is_that_of_a_sort_with_the_lower_class_first(case: tuple[Array, NDArray[np.int64], int]) -> None:
    assert top_k(*case) == pytest.approx(naive_top_k(*case))


@given(classified())
def test_top_1_is_that_of_argmax(case: tuple[Array, NDArray[np.int64], int]) -> None:
    scores, labels, _ = case
    assert top_k(scores, labels, 1) == pytest.approx(float((scores.argmax(axis=1) == labels).mean()))


@pytest.mark.parametrize("k", [1, 5])
def test_nan_is_never_right(k: int) -> None:
    assert top_k(np.full((3, 10), np.nan, np.float32), np.array([0, 4, 9]), k) == 0


def test_nan_of_another_class_counts_against_the_label() -> None:
    scores = np.array([[0.9, np.nan, 0.1]], np.float32)
    assert top_k(scores, np.array([0]), 1) == 0
    assert top_k(scores, np.array([0]), 2) == 1


def test_agreement_counts_equal_largest_classes() -> None:
    reference = np.array([[1, 2], [3, 1], [0, 5], [1, 0]], np.float32)
    quantized = np.array([[0, 9], [1, 2], [0, 1], [1, 0]], np.float32)
    assert agreement(reference, quantized) == 0.75


def test_agreement_is_counted_for_every_place_of_an_image_or_a_text() -> None:
    reference = np.zeros((1, 2, 2, 3), np.float32)
    quantized = reference.copy()
    quantized[0, 0, 0, 2] = 1
    assert agreement(reference, quantized) == 0.75


@pytest.mark.parametrize("width", [0.1, 0.5])
def test_expected_agreement_of_few_samples_tells_the_agreement_of_many(width: float) -> None:
    generator = np.random.default_rng(0)
    reference = generator.normal(size=(20_000, 10)).astype(np.float32)
    quantized = (reference + generator.normal(0, width, reference.shape)).astype(np.float32)
    wanted = agreement(reference, quantized)
    parts = [(reference[start : start + 200], quantized[start : start + 200]) for start in range(0, 20_000, 200)]
    expected = np.array([expected_agreement(*part) for part in parts])
    counted = np.array([agreement(*part) for part in parts])
    # Errors of other classes than the second take a share too, so that it is a little less in truth.
    assert 0 <= expected.mean() - wanted < 0.4 * (1 - wanted)
    assert expected.std() < 0.8 * counted.std()


def test_expected_agreement_falls_with_the_error_and_not_with_a_shift_of_all_classes() -> None:
    generator = np.random.default_rng(1)
    reference, noise = generator.normal(size=(2, 40, 5)).astype(np.float32)
    found = [expected_agreement(reference, reference + np.float32(width) * noise) for width in (0, 0.01, 0.1, 1)]
    assert found[0] == 1 and found == sorted(found, reverse=True) and found[-1] < 0.9
    shifted = reference.astype(np.float64) + 7
    assert expected_agreement(reference.astype(np.float64), shifted) == pytest.approx(1)
    assert np.isnan(expected_agreement(reference * np.float32(np.nan), reference))


@pytest.mark.parametrize("metric", [sqnr, cosine_similarity, agreement, expected_agreement])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_metrics_are_plain_numbers(metric: Callable[[Any, Any], float], dtype: Any) -> None:
    values = np.arange(6, dtype=dtype).reshape(2, 3)
    assert type(metric(values, values + dtype(1))) is float
