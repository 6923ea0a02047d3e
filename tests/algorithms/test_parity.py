"""Limits of every FakeQuantize against what POT chose, case by case, on recorded models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter

from tasks.algorithms import channel_alignment
from tasks.algorithms.inference import Sample
from tasks.algorithms.ranges import Parameters, estimate_parameters, wanted_quantiles
from tasks.data.subset import sample_indices
from tasks.graph.alignment import find_pairs
from tasks.graph.naming import input_name
from tasks.graph.placement import QuantizerSetup, observed_tensors, place_quantizers
from tasks.graph.presets import Preset, Scheme, TensorOptions
from tasks.graph.saturation import SaturationFix, halved_operations
from tasks.graph.scope import IgnoredOperation, IgnoredScope
from tasks.numerics.affine import FakeQuantizeParameters
from tasks.numerics.statistics import TensorStatistic
from tests.support.observe import observe

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"

# Where this project decided against POT: the reason, by case and by what the names of its points contain.
BETTER = {
    ("convnet-levels_weights", "/fq_weights_"): "128 levels from -64 to 63: POT put zero between two of them",
    (
        "attention-transformer_mixed",
        "_split/fq_input_0",
    ): "made symmetric, POT forgot the negative border and cut it off",
}

RECORDED: list[tuple[Path, dict[str, Any]]] = [
    (path.parent, case)
    for path in sorted(GOLDEN.glob("*/cases.json"))
    for case in json.loads(path.read_text())["cases"]
]
CASES = [pytest.param(folder, case, id=f"{folder.name}-{case['id']}") for folder, case in RECORDED]
pytestmark = pytest.mark.skipif(not CASES, reason="no recorded cases beside the repository")


def options(spec: dict[str, Any]) -> TensorOptions:
    return TypeAdapter(TensorOptions).validate_python(spec)


def ignored_scope(spec: dict[str, Any]) -> IgnoredScope:
    def plain(value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    operations = (
        IgnoredOperation(each["type"], tuple((name, plain(v)) for name, v in each.get("attributes", {}).items()))
        for each in spec.get("operations", ())
    )
    return IgnoredScope(scope=tuple(spec.get("scope", ())), operations=tuple(operations))


def read_samples(model: ov.Model, folder: Path, params: dict[str, Any]) -> list[Sample]:
    samples = np.load(folder / "calibration.npz")["x"]
    chosen = sample_indices(
        len(samples), params.get("stat_subset_size"), params.get("shuffle_data", False), params.get("seed", 0)
    )
    name = input_name(model.inputs[0])
    return [{name: samples[index]} for index in chosen]


def align(model: ov.Model, samples: list[Sample], **how: Any) -> dict[str, TensorStatistic]:
    """Align all pairs; the statistics of the tensors that changed, from those of the model as it was."""
    pairs = find_pairs(model)
    observed = observe(model, (), samples, {pair.tensor: channel_alignment.QUANTILES for pair in pairs}, **how)
    return channel_alignment.align(model, pairs, observed)


def quantize(folder: Path, params: dict[str, Any]) -> tuple[QuantizerSetup, Parameters]:
    model = ov.Core().read_model(folder / "model.xml")
    samples = read_samples(model, folder, params)
    in_place = params.get("inplace_statistics", False)
    consumers = frozenset(pair.consumer for pair in find_pairs(model))
    changed = align(model, samples, in_place=in_place) if consumers else {}
    device = params.get("target_device", "ANY")
    setup = place_quantizers(
        model,
        target_device=device,
        model_type=params.get("model_type"),
        ignored=ignored_scope(params.get("ignored", {})),
    )
    scheme = Scheme(
        Preset(params.get("preset", "performance")),
        options(params.get("weights", {})),
        options(params.get("activations", {})),
    )
    tensors = observed_tensors(model, setup, target_device=device)
    wanted = wanted_quantiles(setup, scheme)
    statistics = observe(model, tensors, samples, wanted, in_place=in_place)
    statistics |= {tensor: each for tensor, each in changed.items() if tensor not in wanted}
    fix = SaturationFix(params.get("saturation_fix", "first_layer"))
    halved = halved_operations(model, fix, device, aligned=consumers)
    return setup, estimate_parameters(model, setup, statistics, scheme, halved)


@pytest.mark.parametrize(("folder", "case"), CASES)
def test_same_limits_as_pot(folder: Path, case: dict[str, Any]) -> None:
    setup, parameters = quantize(folder, case["params"])
    recorded = {(each["group"], tuple(sorted(each["consumers"]))): each for each in case["fake_quantize"]}
    compared = 0
    for point in setup.points:
        expected = recorded[point.role, point.consumers]
        limits = parameters[point.name]
        assert limits.levels == expected["levels"], point.name
        if any(f"{folder.name}-{case['id']}" == where and part in point.name for where, part in BETTER):
            continue
        if point.group is None:
            assert_equal(limits, expected, point.name)
        else:
            assert_holds(limits, expected, point.name)
        compared += 1
    assert compared


def assert_equal(limits: FakeQuantizeParameters, expected: dict[str, Any], name: str) -> None:
    """Compare what codes stand for: POT halved a constant where we doubled the range, which is the same."""
    low, high = flat(expected["output_low"]), flat(expected["output_high"])
    tolerance = 1e-6 * float(np.max(high - low))
    for ours, theirs in ((limits.output_low, low), (limits.output_high, high)):
        spread = np.broadcast_to(ours, theirs.shape)
        np.testing.assert_allclose(spread, theirs, rtol=1e-4, atol=tolerance, err_msg=name)


def assert_holds(limits: FakeQuantizeParameters, expected: dict[str, Any], name: str) -> None:
    """POT united the ranges of a group without putting zero back on a level: ours hold its, hardly wider."""
    low, high = flat(expected["output_low"]), flat(expected["output_high"])
    assert limits.output_low <= low + 1e-6 and limits.output_high >= high - 1e-6, name
    assert float(limits.output_high[0] - limits.output_low[0]) <= 1.05 * float((high - low).item()), name
    zero = -limits.output_low / (limits.output_high - limits.output_low) * (limits.levels - 1)
    assert zero == pytest.approx(np.rint(zero), abs=1e-4), name


def flat(limit: dict[str, Any]) -> NDArray[np.float64]:
    return np.asarray(limit["values"], dtype=np.float64).reshape(-1)
