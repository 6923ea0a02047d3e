"""Statistics are kept per sample and per channel: what is decided afterwards infers no sample again."""

from pathlib import Path
from typing import Any

import pytest

from tasks.algorithms import calibration, inference
from tests.flows.conftest import RunFlow

# Whatever else a changed INT8 model needs, evaluation say, is kept short.
SHORT = (
    "evaluation.subset_size=2",
    "evaluation.analyze=false",
    "evaluation.page=false",
    "evaluation.speed_seconds=0",
    "quantization.gate_samples=0",
    "quantization.stat_subset_size=12",
)
# Each row a run: what one change of it would infer, the row would.
CHANGES = [
    "preset=mixed activations.range_estimator.max.aggregator=mean",
    "preset=accuracy activations.bits=4 activations.range_estimator.max.aggregator=max",
    "weights.bits=4 activations.range_estimator.max.aggregator=min",
    "weights.level_low=-64 weights.level_high=63 activations.range_estimator.max.aggregator=median",
    "activations.level_low=-64 activations.level_high=63 activations.range_estimator.max.aggregator=mean_no_outliers",
    "weights.mode=asymmetric activations.range_estimator.max.aggregator=median_no_outliers saturation_fix=all",
    "activations.mode=asymmetric activations.range_estimator.max.aggregator=hl_estimator saturation_fix=no",
    "weights.granularity=pertensor activations.range_estimator.min.aggregator=max saturation_fix=auto",
    "activations.granularity=perchannel activations.range_estimator.max.type=max threshold=2",
    "activations.range_estimator.max.clipping_value=0.5 target_device=CPU_SPR",
    "weights.range_estimator.preset=quantile bias_correction=false",
    "ignored.scope=[deep,{re:block/.*}] ignored.operations=[{type:MaxPool}]",
    "ignored.operations=[{type:Convolution,attributes:{pads_begin:[0,0]}},{type:MatMul}] model_type=transformer",
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
    # They were changes: they lead to other models.
    assert len(outcomes) == len(CHANGES)


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
