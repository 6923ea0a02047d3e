"""What of an output is compared with what, and which outputs are classes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.comparison import Comparison, comparison_metrics, gate_metrics, not_compared, plan_comparison
from tasks.algorithms.evaluation import collect_rows, compile_alone, stack
from tasks.graph.parts import Part, Parts, find_parts
from tasks.numerics.metrics import cosine_similarity, expected_agreement, sqnr
from tests.support import models as m

Array = NDArray[Any]
Head = Callable[[ov.Node], ov.Node | list[ov.Node]]
COUNT = 24
SCORES = np.array([[9, 1, 2, 3, 4, 5, 6], [1, 9, 2, 3, 4, 5, 6], [9, 1, 2, 3, 4, 5, 6]], np.float32)


def as_they_are(reference: dict[str, Array], *, labels: bool = False) -> Comparison:
    parts = Parts(tuple(Part(name, "", (name,)) for name, each in reference.items() if each.dtype.kind == "f"), ())
    return plan_comparison(parts, reference, labels=labels)


def compared(reference: dict[str, Array], found: dict[str, Array], *, labels: bool = False) -> dict[str, float]:
    both = reference, found
    return comparison_metrics(both, both, as_they_are(reference, labels=labels))


def planned(head: Head, data: Array, *, labels: bool = False) -> Comparison:
    """The plan for a head behind a layer that changes nothing, whose samples are what that computes."""
    x = ops.parameter([1, *data.shape[1:]], ov.Type.f32, name="data")
    width = data.shape[1 if data.ndim == 4 else -1]
    layer = (
        ops.convolution(x, np.eye(width, dtype=np.float32)[:, :, None, None], [1, 1], [0, 0], [0, 0], [1, 1])
        if data.ndim == 4
        else ops.matmul(x, np.eye(width, dtype=np.float32), False, True)
    )
    found = head(layer)
    model = m.build(*(found if isinstance(found, list) else [found]))
    parts = find_parts(model)
    samples = [{"data": each} for each in data]
    rows = collect_rows(
        model,
        samples,
        lambda: None,
        lambda whole: compile_alone(model, whole, 1, parts=True),
        [part.label for part in parts.parts],
    )
    return plan_comparison(parts, stack(rows)[0], labels=labels)


RANDOM = np.random.default_rng(0)


def classes_like(*shape: int) -> Array:
    """Scores of which one stands out, along the last axis."""
    scores = RANDOM.normal(size=shape).astype(np.float32)
    np.put_along_axis(scores, RANDOM.integers(0, shape[-1], shape[:-1])[..., None], 9, -1)
    return scores


def noise(*shape: int) -> Array:
    return RANDOM.normal(size=shape).astype(np.float32)


def same(x: ov.Node) -> ov.Node:
    return x


def softmax(axis: int) -> Head:
    return lambda x: ops.softmax(x, axis)


def unit(x: ov.Node) -> ov.Node:
    return ops.normalize_l2(x, np.array([-1]), 1e-6, "add")


def normalized(x: ov.Node) -> ov.Node:
    return ops.mvn(x, np.array([-1]), True, 1e-5, "inside_sqrt")


def detector_rows(x: ov.Node) -> ov.Node:
    boxes, scores = (m.matmul(x, name, width) for name, width in (("box", 4), ("score", 3)))
    return m.concat("rows", m.named(ops.exp(boxes), "boxes"), m.named(ops.sigmoid(scores), "scores"), axis=2)


def boxes_and_class(x: ov.Node) -> list[ov.Node]:
    best = ops.topk(m.matmul(x, "score", 5), np.array(1), 1, "max", "none", "i64").output(1)
    return [m.matmul(x, "box", 4), m.named(ops.convert(best, "i32"), "class")]


def landmarks(count: int = COUNT) -> Array:
    return (np.arange(1, 11) * 20 + RANDOM.normal(size=(count, 10))).astype(np.float32)


def grids() -> Array:
    """Twice 9 channels: offsets, objectness that is nearly always low, classes."""
    one = np.concatenate([noise(COUNT, 4, 6, 6), noise(COUNT, 1, 6, 6) - 9, noise(COUNT, 4, 6, 6) - 4], axis=1)
    return np.concatenate([one, one], axis=1)


def rows_in_one() -> Array:
    return np.concatenate([100 + 50 * noise(COUNT, 20, 4), 0.1 * np.abs(noise(COUNT, 20, 2))], axis=2)


HEADS: dict[str, tuple[Head, Array, tuple[int, ...] | None, tuple[str, ...]]] = {
    "classes, softmax": (softmax(1), noise(COUNT, 10), (-1,), ("result0[logits]",)),
    "classes, sigmoid": (ops.sigmoid, noise(COUNT, 10), (-1,), ("result0[logits]",)),
    "classes, logits": (same, classes_like(COUNT, 10), (-1,), ("result0",)),
    "two numbers": (same, noise(COUNT, 2), None, ("result0",)),
    "detector rows": (detector_rows, noise(COUNT, 20, 8), None, ("result0[boxes]", "result0[scores]")),
    "detector rows of one layer": (same, rows_in_one(), None, ("result0[0-3]", "result0[4-5]")),
    "grids": (same, grids(), None, ("result0",)),
    "embeddings": (unit, noise(COUNT, 64), None, ("result0",)),
    "embeddings of any length": (same, noise(COUNT, 64), None, ("result0",)),
    "regression": (same, landmarks(), None, ("result0",)),
    "mask": (ops.sigmoid, noise(COUNT, 1, 6, 6), None, ("result0[logits]",)),
    "masks": (ops.sigmoid, noise(COUNT, 5, 6, 6), None, ("result0[logits]",)),
    "segmentation": (softmax(1), noise(COUNT, 5, 6, 6), (-3,), ("result0[logits]",)),
    "segmentation, logits": (same, np.moveaxis(classes_like(COUNT, 6, 6, 5), -1, 1), (-3,), ("result0",)),
    "tokens": (same, classes_like(COUNT, 7, 50), (-1,), ("result0",)),
    "tokens, softmax": (softmax(2), noise(COUNT, 7, 50), (-1,), ("result0[logits]",)),
    "mel frames": (same, noise(COUNT, 30, 40) - 4, None, ("result0",)),
    "hidden states": (normalized, noise(COUNT, 7, 50), None, ("result0",)),
    "several outputs": (boxes_and_class, noise(COUNT, 8), (-1,), ("result0", "result1[score]")),
    "scalars": (same, noise(COUNT, 1), None, ("result0",)),
    "nothing": (same, np.zeros((COUNT, 6), np.float32), None, ("result0",)),
}


@pytest.mark.parametrize(("head", "data", "axis", "labels"), HEADS.values(), ids=HEADS.keys())
def test_classes_and_parts_of_heads(head: Head, data: Array, axis: Any, labels: tuple[str, ...]) -> None:
    found = planned(head, data)
    assert tuple(part.label for part in found.parts) == labels
    assert (found.classes and found.classes[1:]) == axis


def test_labels_make_classes_of_what_a_layer_computes() -> None:
    for data in (noise(COUNT, 2), noise(COUNT, 10)):
        assert planned(same, data, labels=True).classes == ("result0", -1)
    assert planned(same, noise(COUNT, 1), labels=True).classes is None


def test_boxes_do_not_hide_the_noise_of_scores() -> None:
    exact = {"rows": rows_in_one()}
    other = {"rows": exact["rows"] + np.float32(0.05) * noise(*exact["rows"].shape)}
    found = compared(exact, other)
    assert found["sqnr_db"] == pytest.approx(sqnr(exact["rows"], other["rows"]))
    assert min(found["sqnr_db"], found["sqnr_db/rows[0-3]"]) > 60
    assert found["sqnr_db/rows[4-5]"] < 10
    assert gate_metrics(exact, other, as_they_are(exact)).keys() == {"sqnr_db/rows[0-3]", "sqnr_db/rows[4-5]"}


def test_a_selection_leaves_nothing_to_compare_in_its_own_places() -> None:
    outputs = {"best": noise(9, 5, 3)}, {"best": noise(9, 5, 3)}
    parts = {"best[boxes]": noise(9, 4), "best[scores]": noise(9, 3)}
    near = {name: values * np.float32(1.01) for name, values in parts.items()}
    graph = Parts((Part("best", "boxes", ("a:0",)), Part("best", "scores", ("b:0",))), ("best",))
    found = comparison_metrics(outputs, (parts, near), plan_comparison(graph, parts, labels=False))
    assert found == pytest.approx(dict.fromkeys(found, 40) | {"cosine": 1}, rel=1e-3)
    assert found.keys() == {"sqnr_db", "cosine", "sqnr_db/best[boxes]", "sqnr_db/best[scores]"}


@pytest.mark.parametrize("shape", [(1, -1, 5), (1, 5, -1, 3), (1, -1)])
def test_outputs_of_changing_length_are_compared_place_by_place(shape: tuple[int, ...]) -> None:
    axis = 1 if len(shape) == 4 else -1
    lengths = (3, 7, 4)
    reference = [np.moveaxis(classes_like(*(n if size < 0 else size for size in shape)), -1, axis) for n in lengths]
    if len(shape) == 4:
        reference = [np.moveaxis(classes_like(1, n, 3, 5), -1, 1) for n in lengths]
    others = [each + 3 * noise(*each.shape) for each in reference]
    (wanted, _), (found, notes) = stack({"scores": [*reference]}), stack({"scores": [*others]})
    assert notes == ()
    metrics = compared(wanted, found, labels=len(shape) > 2)
    signal = sum(np.square(each, dtype=np.float64).sum() for each in reference)
    energy = sum(np.square(a - b, dtype=np.float64).sum() for a, b in zip(reference, others, strict=True))
    assert metrics["sqnr_db"] == pytest.approx(10 * np.log10(signal / energy), rel=1e-5)
    assert ("agreement" in metrics) == (len(shape) > 2)
    if len(shape) > 2:
        equal = [(a.argmax(axis) == b.argmax(axis)).reshape(-1) for a, b in zip(reference, others, strict=True)]
        assert metrics["agreement"] == pytest.approx(100 * np.concatenate(equal).mean())


def test_classes_of_texts_of_several_lengths_are_known_by_their_softmax() -> None:
    rows = [noise(1, length, 5) for length in (3, 6)]
    (reference, _) = stack({"tokens[logits]": rows})
    for classes, expected in ((-1, ("tokens[logits]", -1)), (-2, None)):
        parts = Parts((Part("tokens", "logits", ("x:0",), classes=classes),), ())
        assert plan_comparison(parts, reference, labels=False).classes == expected


def test_outputs_of_other_lengths_in_one_model_are_not_compared_and_named() -> None:
    rows = [np.ones((length, 4), np.float32) for length in (2, 3)]
    (wanted, _), (found, _) = stack({"boxes": rows, "gone": rows[:1]}), stack({"boxes": rows[::-1]})
    assert compared(wanted, found) == {}
    assert not_compared(wanted, found) == (
        "output 'boxes' is not compared: it has no values, or other shapes than the float model's",
        "output 'gone' is not compared: the model has no such one",
    )


def test_comparison_of_one_output() -> None:
    other = SCORES[:, ::-1] * np.float32(0.9)
    assert compared({"scores": SCORES}, {"scores": other}, labels=True) == pytest.approx(
        {
            "sqnr_db": sqnr(SCORES, other),
            "cosine": cosine_similarity(SCORES, other),
            "agreement": 0.0,
            "expected_agreement": 100 * expected_agreement(SCORES, other),
        }
    )


def test_further_outputs_have_their_own_sqnr() -> None:
    reference: dict[str, Array] = {"scores": SCORES, "boxes": SCORES + 1, "classes": np.zeros(3, np.int64)}
    found = compared(reference, {name: values * 2 for name, values in reference.items()})
    assert {key for key in found if key.startswith("sqnr_db/")} == {"sqnr_db/scores", "sqnr_db/boxes"}
    assert found["sqnr_db"] == found["sqnr_db/scores"] == pytest.approx(0)


@pytest.mark.parametrize("width", [1, 4])
def test_the_classes_of_images_lie_on_axis_1(width: int) -> None:
    reference = np.zeros((2, 3, 4, width), np.float32)
    reference[:, 1] = 1
    other = reference.copy()
    other[0, 2] = 2
    assert compared({"mask": reference}, {"mask": other}, labels=True)["agreement"] == 50
    assert compared({"mask": reference}, {"mask": reference}, labels=True)["agreement"] == 100


def test_numbers_without_classes_have_no_agreement() -> None:
    values = np.array([1, 2, 3], np.float32)
    # The last one is a map of one channel, as text detection and depth have it.
    for each in (values, values[:, None], np.arange(32, dtype=np.float32).reshape(2, 1, 4, 4)):
        found = compared({"total": each}, {"total": each}, labels=True)
        assert not {"agreement", "expected_agreement"} & found.keys()


@pytest.mark.parametrize(
    ("reference", "other"),
    [
        pytest.param(np.zeros((2, 3), np.int64), np.zeros((2, 3), np.int64), id="integers"),
        pytest.param(np.zeros((2, 5, 6), np.float32), np.zeros((2, 4, 6), np.float32), id="other-shape"),
        pytest.param(np.zeros((2, 0, 6), np.float32), np.zeros((2, 0, 6), np.float32), id="no-values"),
    ],
)
def test_what_cannot_be_compared_is_left_out(reference: Array, other: Array) -> None:
    assert compared({"boxes": reference}, {"boxes": other}) == {}
    both = compared({"boxes": reference, "scores": SCORES}, {"boxes": other, "scores": SCORES})
    assert both == {"sqnr_db": float("inf"), "cosine": pytest.approx(1)}


def test_outputs_that_one_model_lacks_are_left_out() -> None:
    assert compared({"scores": SCORES}, {"others": SCORES}) == {}
