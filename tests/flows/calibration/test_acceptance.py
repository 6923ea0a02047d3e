"""What is no worse is accepted, and every decision says why."""

import math
from typing import Any, cast

import pytest

from flows.calibration.acceptance import Acceptance
from flows.running.step_runner import StepRunner
from tasks.data.digits import Digits
from tasks.records import ArraysRef, DatasetRef, Decision, ModelRef, Runtime
from tasks.steps.evaluate_model import Evaluation

FLOAT, BEFORE, AFTER, LAST = (ModelRef(name, name) for name in ("float", "before", "after", "last"))
Metrics = dict[str, float | None]


class FakeRunner:
    """Answers with the metrics that a test gives each model, and remembers what was evaluated."""

    def __init__(self, metrics: dict[str, Metrics]) -> None:
        self.metrics = metrics
        self.evaluated: list[str] = []

    def run(self, _step: object, *, model: ModelRef, reference: Evaluation | None, **_: Any) -> Evaluation:
        assert (reference is None) == (model == FLOAT)
        self.evaluated.append(model.name)
        return Evaluation(self.metrics.get(model.name, {}), 3, ArraysRef("outputs"))


def acceptance(runner: FakeRunner, runtime: Runtime, count: int = 3) -> Acceptance:
    samples = DatasetRef(Digits("training"), tuple(range(count)), 10, ("digest",) * count, None)
    return Acceptance(cast(StepRunner, runner), FLOAT, samples, runtime)


def both(before: Metrics, after: Metrics) -> FakeRunner:
    return FakeRunner({"before": before, "after": after})


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        (10.0, 12.0, True),
        (10.0, 10.0, True),
        (10.0, 9.99, False),
        (10.0, math.inf, True),
        (math.inf, 50.0, False),
        (-3.0, -2.0, True),
    ],
)
def test_the_better_model_is_kept(runtime: Runtime, before: float, after: float, kept: bool) -> None:
    accepting = acceptance(both({"sqnr_db": before}, {"sqnr_db": after}), runtime)
    assert accepting.judge("step", BEFORE, AFTER).kept == kept
    assert accepting.decisions == (Decision("step", kept, before, after),)


def test_several_outputs_count_alike(runtime: Runtime) -> None:
    before: Metrics = {"sqnr_db": 99.0, "sqnr_db/a": 10.0, "sqnr_db/b": 30.0}
    accepting = acceptance(both(before, {"sqnr_db/a": 19.0, "sqnr_db/b": 20.0}), runtime)
    assert not accepting.judge("step", BEFORE, AFTER).kept
    assert accepting.decisions == (Decision("step", kept=False, before=20.0, after=19.5),)


@pytest.mark.parametrize(
    ("boxes", "scores", "kept"),
    [
        pytest.param(14.0, 9.8, True, id="little"),
        pytest.param(9.9, 10.3, True, id="little-of-the-other"),
        pytest.param(14.0, 9.6, False, id="below-the-first"),
        pytest.param(10.3, 9.8, False, id="more-than-half-of-the-gain"),
        pytest.param(14.0, -math.inf, False, id="all"),
    ],
)
def test_no_part_is_given_up_for_another(runtime: Runtime, boxes: float, scores: float, *, kept: bool) -> None:
    before: Metrics = {"sqnr_db/rows[boxes]": 10.0, "sqnr_db/rows[scores]": 10.0}
    accepting = acceptance(both(before, {"sqnr_db/rows[boxes]": boxes, "sqnr_db/rows[scores]": scores}), runtime)
    decision = accepting.judge("step", BEFORE, AFTER)
    assert decision.kept == kept
    gains = boxes + scores >= 20
    assert ("it gives up rows[scores]: 10.00 dB before" in decision.reason) == (gains and not kept)


def test_small_losses_of_a_part_do_not_add_up(runtime: Runtime) -> None:
    decibels = {"before": (10.0, 10.0), "after": (12.0, 9.8), "last": (14.0, 9.6)}
    runner = FakeRunner({name: {"sqnr_db/a": a, "sqnr_db/b": b} for name, (a, b) in decibels.items()})
    accepting = acceptance(runner, runtime)
    assert accepting.judge("first", BEFORE, AFTER).kept
    assert accepting.judge("second", AFTER, LAST).lost == ("b", 9.8, 9.6)


def test_what_a_part_gained_is_not_given_up_either(runtime: Runtime) -> None:
    decibels = {"before": (10.0, 10.0), "after": (20.0, 15.0), "last": (26.0, 10.0)}
    runner = FakeRunner({name: {"sqnr_db/a": a, "sqnr_db/b": b} for name, (a, b) in decibels.items()})
    accepting = acceptance(runner, runtime)
    assert accepting.judge("first", BEFORE, AFTER).kept
    assert not accepting.judge("second", AFTER, LAST).kept


def test_a_part_that_is_silent_in_the_float_model_does_not_count(runtime: Runtime) -> None:
    silent: Metrics = {"sqnr_db/mask": -math.inf}
    accepting = acceptance(both(silent | {"sqnr_db/other": 40.0}, silent | {"sqnr_db/other": 30.0}), runtime)
    assert not accepting.judge("step", BEFORE, AFTER).kept
    assert accepting.decisions == (Decision("step", kept=False, before=40.0, after=30.0),)


