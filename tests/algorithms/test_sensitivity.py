"""What the quantizers of each layer cost, against models in which that layer is float; which layers to leave float."""

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.algorithms.evaluation import collect_outputs
from tasks.algorithms.inference import Sample
from tasks.algorithms.ranges import Parameters, estimate_parameters
from tasks.algorithms.sensitivity import Sensitivity, choose_float, find_sensitivities
from tasks.graph.edits import insert_quantizers
from tasks.graph.float_units import FloatUnit
from tasks.graph.placement import QuantizerSetup, place_quantizers
from tasks.graph.presets import Scheme
from tests.support.observe import observe

LAYERS = ("plain", "coarse", "last")


def layers() -> ov.Model:
    """Three layers; the weights of ``coarse`` have an outlier in each row, so that 8 bits keep little of the rest."""
    rng = np.random.default_rng(0)
    value = data = ops.parameter([1, 16], np.float32, name="data")
    for name in LAYERS:
        weights = rng.normal(size=(16, 16)).astype(np.float32)
        if name == "coarse":
            weights[:, 3] *= 300
        value = ops.tanh(ops.matmul(value, weights / 4, False, True, name=name))
        if name == "plain":
            small = np.ones((1, 16), np.float32)
            small[0, 3] = 0.001
            value = ops.multiply(value, small)
    return ov.Model([value], [data], "layers")


@pytest.fixture(scope="module")
def fitted() -> tuple[ov.Model, QuantizerSetup, Parameters, list[Sample]]:
    model = layers()
    setup = place_quantizers(model)
    values = np.random.default_rng(1).normal(size=(12, 1, 16)).astype(np.float32)
    samples: list[Sample] = [{"data": each[0]} for each in values]
    statistics = observe(model, tuple(sorted({point.tensor for point in setup.points})), samples)
    return model, setup, estimate_parameters(model, setup, statistics, Scheme(), frozenset()), samples


def error_without(fitted: tuple[ov.Model, QuantizerSetup, Parameters, list[Sample]], name: str) -> float:
    """The relative error of the output of the model that is quantized but for one layer."""
    model, setup, parameters, samples = fitted
    kept = tuple(point for point in setup.points if point.targets != (name,))
    quantized = model.clone()
    insert_quantizers(quantized, kept, parameters)
    (wanted,), (found,) = (
        tuple(collect_outputs(each, samples, lambda: None)[0].values()) for each in (model, quantized)
    )
    return float(np.square(wanted - found).sum() / np.square(wanted).sum())


def test_shares_are_those_of_models_in_which_the_layer_is_float(
    fitted: tuple[ov.Model, QuantizerSetup, Parameters, list[Sample]],
) -> None:
    found, sqnr_db = find_sensitivities(*fitted)
    whole = error_without(fitted, "none")
    assert sqnr_db == pytest.approx(-10 * np.log10(whole), abs=0.05)
    for each in found:
        (name,) = each.unit.names
        if name in LAYERS:
            assert each.shares == pytest.approx((1 - error_without(fitted, name) / whole,), abs=0.02)
    worst = max(found, key=lambda each: each.shares)
    assert worst.unit.names == ("coarse",)
    assert choose_float(found, sqnr_db).names[0] == "coarse"


def test_nothing_is_said_without_samples_or_of_outputs_without_energy(
    fitted: tuple[ov.Model, QuantizerSetup, Parameters, list[Sample]],
) -> None:
    model, setup, parameters, samples = fitted
    assert find_sensitivities(model, setup, parameters, []) == ((), np.inf)
    silent = [{"data": np.zeros(16, np.float32)} for _ in samples]
    assert find_sensitivities(model, setup, parameters, silent) == ((), np.inf)


def unit(name: str, *shares: float, cost: float = 0.0) -> Sensitivity:
    return Sensitivity(FloatUnit("MatMul", (name,)), shares, cost)


def test_layers_are_left_float_while_each_gains_enough_for_its_time() -> None:
    found = choose_float([unit("a", 0.4), unit("b", 0.3), unit("c", 0.1, cost=0.01), unit("d", 0.01)], 30.0)
    assert found.names == ("a", "b", "c")  # c is a third of what a and b leave, d a twentieth of the rest: 0.22 dB
    assert found.gain == pytest.approx(-10 * np.log10(0.2))
    assert found.cost == pytest.approx(0.01)
    assert choose_float([unit("a", 0.05)], 30.0).names == ()  # 0.22 dB
    assert choose_float([], 30.0).names == ()


def test_a_long_time_is_paid_only_for_a_poor_output() -> None:
    slow = unit("slow", 0.9, cost=0.2)
    assert choose_float([slow], 30.0).names == ()
    assert choose_float([slow], 12.0).names == ("slow",)
    assert choose_float([replace(slow, shares=(0.5,))], 12.0).names == ()  # 3 dB for 20 % of the time


def test_no_more_is_expected_than_single_layers_can_tell() -> None:
    found = choose_float([unit(f"{number}", 0.5) for number in range(30)], 30.0)
    assert found.gain <= 10 + 1e-9
    assert len(found.units) < 30


def test_no_output_is_given_up_for_another() -> None:
    assert choose_float([unit("a", 0.9, -9.0)], 30.0).names == ()
    assert choose_float([unit("a", 0.9, 0.0)], 30.0).names == ("a",)


def test_a_kind_and_one_of_its_layers_are_not_both_counted() -> None:
    kind = Sensitivity(FloatUnit("recurrent layers", ("a", "b")), (0.7,), 0.0)
    found = choose_float([kind, unit("a", 0.4), unit("b", 0.2), unit("c", 0.06)], 30.0)
    assert found.units == (kind.unit, FloatUnit("MatMul", ("c",)))
