"""Moments tell the error that columns tell, and merge."""

import numpy as np
import pytest

from tasks.numerics.moments import Array, Moments, best_bias, error, measure, merge

RNG = np.random.default_rng


def columns(groups: int = 2, count: int = 40, inputs: int = 5, outputs: int = 3, seed: int = 0) -> tuple[Array, ...]:
    rng = RNG(seed)
    mixed = rng.normal(size=(groups, count, inputs)) @ rng.normal(size=(groups, inputs, inputs)) + 7
    answers = mixed @ rng.normal(size=(groups, inputs, outputs)) - 3 + rng.normal(size=(groups, count, outputs))
    return mixed, answers, rng.uniform(0.5, 1, (groups, count))


def near(found: Moments, expected: Moments) -> None:
    for name, values in vars(found).items():
        assert values == pytest.approx(getattr(expected, name), rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize("weighted", [False, True])
def test_error_is_that_of_the_columns(*, weighted: bool) -> None:
    x, t, weights = columns()
    weights = weights if weighted else np.ones_like(weights)
    tried = RNG(1).normal(size=(2, 3, 5))
    bias = RNG(2).normal(size=(2, 3))
    missed = x @ np.swapaxes(tried, 1, 2) + bias[:, None] - t
    expected = (missed**2 * weights[:, :, None]).sum(axis=1) / weights.sum(axis=1)[:, None]
    moments = measure(x, t, weights)
    assert error(tried, moments, bias) == pytest.approx(expected)
    assert error(tried, moments, best_bias(tried, moments)) == pytest.approx(error(tried, moments))
    assert (error(tried, moments) <= expected).all()


def test_parts_merge_to_the_whole() -> None:
    x, t, weights = columns()
    parts = [measure(x[:, part], t[:, part], weights[:, part]) for part in (slice(7), slice(7, 8), slice(8, 40))]
    near(merge(parts), measure(x, t, weights))
    near(merge([merge(parts[:2]), parts[2]]), merge(parts))


def test_columns_that_do_not_count_change_nothing() -> None:
    x, t, weights = columns()
    weights[:, 20:] = 0
    weights[1] = 0
    found = measure(x, t, weights)
    near(Moments(*(each[:1] for each in vars(found).values())), measure(x[:1, :20], t[:1, :20], weights[:1, :20]))
    assert all(np.isfinite(each).all() for each in vars(found).values())
    assert merge([found, found]).count[1] == 0


def test_float32_is_enough_far_from_zero() -> None:
    x, t, weights = columns()
    exact = measure(x + 1000, t, weights)
    rough = measure((x + 1000).astype(np.float32), t.astype(np.float32), weights.astype(np.float32))
    assert rough.gram == pytest.approx(exact.gram, rel=1e-3, abs=1e-2)
