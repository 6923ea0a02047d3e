"""Bits and levels that a target device cannot have, before any model is read."""

from typing import Any

import pytest

from tasks.graph.devices import WIDE_DEVICES
from tasks.graph.presets import TensorOptions
from tasks.options import DEVICES, QuantizationOptions, contradictions


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
