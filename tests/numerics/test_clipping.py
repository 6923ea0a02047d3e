"""What limits cut off a mean, against the values themselves."""

import numpy as np
import openvino as ov
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.numerics.clipping import mean_excess
from tests.benchmarks.cases import DIGITS

Array = np.ndarray


def exact(values: Array, limit: Array | float) -> Array:
    """Values have the shape (samples, channels, count)."""
    return np.asarray(np.maximum(values - np.asarray(limit)[..., None], 0).mean(axis=(0, 2)))


def estimated(values: Array, limit: Array | float) -> Array:
    return mean_excess(values.max(axis=2), values.mean(axis=2), np.atleast_1d(limit), values.shape[2])


@given(st.integers(0, 99), st.integers(1, 50), st.floats(-3, 3))
def test_it_lies_between_what_the_largest_value_alone_and_all_values_would_exceed(
    seed: int, count: int, limit: float
) -> None:
    values = np.random.default_rng(seed).normal(size=(1, 4, count))
    found, over = estimated(values, limit), np.maximum(values.max(axis=(0, 2)) - limit, 0)
    assert (found[over == 0] == 0).all()
    assert (found >= over / count - 1e-12).all()
    assert (found <= over + 1e-12).all()


@given(st.integers(0, 99), st.floats(-1, 2), st.floats(0, 1))
def test_a_higher_limit_cuts_off_less(seed: int, limit: float, more: float) -> None:
    values = np.random.default_rng(seed).exponential(size=(2, 3, 16))
    assert (estimated(values, limit + more) <= estimated(values, limit) + 1e-12).all()


def test_single_values_and_constant_channels_are_exact() -> None:
    single = np.random.default_rng(0).normal(size=(5, 3, 1))
    constant = np.repeat(single, 7, axis=2)
    for values in (single, constant):
        np.testing.assert_allclose(estimated(values, 0.2), exact(values, 0.2), rtol=1e-12)


def test_each_channel_has_its_limit() -> None:
    values = np.random.default_rng(0).exponential(size=(4, 3, 9))
    limits = np.array([0.5, 1.0, 9.0])
    for channel, limit in enumerate(limits):
        alone = estimated(values[:, [channel]], limit)
        np.testing.assert_array_equal(estimated(values, limits)[[channel]], alone)


@pytest.mark.parametrize("limit", [0.25, 0.5, 0.75])
def test_activations_of_the_built_in_network(limit: float) -> None:
    model = DIGITS.model()
    outputs = [node.output(0) for node in model.get_ordered_ops() if node.get_type_name() in {"Relu", "Clamp"}]
    tapped = ov.Core().compile_model(
        ov.Model(outputs, model.get_parameters()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    samples = [list(tapped(sample).values()) for sample in DIGITS.samples(model, 40)]
    assert len(outputs) > 3
    for each in zip(*samples, strict=True):
        values = np.stack([value.reshape(value.shape[1], -1) for value in each]).astype(np.float64)
        top = limit * values.max(axis=(1, 2)).mean()
        found, true = estimated(values, top), exact(values, top)
        assert np.square(found - true).sum() < 0.3 * np.square(true).sum()
