"""Guesses are told from answers of models, be the samples few or the model poor."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.numerics.guessing import _at_most, chance_level

Labels = NDArray[np.int64]


def answers_of(labels: Labels, classes: int, skill: float, random: np.random.Generator) -> Labels:
    """The right class with the probability ``skill``, any class else."""
    knows = random.random(len(labels)) < skill
    return np.where(knows, labels, random.integers(0, classes, len(labels)))


def share_told(classes: int, count: int, skill: float, trials: int = 300) -> float:
    """The share of data sets on which the answers are taken for guesses."""
    random = np.random.default_rng([classes, count])
    told = 0
    for _ in range(trials):
        labels = random.integers(0, classes, count)
        told += chance_level(answers_of(labels, classes, skill, random), labels, classes) is not None
    return told / trials


@pytest.mark.parametrize(
    ("right", "count", "probability"), [(0, 20, 0.1), (3, 20, 0.1), (20, 20, 0.5), (250, 1000, 0.3)]
)
def test_the_tail_is_that_of_the_binomial_distribution(right: int, count: int, probability: float) -> None:
    exact = math.fsum(math.comb(count, k) * probability**k * (1 - probability) ** (count - k) for k in range(right + 1))
    assert _at_most(right, count, probability) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("classes", "count"), [(2, 150), (10, 60), (10, 360), (1000, 25), (1000, 250), (1000, 5000)])
def test_guesses_are_told(classes: int, count: int) -> None:
    assert share_told(classes, count, skill=0) > 0.8


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13, 21, 34, 150])
@pytest.mark.parametrize(("classes", "skill"), [(2, 0.7), (2, 0.9), (10, 0.7), (10, 0.99), (1000, 0.5), (1000, 0.8)])
def test_a_fine_model_is_never_told_however_few_the_samples(classes: int, skill: float, count: int) -> None:
    assert share_told(classes, count, skill) < 0.005


@pytest.mark.parametrize(("classes", "count", "skill"), [(1000, 1000, 0.03), (10, 1000, 0.15), (2, 2000, 0.15)])
def test_a_poor_model_is_told_from_guesses_by_many_samples(classes: int, count: int, skill: float) -> None:
    assert share_told(classes, count, skill) < 0.01


def test_a_constant_answer_is_a_guess_however_common_its_class() -> None:
    labels = np.array([0] * 900 + [1] * 100)
    assert chance_level(np.zeros(1000, np.int64), labels, 2) == pytest.approx(0.9)
    random = np.random.default_rng(0)
    assert chance_level(answers_of(labels, 2, 0.8, random), labels, 2) is None
    # With so few samples of the rare class nothing can be said, and with one class there is nothing to say.
    assert chance_level(np.zeros(105, np.int64), labels[-105:] * 0 + np.eye(105, dtype=np.int64)[0], 2) is None
    assert chance_level(np.zeros(500, np.int64), np.zeros(500, np.int64), 10) is None


def test_answers_that_are_always_wrong_are_told_as_well() -> None:
    labels = np.arange(100) % 10
    assert chance_level((labels + 1) % 10, labels, 10) == pytest.approx(0.1)
