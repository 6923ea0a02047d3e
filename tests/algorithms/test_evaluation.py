"""Outputs in the order of the samples, and what they are worth."""

from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.evaluation import classification_metrics, collect_outputs, stack, written_otherwise
from tasks.algorithms.inference import Sample
from tasks.errors import InputError
from tasks.graph.naming import output_names
from tests.support import models as m

Array = NDArray[Any]


def named_outputs(model: ov.Model, *names: str) -> ov.Model:
    for port, name in zip(model.outputs, names, strict=True):
        port.get_tensor().set_names({name})
    return model


def vectors(count: int, size: int = 4) -> list[Sample]:
    return [{"image": np.arange(size, dtype=np.float32) + 10 * index} for index in range(count)]


def outputs(model: ov.Model, data: list[Sample], threads: int = 2) -> tuple[dict[str, Array], tuple[str, ...]]:
    return collect_outputs(model, data, lambda: None, threads)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("batch", [1, -1, 8], ids=["one", "free", "fixed"])
def test_outputs_are_stacked_in_the_order_of_the_samples(batch: int, threads: int) -> None:
    data = m.named(ops.parameter(ov.PartialShape([batch, 4]), ov.Type.f32), "image")
    model = named_outputs(m.build(m.named(ops.negative(data), "negative")), "scores")
    found, notes = outputs(model, vectors(20), threads)
    np.testing.assert_array_equal(found["scores"], [-sample["image"] for sample in vectors(20)])
    assert notes == ()


def test_outputs_without_a_batch_axis_get_one() -> None:
    data = m.image(shape=(1, 4))
    total = m.named(ops.reduce_sum(data, m.integers("all", 0, 1), False), "total")
    flat = m.reshape(data, "flat", 4)
    found, _ = outputs(named_outputs(m.build(total, flat), "total", "flat"), vectors(3))
    np.testing.assert_array_equal(found["total"], [6, 46, 86])
    np.testing.assert_array_equal(found["flat"], [sample["image"] for sample in vectors(3)])


def test_outputs_of_a_single_number_become_a_vector() -> None:
    total = m.named(ops.reduce_sum(m.image(shape=(1, 4)), m.integers("axis", 1), False), "total")
    found, _ = outputs(named_outputs(m.build(total), "total"), vectors(3))
    assert found["total"].tolist() == [6, 46, 86]


def test_every_output_is_kept_whatever_its_type_and_name() -> None:
    best = m.named(ops.topk(m.image(shape=(1, 4)), m.number("k", 2), 1, "max", "value", "i64"), "best")
    model = m.build(best.output(0), best.output(1))
    for port in model.outputs:
        port.get_tensor().set_names(set())
    found, _ = outputs(model, vectors(2))
    assert {name: values.dtype for name, values in found.items()} == {"best.0": np.float32, "best.1": np.int64}
    assert found["best.1"].tolist() == [[3, 2], [3, 2]]


def test_outputs_of_changing_shape_are_noted() -> None:
    data = m.image(shape=(1, 4))
    positive = m.named(ops.non_zero(m.relu(data, "relu"), "i64"), "places")
    model = named_outputs(m.build(m.named(ops.negative(data), "negative"), positive), "scores", "places")
    found, notes = outputs(model, [{"image": np.array([0, 1, 0, 2], np.float32)}, {"image": np.ones(4, np.float32)}])
    assert list(found) == ["scores"]
    assert len(notes) == 1
    assert "'places'" in notes[0]


def test_labels_are_those_of_the_first_output_of_one_shape() -> None:
    found, _ = stack(
        {"boxes": [np.ones((n, 4), np.float32) for n in (2, 3)], "scores": [np.eye(3, dtype=np.float32)[:1]] * 2}
    )
    assert classification_metrics(found, np.array([0, 1])) == {"top1": 50.0}


def test_progress_is_told_of_every_sample() -> None:
    told: list[None] = []
    collect_outputs(m.build(m.relu(m.image(shape=(1, 4)), "relu")), vectors(5), lambda: told.append(None), 2)
    assert len(told) == 5


SCORES = np.array([[9, 1, 2, 3, 4, 5, 6], [1, 9, 2, 3, 4, 5, 6], [9, 1, 2, 3, 4, 5, 6]], np.float32)


def test_accuracies_in_percent() -> None:
    found = classification_metrics({"scores": SCORES}, np.array([0, 0, 6]))
    assert found == pytest.approx({"top1": 100 / 3, "top5": 200 / 3})


def test_few_classes_have_no_top5() -> None:
    assert set(classification_metrics({"scores": SCORES[:, :5]}, np.array([0, 1, 2]))) == {"top1"}


@pytest.mark.parametrize("shape", [(3, 7, 1, 1), (3, 1, 7)])
def test_axes_of_length_one_do_not_matter(shape: tuple[int, ...]) -> None:
    labels = np.array([0, 1, 6])
    expected = classification_metrics({"scores": SCORES}, labels)
    assert classification_metrics({"scores": SCORES.reshape(shape)}, labels) == expected


@pytest.mark.parametrize(
    ("found", "message"),
    [
        pytest.param({"scores": SCORES[:, :4]}, r"labels go up to 6, .*\('scores'\) has 4 classes", id="few-classes"),
        pytest.param({"best": np.zeros(3, np.int64)}, r"\('best'\) has 1 classes", id="class-numbers"),
        pytest.param({}, "labels go up to 6", id="no-output"),
    ],
)
def test_labels_that_do_not_fit_are_an_error(found: dict[str, Array], message: str) -> None:
    with pytest.raises(InputError, match=message):
        classification_metrics(found, np.array([0, 1, 6]))


@pytest.mark.parametrize(
    ("batch", "error", "told"),
    [
        pytest.param(-1, 0.0, False, id="the-same"),
        pytest.param(-1, 1e-3, False, id="nearly-the-same"),
        pytest.param(-1, 0.1, True, id="another"),
        pytest.param(1, 0.1, False, id="no-free-axis"),
    ],
)
def test_outputs_that_a_free_batch_changes_are_named(batch: int, error: float, *, told: bool) -> None:
    data = m.named(ops.parameter([batch, 4], ov.Type.f32), "data")
    model = m.build(m.relu(data, "relu"))
    sample = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    (name,) = output_names(model)
    notes = written_otherwise(model, [{"data": sample}], {name: sample[None] * (1 + error)})
    assert [f"output '{name}'" in note and "20.8 dB" in note for note in notes] == [True] * told
