"""Layer-wise tuning in whole runs: judged, reported, cached group by group."""

from pathlib import Path
from typing import Any

import pytest

from tasks.algorithms import layerwise_tuning
from tasks.errors import InputError
from tasks.records import Report, Stage
from tests.flows.conftest import RunFlow

TUNED = (
    "quantization=w4a8",
    "quantization.use_layerwise_tuning=true",
    "quantization.layerwise_tuning.samples=40",
    "quantization.stat_subset_size=80",
    "evaluation.subset_size=60",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def stage(report: Report, name: str = "tune_layers") -> Stage:
    [found] = [each for each in report.stages if each.name == name]
    return found


def test_a_run_that_ends_early_continues_with_the_group_it_was_at(
    home: Path, run_flow: RunFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = layerwise_tuning.tune_layers, list[Any]()

    def third_fails(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments[2])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(layerwise_tuning, "tune_layers", third_fails)
        with pytest.raises(KeyboardInterrupt):
            run_flow(home, *TUNED)
    report = run_flow(home, *TUNED)
    groups = stage(report)
    assert groups.runs > 3
    assert groups.cached == 2
    assert stage(run_flow(home, *TUNED)).cached == groups.runs


def test_the_report_tells_the_error_of_every_layer_and_what_the_gate_decided(home: Path, run_flow: RunFlow) -> None:
    report = run_flow(home, *TUNED)
    assert len(report.tuned_layers) == report.quantizers["weights"]
    for layer in report.tuned_layers:
        assert 0 <= layer["after"] <= layer["before"]
    [decision] = [each for each in report.decisions if each.step == "tune_layers"]
    assert decision.before is not None
    assert decision.after is not None
    assert decision.kept == (decision.after >= decision.before)
    assert decision.kept
    untuned = run_flow(home, *TUNED, "quantization.use_layerwise_tuning=false")
    assert (report.metrics["int8"]["sqnr_db"] or 0) > (untuned.metrics["int8"]["sqnr_db"] or 0) + 3
    assert untuned.tuned_layers == ()


def test_layers_whose_turn_does_not_come_are_named(home: Path, run_flow: RunFlow) -> None:
    report = run_flow(
        home,
        *TUNED,
        "quantization.layerwise_tuning.seed=5",
        "quantization.layerwise_tuning.time_budget=1e-6",
        "quantization.layerwise_tuning.ignored.operations=[{type: MatMul}]",
    )
    [decision] = [each for each in report.decisions if each.step == "tune_layers"]
    reasons = {text.partition(": ")[2] for text in decision.skipped}
    assert reasons == {"ignored", "time_budget, 1e-06 s, was over"}
    assert len(report.tuned_layers) <= 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("parameters=[]", r"layerwise_tuning\.parameters: nothing to tune"),
        ("parameters=[weight]", r"layerwise_tuning\.parameters.*'weight'"),
        ("ignored.scope=[nothing]", r"layerwise_tuning\.ignored\.scope: the model has no operation 'nothing'"),
    ],
)
def test_bad_options_are_one_line(home: Path, run_flow: RunFlow, option: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_flow(home, *TUNED, f"quantization.layerwise_tuning.{option}")
