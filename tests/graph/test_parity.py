"""Placement against what POT did, case by case, on recorded models."""

import json
import math
from pathlib import Path
from typing import Any

import openvino as ov
import pytest

from tasks.graph.placement import QuantizationPoint, QuantizerSetup, Role, place_quantizers
from tasks.graph.scope import IgnoredOperation, IgnoredScope
from tasks.graph.traversal import find_output, nodes_by_name
from tasks.numerics.affine import Granularity, Mode, QuantizerConfig, count_levels

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
RECORDED: list[tuple[Path, dict[str, Any]]] = [
    (path.parent, case)
    for path in sorted(GOLDEN.glob("*/cases.json"))
    for case in json.loads(path.read_text())["cases"]
]


def overrides_configurations(params: dict[str, Any]) -> bool:
    """Whether a configuration of the user's takes the place of the candidates."""
    return any({"bits", "mode"} & set(params.get(section, {})) for section in ("weights", "activations"))


CASES = [pytest.param(folder, case, id=f"{folder.name}-{case['id']}") for folder, case in RECORDED]
PRESET_CASES = [
    pytest.param(folder, case, id=f"{folder.name}-{case['id']}")
    for folder, case in RECORDED
    if not overrides_configurations(case["params"])
]
pytestmark = pytest.mark.skipif(not CASES, reason="no recorded cases beside the repository")


def ignored_scope(spec: dict[str, Any]) -> IgnoredScope:
    def plain(value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    return IgnoredScope(
        scope=tuple(spec.get("scope", ())),
        operations=tuple(
            IgnoredOperation(
                each["type"], tuple((name, plain(value)) for name, value in each.get("attributes", {}).items())
            )
            for each in spec.get("operations", ())
        ),
    )


def place(folder: Path, params: dict[str, Any]) -> tuple[ov.Model, QuantizerSetup]:
    model = ov.Core().read_model(folder / "model.xml")
    setup = place_quantizers(
        model,
        target_device=params.get("target_device", "ANY"),
        model_type=params.get("model_type"),
        ignored=ignored_scope(params.get("ignored", {})),
    )
    return model, setup


def key(role: str, source: str, consumers: list[str] | tuple[str, ...]) -> tuple[str, str, tuple[str, ...]]:
    """Weights by their consumers only: constants had other names when the cases were recorded."""
    return role, "constant" if role == "weights" else source, tuple(sorted(consumers))


@pytest.mark.parametrize(("folder", "case"), CASES)
def test_same_tensors_and_consumers_as_pot(folder: Path, case: dict[str, Any]) -> None:
    _, setup = place(folder, case["params"])
    expected = {
        key(each["group"], f"{each['source']}:{each['source_port']}", each["consumers"])
        for each in case["fake_quantize"]
    }
    assert {key(point.role, point.tensor, point.consumers) for point in setup.points} == expected


@pytest.mark.parametrize(("folder", "case"), PRESET_CASES)
def test_a_preset_chooses_the_configuration_of_pot(folder: Path, case: dict[str, Any]) -> None:
    model, setup = place(folder, case["params"])
    nodes = nodes_by_name(model)
    recorded = {
        key(each["group"], f"{each['source']}:{each['source_port']}", each["consumers"]): each
        for each in case["fake_quantize"]
    }
    for point in setup.points:
        expected = recorded[key(point.role, point.tensor, point.consumers)]
        config = choose(point, case["params"].get("preset", "performance"))
        assert count_levels(config, weights=point.role == Role.WEIGHTS) == expected["levels"], point.name
        assert scale_count(nodes, point, config) == len(expected["input_low"]["values"]), point.name
        # Ranges of a group were joined after the mode had been applied: their limits do not show it.
        if point.group is None and (mode := recorded_mode(point.role, expected)) is not None:
            assert config.mode == mode, point.name


def choose(point: QuantizationPoint, preset: str) -> QuantizerConfig:
    takes_last = preset == "accuracy" or (preset == "mixed" and point.role == Role.ACTIVATIONS)
    return point.candidates[-1 if takes_last else 0]


def scale_count(nodes: dict[str, ov.Node], point: QuantizationPoint, config: QuantizerConfig) -> int:
    if config.granularity == Granularity.PERTENSOR:
        return 1
    shape = find_output(nodes, point.tensor).get_shape()
    return math.prod(shape[axis] for axis in point.channel_axes)


def recorded_mode(role: str, expected: dict[str, Any]) -> Mode | None:
    """The mode that levels or limits show; None where both modes could have led to these limits."""
    if role == "weights":
        return Mode.SYMMETRIC if expected["levels"] == 255 else Mode.ASYMMETRIC
    if expected["input_low"]["shape"] == []:
        return Mode.SYMMETRIC
    lows, highs = (expected[f"input_{end}"]["values"] for end in ("low", "high"))
    as_symmetric = (
        low == 0 or math.isclose(low, -high * 128 / 127, rel_tol=1e-4) for low, high in zip(lows, highs, strict=True)
    )
    return None if all(as_symmetric) else Mode.ASYMMETRIC


def test_recorded_cases_cover_devices_model_types_and_ignored_scopes() -> None:
    params = [case["params"] for _, case in RECORDED]
    assert {each.get("target_device", "ANY") for each in params} >= {"ANY", "GPU", "CPU_SPR"}
    assert any("model_type" in each for each in params)
    assert sum("ignored" in each for each in params) >= 3
