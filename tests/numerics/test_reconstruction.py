"""Codes, scales and biases solved for from moments, against brute force and against what there was before."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.numerics import reconstruction
from tasks.numerics.descent import Grid, descend, descend_by_pairs
from tasks.numerics.moments import Array, Moments, best_bias, error, measure, merge
from tasks.numerics.reconstruction import (
    DAMPINGS,
    FACTORS,
    Reconstruction,
    choose_damping,
    compensate,
    damped,
    fit_scales,
    reconstruct,
    root_of,
    round_in_turn,
    search_scales,
)


def problem(
    groups: int = 1, inputs: int = 6, outputs: int = 4, seed: int = 0, noise: float = 0.0, count: int = 200
) -> tuple[Array, list[Moments]]:
    """Float weights, and the moments of four folds of correlated inputs with errors of their own."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(groups, outputs, inputs))
    mixing = np.eye(inputs) + 0.5 * rng.normal(size=(groups, inputs, inputs))
    folds = []
    for _ in range(4):
        x = rng.normal(size=(groups, count, inputs)) @ mixing + 1
        got = x + noise * (rng.normal(size=x.shape) + 0.5 * x[:, :, ::-1])
        folds.append(measure(got, x @ np.swapaxes(weights, 1, 2), np.ones(x.shape[:2])))
    return weights, folds


def grid_for(weights: Array, bits: int = 4, *, shared: bool = False, zero_point: float = 0.0) -> Grid:
    high = 2 ** (bits - 1) - 1
    largest = np.abs(weights).max(axis=2)
    scale = np.full_like(largest, largest.max()) if shared else largest
    return Grid(-high, high, scale / max(high - abs(zero_point), 1), np.full_like(scale, zero_point), shared)


def tuned(weights: Array, folds: list[Moments], grid: Grid, **options: bool) -> Reconstruction:
    nearest = grid.nearest(weights)
    bias = np.zeros(weights.shape[:2])
    return reconstruct(weights, grid.codes(nearest), grid, bias, folds, merge(folds), **options)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    bits=st.integers(2, 8),
    groups=st.sampled_from([1, 5]),
    shape=st.sampled_from([(1, 9), (7, 3), (4, 70)]),
    noise=st.sampled_from([0.0, 0.3]),
    shared=st.booleans(),
    zero_point=st.sampled_from([0.0, 1.0]),
)
def test_errors_never_rise_and_codes_stay_in_their_levels(
    seed: int, bits: int, groups: int, shape: tuple[int, int], noise: float, shared: bool, zero_point: float
) -> None:
    weights, folds = problem(groups, shape[1], shape[0], seed, noise)
    grid = grid_for(weights, bits, shared=shared, zero_point=zero_point if bits > 2 else 0.0)
    found = tuned(weights, folds, grid)
    assert found.after.sum() <= found.before.sum()
    if not shared:
        assert (found.after <= found.before).all()
    assert (found.codes == np.rint(found.codes)).all()
    assert grid.low <= found.codes.min() <= found.codes.max() <= grid.high
    assert (found.grid.scale > 0).all()
    assert len(np.unique(found.grid.scale)) == 1 or not shared
    # The errors told are those of what is returned.
    moments = merge(folds)
    assert found.after == pytest.approx(error(found.grid.values(found.codes), moments, found.bias), rel=1e-6, abs=1e-9)


def brute_force(weights: Array, moments: Moments, grid: Grid) -> Array:
    """The least error of every row over all codes."""
    inputs = weights.shape[2]
    tried = np.array(list(itertools.product(range(grid.low, grid.high + 1), repeat=inputs)), float)
    values = np.swapaxes(np.broadcast_to(tried[None, None], (*weights.shape[:2], *tried.shape)), 1, 2)
    rows = [error(grid.values(values[:, place]), moments) for place in range(len(tried))]
    return np.asarray(np.min(rows, axis=0))


def test_independent_inputs_reach_the_optimum_of_brute_force() -> None:
    weights, folds = problem(inputs=3, outputs=30)
    moments = merge(folds)
    alone = replace(moments, gram=moments.gram * np.eye(3), cross=weights @ (moments.gram * np.eye(3)))
    grid = grid_for(weights, 3)
    hessian = damped(alone.gram)
    found = descend(grid.nearest(weights * 0), hessian, weights @ hessian, grid, 20)
    energy = np.einsum("god,god->go", weights @ alone.gram, weights)
    alone = replace(alone, energy=energy)
    assert error(found, alone) == pytest.approx(brute_force(weights, alone, grid))


