"""Limits of every FakeQuantize against what POT chose, case by case, on recorded models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray

from tasks.algorithms.calibration import collect_statistics, compile_statistics
from tasks.algorithms.ranges import Parameters, estimate_parameters
from tasks.data.subset import select
from tasks.graph.naming import input_name
from tasks.graph.placement import QuantizerSetup, Role, place_quantizers, tapped_tensors
from tasks.graph.presets import Preset
from tasks.graph.saturation import SaturationFix, halved_operations
from tasks.numerics.affine import FakeQuantizeParameters

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
# What this version does not do yet: other parameters, and channel alignment, which changes two layers of `mobile`.
PARAMETERS = {"preset", "stat_subset_size", "shuffle_data", "seed", "saturation_fix", "target_device", "use_fast_bias"}
ALIGNED = {"linear_a:1", "linear_b:0", "linear_b:1", "leaky:0", "upsample:0"}

RECORDED: list[tuple[Path, dict[str, Any]]] = [
    (path.parent, case)
    for path in sorted(GOLDEN.glob("*/cases.json"))
    for case in json.loads(path.read_text())["cases"]
    if set(case["params"]) <= PARAMETERS
]
CASES = [pytest.param(folder, case, id=f"{folder.name}-{case['id']}") for folder, case in RECORDED]
pytestmark = pytest.mark.skipif(not CASES, reason="no recorded cases beside the repository")


def quantize(folder: Path, params: dict[str, Any]) -> tuple[QuantizerSetup, Parameters]:
    model = ov.Core().read_model(folder / "model.xml")
    device = params.get("target_device", "ANY")
    setup = place_quantizers(model, target_device=device)
    samples = np.load(folder / "calibration.npz")["x"]
    chosen = select(
        len(samples), params.get("stat_subset_size"), params.get("shuffle_data", False), params.get("seed", 0)
    )
    compiled = compile_statistics(model, tapped_tensors(model, setup, target_device=device))
    name = input_name(model.inputs[0])
    statistics = collect_statistics(compiled, ({name: samples[index]} for index in chosen), lambda: None)
    halved = halved_operations(model, SaturationFix(params.get("saturation_fix", "first_layer")), device)
    preset = Preset(params.get("preset", "performance"))
    return setup, estimate_parameters(model, setup, statistics, preset, halved)


@pytest.mark.parametrize(("folder", "case"), CASES)
def test_same_limits_as_pot(folder: Path, case: dict[str, Any]) -> None:
    setup, parameters = quantize(folder, case["params"])
    recorded = {(each["group"], tuple(sorted(each["consumers"]))): each for each in case["fake_quantize"]}
    grouped = {point.group for point in setup.points if point.group}
    compared = 0
    for point in setup.points:
        expected = recorded[point.role, point.consumers]
        if ALIGNED & set(point.consumers):
            continue
        limits = parameters[point.name]
        assert limits.levels == expected["levels"], point.name
        # POT united the ranges of a group without putting zero back on a level: the difference is below one level.
        tolerance = 1 / limits.levels if point.group in grouped else 0.0
        assert_close(limits, expected, tolerance, point.name)
        compared += 1
    assert compared >= len(setup.points) - len(ALIGNED)


def assert_close(limits: FakeQuantizeParameters, expected: dict[str, Any], tolerance: float, name: str) -> None:
    """Compare what codes stand for: POT halved a constant where we doubled the range, which is the same."""
    low, high = flat(expected["output_low"]), flat(expected["output_high"])
    span = float(np.max(high - low))
    for ours, theirs in ((limits.output_low, low), (limits.output_high, high)):
        spread = np.broadcast_to(ours, theirs.shape)
        np.testing.assert_allclose(spread, theirs, rtol=1e-4, atol=max(1e-6, tolerance) * span, err_msg=name)


def flat(limit: dict[str, Any]) -> NDArray[np.float64]:
    return np.asarray(limit["values"], dtype=np.float64).reshape(-1)
