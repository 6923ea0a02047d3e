"""What is accepted in whole runs, and what the report says of it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from flows.calibration import calibrate
from flows.calibration.acceptance import Acceptance
from flows.calibration.steps import CalibrationSteps, Shards
from tasks.engine import speed_process
from tasks.records import Decision, Report
from tasks.steps.estimate_ranges import SaturationFix
from tests.flows.conftest import RunFlow
from tests.support import models as m


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def linear(tmp_path: Path) -> tuple[str, ...]:
    """Layers that follow each other directly, and data for them."""
    model = m.linear_layers("a", "b", "c", kernel=3)
    ov.save_model(model, tmp_path / "linear.xml", compress_to_fp16=False)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(20, 4, 8, 8)).astype(np.float32))
    data = [f"{role}=arrays" for role in ("dataset", "validation")]
    paths = [f"{role}.path='{tmp_path}/x.npy'" for role in ("dataset", "validation")]
    return (f"model.path='{tmp_path}/linear.xml'", *data, *paths)


def decision(report: Report, step: str) -> Decision:
    [found] = [each for each in report.decisions if each.step == step]
    return found


def test_every_step_is_judged_and_named(home: Path, run_flow: RunFlow, linear: tuple[str, ...]) -> None:
    report = run_flow(home, *linear, "quantization.channel_alignment=auto", "quantization.use_fast_bias=false")
    assert [each.step for each in report.decisions] == ["align_channels", "correct_biases", "correct_sequentially"]
    for each in report.decisions:
        assert each.before is not None
        assert each.after is not None
        assert each.kept == (each.after >= each.before)
        verdict = "kept" if each.kept else "dropped"
        assert any(note.startswith(f"{each.step} was {verdict}: output SQNR") for note in report.notes)
    # What one step left is what the next one starts from.
    first, second, third = report.decisions
    assert second.after is not None
    assert first.before is not None
    assert max(second.after, second.before or 0) == third.before


@pytest.mark.parametrize("better", [True, False])
def test_alignment_is_kept_where_it_is_better(
    home: Path, run_flow: RunFlow, linear: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, *, better: bool
) -> None:
    monkeypatch.setattr(Acceptance, "scores", lambda _acceptance, *_models: [20.0, 21.0 if better else 19.0])
    options = ("quantization.bias_correction=false", "quantization.channel_alignment")
    judged = run_flow(home, *linear, options[0], f"{options[1]}=auto")
    assert decision(judged, "align_channels").kept == better
    assert judged.metrics == run_flow(home, *linear, options[0], f"{options[1]}={str(better).lower()}").metrics
    assert judged.metrics != run_flow(home, *linear, options[0], f"{options[1]}={str(not better).lower()}").metrics


def test_aligned_tensors_whose_sketch_is_lost_are_observed_again(
    home: Path, tmp_path: Path, run_flow: RunFlow, linear: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the sketch of a tensor of rank 3 does not tell channels."""
    data: ov.Node = m.named(ops.parameter([1, 4, 16], ov.Type.f32), "image")
    for name in ("a", "b", "c"):
        weights = m.constant(f"{name}_weights", 4, 4, 3)
        data = m.bias(m.named(ops.convolution(data, weights, [1], [0], [0], [1]), name), f"{name}_bias")
    ov.save_model(m.build(m.relu(data, "end")), tmp_path / "linear.xml", compress_to_fp16=False)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(20, 4, 16)).astype(np.float32))
    observed: list[tuple[str, ...]] = []
    collect = CalibrationSteps.collect_statistics

    def spied(*arguments: Any) -> Shards:
        observed.append(tuple(each.tensor for each in arguments[3] if each.values))
        return collect(*arguments)

    monkeypatch.setattr(CalibrationSteps, "collect_statistics", spied)
    run_flow(home, *linear, "quantization.activations.range_estimator.preset=mse")
    assert len(observed) == 2
    assert set(observed[1]) == {"a_bias:0", "b_bias:0"}


def test_recipes_are_named_by_all_steps_that_set_them_apart(
    home: Path, run_flow: RunFlow, linear: tuple[str, ...]
) -> None:
    options = ("weights.granularity=pertensor", "cross_layer_equalization=auto", "channel_alignment=auto")
    report = run_flow(home, *linear, *(f"quantization.{option}" for option in options))
    steps = [each.step for each in report.decisions]
    assert steps[:3] == ["align_channels", "equalize_layers", "equalize_layers and align_channels"]


