"""Statistics are kept per sample and per channel: what is decided afterwards infers no sample again."""

from pathlib import Path
from typing import Any

import pytest

from tasks.algorithms import calibration, inference
from tests.flows.conftest import RunFlow

# Whatever else a changed INT8 model needs, evaluation say, is kept short.
SHORT = ("evaluation.subset_size=2", "quantization.gate_samples=0", "quantization.stat_subset_size=12")
AGGREGATORS = ("mean", "max", "min", "median", "mean_no_outliers", "median_no_outliers", "hl_estimator")
CHANGES = [
    *(f"preset={name}" for name in ("mixed", "accuracy")),
    *(f"{role}.bits=4" for role in ("weights", "activations")),
    *(f"{role}.level_low=-64 {role}.level_high=63" for role in ("weights", "activations")),
    *(f"{role}.mode=asymmetric" for role in ("weights", "activations")),
    "weights.granularity=pertensor",
    "activations.granularity=perchannel",
    *(f"activations.range_estimator.max.aggregator={name}" for name in AGGREGATORS),
    "activations.range_estimator.min.aggregator=max",
    "activations.range_estimator.max.type=max",
    "activations.range_estimator.max.clipping_value=0.5",
    "weights.range_estimator.preset=quantile",
    *(f"saturation_fix={name}" for name in ("all", "no", "auto")),
    "ignored.scope=[deep,{re:block/.*}]",
    "ignored.operations=[{type:Convolution,attributes:{pads_begin:[0,0]}},{type:MatMul}]",
    "ignored.operations=[{type:MaxPool}]",
    "model_type=transformer",
    "target_device=CPU_SPR",
    "threshold=2",
    "bias_correction=false",
]


@pytest.fixture
def inferences(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples each pass over the calibration data inferred."""
    passes: list[int] = []

    def counting(*arguments: Any, **options: Any) -> int:
        passes.append(inference.infer(*arguments, **options))
        return passes[-1]

    monkeypatch.setattr(calibration, "infer", counting)
    return passes


def test_what_follows_the_statistics_infers_nothing(tmp_path: Path, run_flow: RunFlow, inferences: list[int]) -> None:
    run_flow(tmp_path / "home", *SHORT)
    assert sum(inferences) == 12
    outcomes = set()
    for change in CHANGES:
        inferences.clear()
        report = run_flow(tmp_path / "home", *SHORT, *(f"quantization.{each}" for each in change.split()))
        assert sum(inferences) == 0, change
        outcomes.add((report.metrics["int8"]["sqnr_db"], *report.quantizers.values(), *report.sizes["int8"].values()))
    # They were changes: most lead to other models.
    assert len(outcomes) > len(CHANGES) / 2


def test_quantiles_are_collected_in_the_same_pass_and_once(
    tmp_path: Path, run_flow: RunFlow, inferences: list[int]
) -> None:
    quantiles = "quantization.activations.range_estimator.preset=quantile"
    run_flow(tmp_path / "home", *SHORT, quantiles)
    assert sum(inferences) == 12
    for change in ("preset=mixed", "preset=accuracy", "activations.bits=6", "weights.bits=4", "saturation_fix=all"):
        inferences.clear()
        run_flow(tmp_path / "home", *SHORT, quantiles, f"quantization.{change}")
        assert sum(inferences) == 0, change