NOTHING: list[Metrics] = [{}, {"sqnr_db": None}, {"sqnr_db": math.nan}, {"sqnr_db/a": 10.0, "sqnr_db/b": math.nan}]


@pytest.mark.parametrize("metrics", NOTHING)
def test_what_cannot_be_judged_is_kept_and_says_so(runtime: Runtime, metrics: Metrics) -> None:
    accepting = acceptance(both(metrics, {"sqnr_db": 10.0}), runtime)
    assert accepting.judge("step", BEFORE, AFTER).kept
    assert accepting.decisions == (Decision("step", kept=True, before=None, after=10.0),)
    assert "kept unseen" in accepting.decisions[0].reason


@pytest.mark.parametrize("metrics", NOTHING)
def test_what_cannot_be_judged_any_more_is_dropped(runtime: Runtime, metrics: Metrics) -> None:
    accepting = acceptance(both({"sqnr_db": 10.0}, metrics), runtime)
    assert not accepting.judge("step", BEFORE, AFTER).kept
    assert accepting.decisions == (Decision("step", kept=False, before=10.0, after=None),)
    assert "dropped: output SQNR 10.00 dB before, not a number after" in accepting.decisions[0].reason


def test_outputs_that_no_step_touches_do_not_count(runtime: Runtime) -> None:
    """Anchors, say, are exact in all models."""
    exact: Metrics = {"sqnr_db": math.inf, "sqnr_db/exact": math.inf}
    accepting = acceptance(both(exact | {"sqnr_db/other": 40.0}, exact | {"sqnr_db/other": 3.0}), runtime)
    assert not accepting.judge("step", BEFORE, AFTER).kept
    assert accepting.decisions == (Decision("step", kept=False, before=40.0, after=3.0),)
    assert acceptance(both(exact, exact), runtime).scores(BEFORE, AFTER) == [math.inf, math.inf]


@pytest.mark.parametrize(
    ("agreement", "count", "kept"),
    [
        (99.0, 32, True),
        (98.95, 32, True),
        (98.8, 32, False),
        (None, 32, True),
        # Half of what is missing may be chance where two samples tell it; many leave a tenth of a point.
        (98.55, 2, True),
        (98.45, 2, False),
        (98.85, 3200, False),
    ],
)
def test_a_step_may_not_cost_agreement_either(
    runtime: Runtime, agreement: float | None, count: int, kept: bool
) -> None:
    before: Metrics = {"sqnr_db": 10.0, "expected_agreement": 99.0}
    accepting = acceptance(both(before, {"sqnr_db": 10.5, "expected_agreement": agreement}), runtime, count)
    assert accepting.judge("step", BEFORE, AFTER).kept == kept
    expected = None if agreement is None else (99.0, agreement)
    assert accepting.decisions == (Decision("step", kept, 10.0, 10.5, agreement=expected),)
    assert ("expected top-1 agreement 99.00 % before" in accepting.decisions[0].reason) == (not kept)


def test_a_large_gain_counts_for_more_than_an_estimate(runtime: Runtime) -> None:
    before: Metrics = {"sqnr_db": 3.9, "expected_agreement": 87.3}
    accepting = acceptance(both(before, {"sqnr_db": 8.3, "expected_agreement": 84.4}), runtime)
    assert accepting.judge("step", BEFORE, AFTER).kept


def test_without_samples_nothing_is_evaluated(runtime: Runtime) -> None:
    runner = both({"sqnr_db": 10.0}, {"sqnr_db": 1.0})
    accepting = acceptance(runner, runtime, count=0)
    assert accepting.judge("step", BEFORE, AFTER).kept
    assert accepting.decisions == (Decision("step", kept=True, before=None, after=None),)
    assert runner.evaluated == []


def test_steps_are_judged_in_turn_and_the_float_model_once(runtime: Runtime) -> None:
    runner = FakeRunner({"before": {"sqnr_db": 10.0}, "after": {"sqnr_db": 11.0}, "last": {"sqnr_db": 10.5}})
    accepting = acceptance(runner, runtime)
    accepting.judge("first", BEFORE, AFTER)
    accepting.judge("second", AFTER, LAST)
    assert [(each.step, each.kept) for each in accepting.decisions] == [("first", True), ("second", False)]
    assert runner.evaluated.count("float") == 1


def test_path_holds_what_was_kept_one_made_of_the_other(runtime: Runtime) -> None:
    accepting = acceptance(
        FakeRunner({"before": {"sqnr_db": 10.0}, "after": {"sqnr_db": 11.0}, "last": {"sqnr_db": 9.0}}), runtime
    )
    accepting.judge("first", BEFORE, AFTER)
    accepting.judge("dropped", AFTER, LAST)
    accepting.judge("elsewhere", LAST, BEFORE)
    assert accepting.path(BEFORE) == {"first": AFTER}
    assert accepting.path(LAST) == {"elsewhere": BEFORE}