@pytest.mark.parametrize("granularity", ["pertensor", "perchannel"])
def test_layers_are_equalized_where_weights_share_a_scale(home: Path, run_flow: RunFlow, granularity: str) -> None:
    shared = f"quantization.weights.granularity={granularity}"
    option = "quantization.cross_layer_equalization"
    judged = run_flow(home, shared, f"{option}=auto")
    steps = [each.step for each in judged.decisions]
    assert ("equalize_layers" in steps) == (granularity == "pertensor")
    better = granularity == "pertensor" and decision(judged, "equalize_layers").kept
    assert judged.metrics == run_flow(home, shared, f"{option}={str(better).lower()}").metrics


@pytest.mark.parametrize("paid", [True, False])
def test_saturation_fix_by_the_cpu(
    home: Path, run_flow: RunFlow, monkeypatch: pytest.MonkeyPatch, *, paid: bool
) -> None:
    fix = SaturationFix.FIRST_LAYER if paid else SaturationFix.NO
    monkeypatch.setattr(calibrate, "resolve", lambda _fix, _steps: fix)
    report = run_flow(home, "quantization.saturation_fix=auto")
    [note] = [each for each in report.notes if each.startswith("saturation_fix: auto is")]
    assert f"auto is {fix}: " in note
    assert ("dB of output SQNR" in note) == paid
    explicit = run_flow(home, f"quantization.saturation_fix={fix}")
    assert not [each for each in explicit.notes if "saturation_fix" in each]


def test_without_correction_the_report_says_so(home: Path, run_flow: RunFlow) -> None:
    report = run_flow(home, "quantization.bias_correction=false")
    assert report.decisions == ()
    assert "biases were not corrected: quantization.bias_correction is false" in report.notes


def test_a_crash_while_speed_is_measured_costs_the_speed_alone(
    home: Path, run_flow: RunFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies = "import os, signal; os.kill(os.getpid(), signal.SIGFPE)"
    monkeypatch.setattr(speed_process, "COMMAND", (sys.executable, "-c", dies))
    report = run_flow(home, "evaluation.speed_seconds=0.1")
    assert "speed was not measured: the process was ended by SIGFPE" in report.notes
    assert "latency_ms" not in report.metrics["int8"]
    assert report.metrics["int8"]["sqnr_db"]


def test_without_a_gate_steps_are_kept_unseen(home: Path, run_flow: RunFlow) -> None:
    report = run_flow(home, "quantization.gate_samples=0")
    assert decision(report, "correct_biases") == Decision("correct_biases", kept=True, before=None, after=None)
    assert "correct_biases was kept unseen: there was nothing to judge it by" in report.notes


@pytest.fixture
def tokens(tmp_path: Path) -> tuple[str, ...]:
    """Products behind a feature that is far larger than the others, and data for them."""
    data = m.named(ops.parameter([1, 6, 8], ov.Type.f32), "tokens")
    sizes = np.array([1, 1, 60, 1, 1, 1, 1, 1], np.float32)
    large = m.named(ops.multiply(data, m.named(ops.constant(sizes.reshape(1, 1, 8)), "sizes")), "large")
    hidden = m.named(ops.sigmoid(m.matmul(large, "first", 8)), "hidden")
    ov.save_model(m.build(m.matmul(hidden, "second", 4)), tmp_path / "tokens.xml", compress_to_fp16=False)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(20, 6, 8)).astype(np.float32))
    paths = [f"{role}=arrays" for role in ("dataset", "validation")]
    return (f"model.path='{tmp_path}/tokens.xml'", *paths, f"dataset.path='{tmp_path}/x.npy'", "model_type=transformer")


def test_outliers_of_transformers_are_smoothed_where_that_is_better(
    home: Path, run_flow: RunFlow, tokens: tuple[str, ...]
) -> None:
    options = (*tokens[:-1], f"quantization.{tokens[-1]}")
    plain = run_flow(home, *options)
    judged = run_flow(home, *options, "quantization.smooth_quant=auto")
    kept = decision(judged, "smooth_activations")
    assert kept.kept and kept.before is not None and kept.after is not None
    assert kept.after > kept.before + 3
    always = run_flow(home, *options, "quantization.smooth_quant=true")
    assert always.metrics == judged.metrics
    assert [
        any("quantization.smooth_quant=auto tries it" in note for note in each.notes) for each in (plain, judged)
    ] == [
        True,
        False,
    ]
    assert (judged.metrics["int8"]["sqnr_db"] or 0) > (plain.metrics["int8"]["sqnr_db"] or 0)


