"""Bits and levels that a target device cannot have, before any model is read."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from tasks.config.options import DEVICES, QuantizationOptions, contradictions
from tasks.graph.devices import WIDE_DEVICES
from tasks.graph.presets import TensorOptions


def problems(device: DEVICES, **options: Any) -> list[tuple[str, str]]:
    return list(contradictions(QuantizationOptions(target_device=device, activations=TensorOptions(**options))))


@pytest.mark.parametrize("device", WIDE_DEVICES)
@pytest.mark.parametrize("bits", [2, 8, 16])
def test_gna_has_16_bits(device: DEVICES, bits: int) -> None:
    assert problems(device) == problems(device, bits=bits) == []


@pytest.mark.parametrize(
    ("device", "bits"), [("ANY", 16), ("NPU", 16), ("CPU", 9), ("GNA", 1), ("GNA", 12), ("GNA3", 32)]
)
def test_bits_that_a_device_lacks_are_errors_that_name_the_devices_which_have_more(device: DEVICES, bits: int) -> None:
    message = f"expected 2 to 8, or 16 on GNA, GNA3, GNA3.5; got {bits}"
    assert problems(device, bits=bits) == [("activations.bits", message)]


def test_levels_have_to_fit_the_bits_that_the_device_starts_from() -> None:
    assert problems("GNA", level_low=-1000, level_high=1000) == []
    ((key, text),) = problems("ANY", level_low=-1000, level_high=1000)
    assert (key, text) == ("activations.level_low", "2001 levels do not fit 8 bits, which have 256")


LOW, HIGH = "range_estimator.min", "range_estimator.max"


def estimator(low: dict[str, Any] | None = None, high: dict[str, Any] | None = None, preset: str = "default") -> Any:
    return {"range_estimator": {"preset": preset, "min": low or {}, "max": high or {}}}


CONTRADICTIONS = [
    pytest.param({"level_low": 5, "level_high": 2}, "level_low", "less than level_high 2", id="levels-upside-down"),
    pytest.param({"bits": 4, "level_high": 127}, "level_high", "do not fit 4 bits", id="levels-beyond-bits"),
    pytest.param({"level_low": 10, "level_high": 20}, "level_low", "0 or less", id="levels-above-zero"),
    pytest.param({"level_low": -20, "level_high": -10}, "level_high", "more than 0", id="levels-below-zero"),
    pytest.param({"level_low": 0, "level_high": 1}, "level_low", "at least 3 levels", id="two-levels"),
    pytest.param(estimator({"type": "quantile", "outlier_prob": 0.5}), f"{LOW}.outlier_prob", "between", id="half"),
    pytest.param(estimator({"type": "quantile", "outlier_prob": 0}), f"{LOW}.outlier_prob", "between", id="nothing"),
    pytest.param(estimator(None, {"type": "quantile"}), f"{HIGH}.outlier_prob", "needs it", id="quantile-without-one"),
    pytest.param(estimator(None, {"outlier_prob": 0.1}), f"{HIGH}.outlier_prob", "only quantiles", id="no-quantile"),
    pytest.param(estimator({"type": "abs_max"}), f"{LOW}.type", "magnitude", id="magnitude-below"),
    pytest.param(estimator({"type": "max"}), f"{LOW}.type", "not below", id="maximum-below"),
    pytest.param(estimator(None, {"type": "min"}), f"{HIGH}.type", "not below", id="minimum-above"),
    pytest.param(
        estimator({"type": "max"}, {"type": "quantile", "outlier_prob": 0.1}), f"{LOW}.type", "not below", id="crossed"
    ),
    pytest.param(estimator({"clipping_value": 0.5}), f"{LOW}.clipping_value", "holds zero", id="clipped-above-zero"),
    pytest.param(estimator(None, {"clipping_value": -1}), f"{HIGH}.clipping_value", "more than 0", id="clipped-below"),
    pytest.param(
        estimator(None, {"clipping_value": float("nan")}), f"{HIGH}.clipping_value", "finite", id="clipped-at-nan"
    ),
]


@pytest.mark.parametrize("section", ["weights", "activations"])
@pytest.mark.parametrize(("given", "key", "text"), CONTRADICTIONS)
def test_contradictions_are_named(section: str, given: dict[str, Any], key: str, text: str) -> None:
    options = TypeAdapter(QuantizationOptions).validate_python({section: given})
    [(found, message)] = contradictions(options)
    assert found == f"{section}.{key}"
    assert text in message


def test_weights_have_no_samples_to_aggregate() -> None:
    options = TypeAdapter(QuantizationOptions).validate_python({"weights": estimator(None, {"aggregator": "max"})})
    assert [key for key, _ in contradictions(options)] == [f"weights.{HIGH}.aggregator"]


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"level_low": 0, "level_high": 255}, id="unsigned"),
        pytest.param({"bits": 4, "level_low": -8, "level_high": 7}, id="all-levels-of-4-bits"),
        pytest.param(estimator(preset="quantile", high={"outlier_prob": 0.01}), id="probability-of-the-preset"),
        pytest.param(estimator({"clipping_value": 0}, {"clipping_value": 6}), id="clipped-like-relu6"),
        pytest.param(estimator({"type": "min"}, {"type": "abs_max"}), id="defaults-spelt-out"),
    ],
)
def test_what_does_not_contradict_itself(given: dict[str, Any]) -> None:
    for section in ("weights", "activations"):
        options = TypeAdapter(QuantizationOptions).validate_python({section: given})
        assert list(contradictions(options)) == []