@pytest.mark.parametrize("bits", [2, 3])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_correlated_inputs_come_near_brute_force(bits: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Damping asks for something else than the least error on the samples.
    monkeypatch.setattr(reconstruction, "DAMPINGS", (0.01,))
    weights, folds = problem(inputs=4, outputs=60, seed=seed)
    moments, grid = merge(folds), grid_for(weights, bits)
    found = tuned(weights, folds, grid, tune_scales=False).after
    best = brute_force(weights, moments, grid)
    assert (found >= best * (1 - 1e-9)).all()
    assert np.isclose(found, best).mean() >= 0.7
    nearest = error(grid.nearest(weights), moments)
    assert (found - best).sum() < 0.5 * (nearest - best).sum()


def test_pairs_free_codes_that_hold_each_other() -> None:
    # Two inputs that are nearly the same: to move one code alone costs, to move both against each other gains.
    hessian = np.array([[[1.0, 0.95], [0.95, 1.0]]])
    grid = Grid(-3, 3, np.ones((1, 1)), np.zeros((1, 1)))
    target = np.array([[[1.6, -1.6]]])
    linear, stuck = target @ hessian, np.array([[[0.0, 0.0]]])

    def loss(tried: Array) -> float:
        return float(((tried - target) @ hessian @ np.swapaxes(tried - target, 1, 2)).item())

    assert (descend(stuck, hessian, linear, grid, 20) == stuck).all()
    freed = descend_by_pairs(stuck, hessian, linear, grid)
    assert loss(freed) < loss(stuck)
    assert freed.tolist() == [[[2.0, -2.0]]]


def test_descent_only_falls_and_stops_where_no_code_can_improve() -> None:
    weights, folds = problem(groups=3, inputs=20)
    grid, hessian = grid_for(weights, 3), damped(merge(folds).gram)
    linear = weights @ hessian

    def loss(tried: Array) -> float:
        return float(np.einsum("god,god->", tried @ hessian - 2 * linear, tried))

    losses = [loss(descend(grid.nearest(weights), hessian, linear, grid, passes)) for passes in range(6)]
    assert losses == sorted(losses, reverse=True)
    end = descend(grid.nearest(weights), hessian, linear, grid, 100)
    for place in range(20):
        for step in (-1, 1):
            moved = end.copy()
            moved[:, :, place] += step * grid.scale
            inside = grid.nearest(moved) == pytest.approx(moved)
            assert not inside or loss(moved) >= loss(end) - 1e-3 * abs(loss(end))


def test_rounding_in_turn_is_gptq_column_by_column() -> None:
    weights, folds = problem(inputs=130, outputs=3, count=400)
    grid, hessian = grid_for(weights), damped(merge(folds).gram)
    inverse = np.linalg.inv(hessian)
    upper = np.swapaxes(np.linalg.cholesky(inverse), 1, 2)
    rest, expected = weights[0].copy(), np.empty_like(weights[0])
    for column in range(130):
        expected[:, column] = grid.nearest(rest[None, :, column])[0]
        missed = (rest[:, column] - expected[:, column]) / upper[0, column, column]
        rest[:, column:] -= missed[:, None] * upper[0, column, column:]
    assert round_in_turn(weights, root_of(hessian), grid)[0] == pytest.approx(expected)


def test_more_scales_are_never_worse() -> None:
    weights, folds = problem(groups=4)
    grid, hessian = grid_for(weights, 3), damped(merge(folds).gram)

    def loss(factors: tuple[float, ...]) -> Array:
        missed = search_scales(weights, hessian, grid, factors)[0] - weights
        return np.asarray(np.einsum("god,god->go", missed @ hessian, missed))

    assert (loss(FACTORS) <= loss((1.0,)) + 1e-12).all()
    assert loss(FACTORS).sum() < loss((1.0,)).sum()


def test_scales_that_fit_are_the_best_ones() -> None:
    weights, folds = problem()
    grid, hessian = grid_for(weights, 3), damped(merge(folds).gram)
    linear = weights @ hessian
    found, new = fit_scales(grid.nearest(weights), grid, hessian, linear)

    def loss(tried: Array) -> Array:
        return np.asarray(np.einsum("god,god->go", tried @ hessian - 2 * linear, tried))

    for factor in (0.99, 1.01):
        assert (loss(found) < loss(found * factor)).all()
    assert (new.codes(found) == grid.codes(grid.nearest(weights))).all()


def test_compensation_makes_up_for_errors_of_the_inputs() -> None:
    weights, folds = problem(noise=0.5)
    fitted = compensate(weights, merge(folds), folds)
    assert error(fitted, merge(folds)).sum() < 0.8 * error(weights, merge(folds)).sum()


def test_without_errors_of_the_inputs_there_is_nothing_to_compensate() -> None:
    weights, folds = problem()
    assert compensate(weights, merge(folds), folds) == pytest.approx(weights)


def test_few_samples_are_not_fitted_to() -> None:
    """As many columns as inputs: least squares would fit the noise of the samples."""
    weights, folds = problem(inputs=40, noise=0.3, count=12)
    _, fresh = problem(inputs=40, noise=0.3, count=5000)
    fitted = compensate(weights, merge(folds), folds)
    assert error(fitted, merge(fresh)).sum() <= 1.02 * error(weights, merge(fresh)).sum()


def test_rounding_relies_on_covariances_as_far_as_the_samples_tell_them() -> None:
    """With fewer columns than inputs rounding errors go where no column looks, and fresh ones find them."""
    weights, fresh = problem(inputs=40, outputs=20, count=5000)
    grid = grid_for(weights, 3)

    def cost(damping: Array, folds: list[Moments]) -> float:
        root = root_of(damped(merge(folds).gram, damping))
        missed = round_in_turn(weights, root, grid) - weights
        return float(np.sum((missed @ merge(fresh).gram) * missed))

    least = np.array([DAMPINGS[0]])
    assert choose_damping(weights, grid, fresh) == least
    few = problem(inputs=40, outputs=20, count=4)[1]
    found = choose_damping(weights, grid, few)
    assert found > least
    assert cost(found, few) < 0.9 * cost(least, few)


@pytest.mark.parametrize("groups", [1, 6])
def test_dead_inputs_keep_their_nearest_codes(groups: int) -> None:
    weights, folds = problem(groups, inputs=5)

    def dead(moments: Moments) -> Moments:
        gram, cross = moments.gram.copy(), moments.cross.copy()
        gram[:, 2], gram[:, :, 2], cross[:, :, 2] = 0, 0, 0
        gram[0], cross[0] = 0, 0
        return replace(moments, inputs=moments.inputs * 0, gram=gram, cross=cross)

    grid = grid_for(weights, 4)
    found = tuned(weights, [dead(each) for each in folds], grid, tune_scales=False)
    assert np.isfinite(found.bias).all()
    assert (found.codes[:, :, 2] == grid.codes(grid.nearest(weights))[:, :, 2]).all()
    assert (found.codes[0] == grid.codes(grid.nearest(weights))[0]).all()


def test_rows_and_groups_are_independent() -> None:
    weights, folds = problem(groups=3, outputs=4)
    grid = grid_for(weights)
    together = tuned(weights, folds, grid, tune_scales=False)
    for group in range(3):
        own = [Moments(*(each[group : group + 1] for each in vars(fold).values())) for fold in folds]
        part = Grid(grid.low, grid.high, grid.scale[group : group + 1], grid.zero_point[group : group + 1])
        alone = tuned(weights[group : group + 1], own, part, tune_scales=False)
        assert (alone.codes == together.codes[group : group + 1]).all()


def test_units_do_not_matter() -> None:
    weights, folds = problem(noise=0.2)
    grid = grid_for(weights)
    unit = 1024.0
    scaled = [replace(f, inputs=f.inputs * unit, gram=f.gram * unit**2, cross=f.cross * unit) for f in folds]
    small = replace(grid, scale=grid.scale / unit)
    first, second = tuned(weights, folds, grid), tuned(weights / unit, scaled, small)
    assert (first.codes == second.codes).all()
    assert first.grid.scale == pytest.approx(second.grid.scale * unit)
    assert first.bias == pytest.approx(second.bias)


@pytest.mark.parametrize("name", ["codes", "scales", "bias"])
def test_only_what_is_asked_for_changes(name: str) -> None:
    weights, folds = problem(noise=0.2)
    grid = grid_for(weights)
    asked = {f"tune_{each}": each == name for each in ("codes", "scales", "bias")}
    found = tuned(weights, folds, grid, **asked)
    assert (found.codes != grid.codes(grid.nearest(weights))).any() == (name == "codes")
    assert (found.grid.scale != grid.scale).any() == (name == "scales")
    assert found.bias.any() == (name == "bias")
    assert found.after.sum() < found.before.sum()


def test_the_bias_takes_the_mean_error() -> None:
    weights, folds = problem(noise=0.2)
    found = tuned(weights, folds, grid_for(weights))
    assert found.bias == pytest.approx(best_bias(found.grid.values(found.codes), merge(folds)))