def test_a_model_of_which_transformer_leaves_nothing_is_quantized_without(
    home: Path, run_flow: RunFlow, tmp_path: Path
) -> None:
    data = m.image("tokens", (1, 6, 8))
    total = m.add(m.relu(data, "left"), m.named(ops.sigmoid(data), "right"), "total")
    ov.save_model(m.build(m.relu(total, "end")), tmp_path / "sums.xml", compress_to_fp16=False)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(20, 6, 8)).astype(np.float32))
    paths = f"model.path='{tmp_path}/sums.xml'", f"dataset.path='{tmp_path}/x.npy'"
    data_options = [f"{role}=arrays" for role in ("dataset", "validation")]
    report = run_flow(home, *paths, *data_options, "quantization.model_type=auto")
    assert any(
        note.startswith("model_type: auto is null: model.path: 'sums' has no operation") for note in report.notes
    )
    assert report.quantizers["activations"]


@pytest.mark.parametrize("better", [True, False])
def test_the_model_type_transformer_is_tried(
    home: Path, run_flow: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, better: bool
) -> None:
    tokens = m.image("tokens", (1, 6, 8))
    left, right = m.matmul(tokens, "left", 8), m.matmul(tokens, "right", 8)
    weights = m.named(ops.softmax(m.named(ops.matmul(left, right, False, True), "scores"), -1), "weights")
    total = m.add(m.named(ops.matmul(weights, left, False, False), "context"), left, "total")
    ov.save_model(m.build(m.matmul(total, "last", 4)), tmp_path / "attention.xml", compress_to_fp16=False)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(20, 6, 8)).astype(np.float32))
    data = [f"{role}=arrays" for role in ("dataset", "validation")]
    paths = f"model.path='{tmp_path}/attention.xml'", f"dataset.path='{tmp_path}/x.npy'"
    options = (*paths, *data, "quantization.bias_correction=false")
    plain, transformer = (
        run_flow(home, *options, f"quantization.model_type={each}") for each in ("null", "transformer")
    )
    assert plain.float_operations != transformer.float_operations
    assert any("quantization=transformer may leave far less error" in note for note in plain.notes)
    assert not any("quantization=transformer may leave" in note for note in transformer.notes)
    monkeypatch.setattr(Acceptance, "scores", lambda _acceptance, *_models: [20.0, 21.0 if better else 19.0])
    judged = run_flow(home, *options, "quantization.model_type=auto")
    assert decision(judged, "model_type=transformer").kept == better
    expected = transformer if better else plain
    assert judged.metrics["int8"]["sqnr_db"] == expected.metrics["int8"]["sqnr_db"]
    assert judged.float_operations == expected.float_operations


def test_where_all_else_stays_quantized_there_is_no_model_type_to_try(
    home: Path, run_flow: RunFlow, linear: tuple[str, ...]
) -> None:
    plain, found = (run_flow(home, *linear, f"quantization.model_type={each}") for each in ("null", "auto"))
    assert found.metrics == plain.metrics
    assert [each.step for each in found.decisions] == [each.step for each in plain.decisions]
    assert any(note.startswith("model_type: auto is null") for note in found.notes)
    assert not any("attention" in note for note in plain.notes)


@pytest.mark.parametrize("asked", ["true", "auto"])
def test_where_no_product_reads_features_there_is_nothing_to_smooth(
    home: Path, run_flow: RunFlow, linear: tuple[str, ...], asked: str
) -> None:
    plain = run_flow(home, *linear, "quantization.model_type=transformer")
    smoothed = run_flow(home, *linear, "quantization.model_type=transformer", f"quantization.smooth_quant={asked}")
    assert smoothed.metrics == plain.metrics


def test_ranges_are_chosen_by_trial(home: Path, run_flow: RunFlow) -> None:
    key = "quantization.activations.range_estimator.preset"
    chosen, plain = (run_flow(home, f"{key}={preset}", "quantization.alternatives=auto") for preset in ("auto", "mse"))
    names = [stage.name for stage in chosen.stages]
    assert "choose_ranges" in names
    assert "choose_ranges" not in [stage.name for stage in plain.stages]
    for report in (chosen, plain):
        assert decision(report, "recipe of the default")
        assert decision(report, "ranges of all extremes")


def test_ranges_chosen_by_trial_give_way_to_those_of_the_default(
    home: Path, run_flow: RunFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Acceptance, "scores", lambda _acceptance, *_models: [20.0, 20.0])
    usual = run_flow(home)
    ranges = "quantization.activations.range_estimator.preset=auto"
    chosen = run_flow(home, ranges, "quantization.preset=mixed", "quantization.alternatives=auto")
    assert decision(chosen, "recipe of the default").kept
    assert chosen.metrics == usual.metrics


