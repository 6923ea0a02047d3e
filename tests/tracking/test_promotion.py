"""The rule by which an alias moves, and what it says where it does not."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.records import Promotion
from tasks.tracking.promotion import Metrics, ReleaseOptions, decide_promotion

BETTER: Metrics = {
    "float": {"top1": 80.0, "latency_ms": 2.0, "throughput_fps": 100.0},
    "int8": {"top1": 79.5, "latency_ms": 1.0, "throughput_fps": 150.0, "agreement": 95.0, "sqnr_db": 20.0},
}


def reasons(metrics: Metrics, errors: tuple[str, ...] = (), **options: Any) -> tuple[str, ...]:
    promotion = decide_promotion(metrics, ReleaseOptions("model", **options), errors)
    assert promotion is not None
    assert (promotion.name, promotion.alias) == ("model", "champion")
    return promotion.reasons


def test_without_a_name_nothing_is_registered() -> None:
    assert decide_promotion(BETTER, ReleaseOptions()) is None


def test_a_model_that_keeps_the_rule_takes_over() -> None:
    promotion = decide_promotion(BETTER, ReleaseOptions("model"))
    assert promotion == Promotion("model", "champion")
    assert promotion.note == "registered as model, alias champion"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_drop": 0.5}, ()),
        ({"max_drop": 0.4}, ("top1 gets worse by 0.5, from 80 to 79.5; release.max_drop is 0.4",)),
        ({"max_drop": -1.0}, ("top1 gets worse by 0.5, from 80 to 79.5; release.max_drop is -1",)),
        ({"max_drop": None}, ()),
        ({"min_speedup": 1.5}, ()),
        ({"min_speedup": 1.6}, ("throughput is 1.5 x that of the float model; release.min_speedup is 1.6",)),
        ({"min_speedup": None}, ()),
        ({"metric": "agreement", "max_drop": 5.0}, ()),
        (
            {"metric": "agreement"},
            ("agreement gets worse by 5, from 100 to 95; release.max_drop is 1",),
        ),
        (
            {"metric": "top"},
            ("release.metric 'top' was not measured. Did you mean 'top1'? Measured: top1, agreement",),
        ),
        # The float model has no SQNR, so that nothing can drop.
        (
            {"metric": "sqnr_db"},
            ("release.metric 'sqnr_db' was not measured. Measured: top1, agreement",),
        ),
    ],
)
def test_rule(options: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert reasons(BETTER, **options) == expected


def test_every_reason_is_told() -> None:
    found = reasons(BETTER, max_drop=0.1, min_speedup=3.0)
    assert len(found) == 2
    note = Promotion("model", "champion", found).note
    assert note == f"registered as model without the alias champion: {found[0]}; {found[1]}"


def test_speed_that_was_not_measured_is_no_speed() -> None:
    slow: Metrics = {"float": {"top1": 80.0}, "int8": {"top1": 80.0}}
    assert "speed was not measured" in reasons(slow)[0]
    assert reasons(slow, min_speedup=None) == ()


def test_less_of_an_error_is_better() -> None:
    metrics: Metrics = {"float": {"mae": 2.0}, "int8": {"mae": 4.0}}
    assert reasons(metrics, ("mae",), min_speedup=None) == ("mae gets worse by 2, from 2 to 4; release.max_drop is 1",)
    assert reasons({"float": {"mae": 4.0}, "int8": {"mae": 2.0}}, ("mae",), min_speedup=None) == ()
    # The same figures of something of which more is better.
    assert reasons(metrics, min_speedup=None) == ()


def test_without_labels_agreement_decides_and_without_classes_nothing_does() -> None:
    assert reasons({"float": {}, "int8": {"agreement": 99.5, "sqnr_db": 20.0}}, min_speedup=None) == ()
    assert "agreement gets worse" in reasons({"float": {}, "int8": {"agreement": 90.0}}, min_speedup=None)[0]
    assert "no metric tells" in reasons({"float": {}, "int8": {"sqnr_db": 20.0}}, min_speedup=None)[0]
    assert reasons({"float": {"top1": 1.0}, "int8": {"top1": None}}, min_speedup=None) == ("top1 is not known",)


@pytest.mark.parametrize(
    "values",
    [
        {"name": "a/b"},
        {"name": "a'b"},
        {"name": " a"},
        {"alias": "v3"},
        {"alias": "Latest"},
        {"alias": "a b"},
        {"min_speedup": 0},
        {"max_drop": float("nan")},
    ],
)
def test_what_mlflow_could_not_keep_is_refused_before_the_run(values: dict[str, Any]) -> None:
    adapter = TypeAdapter(ReleaseOptions)
    adapter.validate_python({"name": "Some model-1.0", "alias": "very_good"})
    with pytest.raises(ValidationError):
        adapter.validate_python(values)