@pytest.mark.parametrize("whole", [True, False])
def test_biases_that_cost_are_tried_half_by_half(
    home: Path, run_flow: RunFlow, linear: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, *, whole: bool
) -> None:
    judged = iter([[20.0, 21.0 if whole else 19.0], [20.0, 19.0], [20.0, 21.0]])
    monkeypatch.setattr(Acceptance, "scores", lambda _acceptance, *models: next(judged) if models[1:] else [21.0])
    report = run_flow(home, *linear, "quantization.channel_alignment=false")
    kept = {each.step: each.kept for each in report.decisions}
    halves = {} if whole else {"correct_biases of the first half": False, "correct_biases of the second half": True}
    assert kept == {"correct_biases": whole} | halves


@pytest.mark.parametrize("gain", [2.0, 4.0])
def test_recurrent_layers_stay_float_where_that_is_better_by_far(
    home: Path, run_flow: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gain: float
) -> None:
    rng = np.random.default_rng(0)
    data, state = m.image("data", (1, 5, 4)), ops.constant(np.zeros((1, 1, 4), np.float32))
    matrices = [ops.constant(rng.normal(size=shape).astype(np.float32)) for shape in ((1, 12, 4), (1, 12, 4), (1, 12))]
    layer = ops.gru_sequence(data, state, ops.constant([5]), *matrices, 4, "forward", name="recurrent")
    rows = ops.reshape(layer.output(0), ops.constant([1, 20]), False)
    ov.save_model(m.build(m.matmul(rows, "last", 4)), tmp_path / "gru.xml", compress_to_fp16=False)
    np.save(tmp_path / "x.npy", rng.normal(size=(20, 5, 4)).astype(np.float32))
    options = [f"{role}=arrays" for role in ("dataset", "validation")]
    paths = [f"{role}.path='{tmp_path}/x.npy'" for role in ("dataset", "validation")]
    monkeypatch.setattr(Acceptance, "scores", lambda _acceptance, *models: [20.0, 20.0 + gain][: len(models)])
    report = run_flow(home, f"model.path='{tmp_path}/gru.xml'", *options, *paths, "quantization.bias_correction=false")
    left = {each["name"]: each["reason"] for each in report.float_operations}
    assert ("recurrent" in left) == (gain > 3)
    assert gain < 3 or "round the state" in left["recurrent"]


@pytest.fixture
def outliers(tmp_path: Path) -> tuple[str, ...]:
    """Layers of which the second has weights that no 8 bits can hold, and data for them."""
    rng = np.random.default_rng(0)
    data = m.image("tokens", (1, 16))
    coarse = rng.normal(size=(16, 16)).astype(np.float32)
    coarse[:, 3] *= 3000
    small = np.where(np.arange(16) == 3, 1e-4, 1).astype(np.float32)
    hidden = ops.multiply(ops.tanh(m.matmul(data, "plain", 16)), small[None])
    hidden = ops.tanh(ops.matmul(hidden, coarse / 4, False, True, name="coarse"))
    ov.save_model(m.build(m.matmul(hidden, "last", 4)), tmp_path / "outliers.xml", compress_to_fp16=False)
    np.save(tmp_path / "x.npy", rng.normal(size=(20, 16)).astype(np.float32))
    data_options = [f"{role}=arrays" for role in ("dataset", "validation")]
    paths = [f"{role}.path='{tmp_path}/x.npy'" for role in ("dataset", "validation")]
    return (f"model.path='{tmp_path}/outliers.xml'", *data_options, *paths)


def test_a_poor_answer_is_told_with_the_layer_that_costs_it_and_mended_by_leaving_that_float(
    home: Path, run_flow: RunFlow, outliers: tuple[str, ...]
) -> None:
    poor, mended = (run_flow(home, *outliers, f"quantization.float_layers={each}") for each in ("false", "auto"))
    (told,) = (note for note in poor.notes if note.startswith("the INT8 model answers poorly"))
    assert "MatMul 'coarse'" in told
    assert "quantization.float_layers=auto" in told
    assert decision(mended, "float_layers").kept
    assert "coarse" in {each["name"] for each in mended.float_operations}
    assert (mended.metrics["int8"]["sqnr_db"] or 0) > (poor.metrics["int8"]["sqnr_db"] or 0) + 6


@pytest.mark.slow
def test_the_best_recipe_runs_on_the_built_in_model(home: Path, run_flow: RunFlow) -> None:
    best, plain = run_flow(home, "quantization=best"), run_flow(home)
    assert (best.metrics["int8"]["sqnr_db"] or 0) > (plain.metrics["int8"]["sqnr_db"] or 0)
