"""The parts by which outputs are compared: what decides them, the same in the float and in the quantized model."""

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.graph.activations import Kind
from tasks.graph.parts import Part, find_parts, show_parts
from tests.support import models as m

X = np.random.default_rng(0).normal(1, 2, (1, 4, 3, 3)).astype(np.float32)
Wrap = Callable[[ov.Node], ov.Node]


def results_of(model: ov.Model, data: np.ndarray = X) -> list[np.ndarray]:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.asarray(each) for each in compiled(data).values()]


def result_of(model: ov.Model) -> np.ndarray:
    return results_of(model)[0]


def quantized(node: ov.Node) -> ov.Node:
    return ops.fake_quantize(node, *(np.float32(each) for each in (-4, 4, -4, 4)), 256)


def plain(node: ov.Node) -> ov.Node:
    return node


def moved(node: ov.Node) -> ov.Node:
    return m.reshape(quantized(m.transpose(node, "turned", 0, 2, 3, 1)), "row", 1, -1)


def written_out(node: ov.Node) -> ov.Node:
    """A softmax as some converters write it."""
    high = ops.reduce_max(node, np.array([1]), True)
    exponential = ops.exp(ops.subtract(node, high))
    return ops.divide(exponential, ops.reduce_sum(exponential, np.array([1]), True))


@pytest.mark.parametrize("behind", [plain, quantized, moved])
@pytest.mark.parametrize(
    ("last", "expected"),
    [
        pytest.param(lambda x: ops.softmax(x, 1), X - X.mean(axis=1, keepdims=True), id="softmax"),
        pytest.param(lambda x: ops.softmax(x, -2), X - X.mean(axis=2, keepdims=True), id="softmax-from-the-end"),
        pytest.param(written_out, X - X.mean(axis=1, keepdims=True), id="softmax-written-out"),
        pytest.param(ops.sigmoid, X, id="sigmoid"),
    ],
)
def test_probabilities_become_what_the_last_activation_reads(last: Wrap, behind: Wrap, expected: np.ndarray) -> None:
    model = m.build(behind(last(m.image("data", X.shape))))
    (part,) = find_parts(model).parts
    assert part.label == "result0[logits]"
    np.testing.assert_allclose(result_of(show_parts(model)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(lambda x: ops.multiply(ops.sigmoid(x), np.float32(2)), id="scaled"),
        pytest.param(lambda x: ops.multiply(x, ops.sigmoid(x)), id="gate"),
        pytest.param(lambda x: ops.divide(x, ops.reduce_sum(ops.exp(x), np.array([1]), True)), id="no-softmax"),
    ],
)
def test_other_outputs_stay(last: Wrap) -> None:
    model = m.build(last(m.image("data", X.shape)))
    before = result_of(model)
    assert find_parts(model).as_they_are
    np.testing.assert_array_equal(result_of(show_parts(model)), before)


def test_a_softmax_along_its_axis_hides_a_common_shift_alone() -> None:
    def logits(shift: np.ndarray) -> np.ndarray:
        model = m.build(ops.softmax(ops.add(m.image("data", X.shape), shift.astype(np.float32)), 1))
        return result_of(show_parts(model))

    common, single = np.ones((1, 1, 1, 1)), np.array([1, 0, 0, 0]).reshape(1, 4, 1, 1)
    np.testing.assert_allclose(logits(0 * common), logits(common), atol=1e-5)
    assert np.abs(logits(0 * common) - logits(single)).max() > 0.5


def test_a_network_that_goes_on_with_a_softmax_has_no_classes_there() -> None:
    """Attention that a text model gives as an output of its own."""
    x = m.image("data", (1, 6, 8))
    attention = m.softmax(ops.matmul(x, x, False, True), "attention")
    model = m.build(m.matmul(ops.matmul(attention, x, False, False), "head"), attention)
    assert [part.classes for part in find_parts(model).parts] == [None, None]


# --- selections


def rows_of(x: ov.Node, quantize: Wrap = plain) -> tuple[ov.Node, ov.Node]:
    """Boxes and scores of 64 places, and the best score of each place."""
    boxes = m.named(ops.multiply(m.relu(m.convolution(x, "box", 4), "relu"), np.float32(40)), "boxes")
    scores = m.named(ops.sigmoid(m.convolution(x, "score", 3)), "scores")
    joined = m.reshape(m.concat("joined", boxes, scores), "flat", 1, 7, 64)
    rows = quantize(m.transpose(joined, "rows", 0, 2, 1))
    classes = ops.slice(rows, np.array([4]), np.array([7]), np.array([1]), np.array([2]))
    return rows, m.named(ops.reduce_max(classes, np.array([2]), False), "best")


def sorted_rows(quantize: Wrap = plain, pick: Wrap = plain) -> ov.Model:
    rows, best = rows_of(m.image(), quantize)
    order = m.named(ops.topk(best, np.array(10), 1, "max", "value", "i64"), "order").output(1)
    index = ops.broadcast(ops.unsqueeze(order, np.array(2)), np.array([1, 10, 7]))
    return m.build(ops.gather_elements(pick(rows), index, 1))


@pytest.mark.parametrize(("quantize", "pick"), [(plain, plain), (quantized, plain), (plain, quantized)])
def test_sorted_rows_are_compared_by_what_was_sorted(quantize: Wrap, pick: Wrap) -> None:
    found = find_parts(sorted_rows(quantize, pick))
    assert found.selected == ("result0",)
    assert [(part.label, part.tensors) for part in found.parts] == [
        ("result0[boxes]", ("boxes:0",)),
        ("result0[scores]", ("score:0",)),
    ]


def test_the_parts_of_sorted_rows_are_in_their_own_places() -> None:
    model = sorted_rows()
    data = np.random.default_rng(0).normal(size=(1, 4, 8, 8)).astype(np.float32)
    boxes, scores = results_of(show_parts(sorted_rows()), data)
    (picked,) = results_of(model, data)
    probabilities = 1 / (1 + np.exp(-scores.reshape(3, 64).T))
    best = np.argsort(-probabilities.max(axis=1), kind="stable")[:10]
    expected = np.concatenate([boxes.reshape(4, 64).T, probabilities], axis=1)[best]
    np.testing.assert_allclose(picked[0], expected, rtol=1e-5)


def test_a_suppression_is_judged_by_boxes_and_scores_once_for_all_outputs() -> None:
    x = m.image()
    boxes = m.reshape(m.convolution(x, "box", 4), "boxes", 1, 64, 4)
    scores = m.reshape(ops.sigmoid(m.convolution(x, "score", 3)), "scores", 1, 3, 64)
    kept = ops.non_max_suppression(boxes, scores, np.array(5), np.float32(0.5), np.float32(0.1))
    places = m.reshape(ops.gather(kept.output(0), np.array(2), np.array(1)), "places", -1)
    model = m.build(kept.output(1), ops.gather(m.reshape(boxes, "flat", 64, 4), places, np.array(0)))
    found = find_parts(model)
    assert found.selected == ("result0", "result1")
    assert {part.tensors for part in found.parts} >= {("score:0",)}
    assert len(found.parts) == len({part.tensors for part in found.parts})
    assert all(part.output == "result0" or part.tensors == ("flat:0",) for part in found.parts)


def test_the_largest_class_is_judged_by_the_scores() -> None:
    scores = m.convolution(m.image(), "scores", 5)
    best = ops.squeeze(ops.topk(quantized(scores), np.array(1), 1, "max", "none", "i64").output(1), np.array([1]))
    found = find_parts(m.build(ops.convert(best, "i32")))
    (part,) = found.parts
    assert (found.selected, part.label, part.classes) == (("result0",), f"result0[{part.name}]", -3)


def experts(width: int) -> ov.Model:
    """Each token is computed by the expert that scores highest, and goes on in its place."""
    x = m.image("tokens", (1, 6, 8))
    router = m.matmul(x, "router", 4)
    chosen = ops.topk(router, np.array(2), 2, "max", "value", "i64")
    weights = ops.gather(m.constant("experts", 4, 8), chosen.output(1), np.array(0))
    mixed = ops.multiply(ops.reduce_sum(weights, np.array([2]), False), x)
    return m.build(m.matmul(ops.mvn(mixed, np.array([-1]), True, 1e-5, "inside_sqrt"), "head", width))


def queries() -> ov.Model:
    """A decoder goes on with the ten tokens that score highest."""
    x = m.image("tokens", (1, 60, 8))
    best = ops.topk(ops.reduce_max(m.matmul(x, "score", 3), np.array([2]), False), np.array(10), 1, "max", "value")
    index = ops.broadcast(ops.unsqueeze(best.output(1), np.array(2)), np.array([1, 10, 8]))
    memory = m.matmul(x, "memory", 8)
    picked = ops.gather_elements(memory, index, 1)
    return m.build(m.matmul(m.relu(m.matmul(picked, "decoder", 8), "relu"), "head", 5))


def test_layers_behind_a_selection_end_it_unless_their_rows_are_those_selected() -> None:
    assert find_parts(experts(7)) == find_parts(experts(7))
    assert find_parts(experts(7)).as_they_are
    found = find_parts(queries())
    assert found.selected == ("result0",)
    # The tokens that are picked, and the scores by which they are.
    assert [part.tensors for part in found.parts] == [("memory:0",), (found.parts[1].tensors[0],)]


def test_outputs_of_integers_have_no_parts() -> None:
    x = ops.parameter([1, 4], ov.Type.i64, name="ids")
    model = m.build(ops.add(x, np.array([1])))
    assert find_parts(model).parts == ()
    assert show_parts(model) is model


# --- what a Concat joins


def test_branches_that_end_differently_are_parts() -> None:
    model = m.build(rows_of(m.image())[0])
    assert [part.label for part in find_parts(model).parts] == ["result0[boxes]", "result0[scores]"]
    boxes, scores = results_of(show_parts(model), np.ones((1, 4, 8, 8), np.float32))
    assert (boxes.shape, scores.shape) == ((1, 4, 8, 8), (1, 3, 8, 8))


def levels() -> ov.Model:
    """Three levels of a detector, each with boxes and scores."""
    parts, image = [], m.image()
    for stride in (1, 2, 4):
        x = m.biased_convolution(image, f"stem{stride}", 4, 1, stride)
        box = m.biased_convolution(x, f"box{stride}", 4)
        score = m.named(ops.sigmoid(m.biased_convolution(x, f"score{stride}", 2)), f"sigmoid{stride}")
        parts.append(m.reshape(m.concat(f"level{stride}", box, score), f"flat{stride}", 1, 6, -1))
    return m.build(m.transpose(m.concat("all", *parts, axis=2), "rows", 0, 2, 1))


def test_levels_are_put_together_kind_by_kind() -> None:
    model = levels()
    found = find_parts(model).parts
    assert [len(part.tensors) for part in found] == [3, 3]
    boxes, scores = results_of(show_parts(levels()), np.ones((1, 4, 8, 8), np.float32))
    places = 64 + 16 + 4
    assert (boxes.shape, scores.shape) == ((1, 4 * places), (1, 2 * places))


def test_branches_that_end_alike_are_one_output() -> None:
    x = m.image()
    model = m.build(m.concat("both", m.convolution(x, "one"), m.convolution(x, "other")))
    assert find_parts(model).as_they_are


def test_what_is_cut_out_of_a_concat_stays_as_it_is() -> None:
    x = m.image()
    joined = m.concat("both", m.convolution(x, "one"), m.relu(m.convolution(x, "other"), "relu"))
    cut = ops.slice(joined, np.array([0]), np.array([4]), np.array([1]), np.array([1]))
    assert find_parts(m.build(cut)).as_they_are


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        pytest.param(lambda x: m.bias(m.matmul(x, "head"), "bias"), Kind.PLAIN, id="layer"),
        pytest.param(lambda x: ops.multiply(quantized(m.matmul(x, "head")), np.float32(5)), Kind.PLAIN, id="scaled"),
        pytest.param(
            lambda x: ops.normalize_l2(m.matmul(x, "head"), np.array([2]), 1e-6, "add"), Kind.OTHER, id="unit"
        ),
        pytest.param(lambda x: ops.add(m.matmul(x, "a"), m.matmul(x, "b")), Kind.OTHER, id="sum"),
        pytest.param(lambda x: ops.matmul(x, x, False, True), Kind.OTHER, id="computed"),
        pytest.param(lambda x: ops.tanh(m.matmul(x, "head")), Kind.OTHER, id="bounded"),
    ],
)
def test_what_computes_an_output(last: Wrap, kind: Kind) -> None:
    (part,) = find_parts(m.build(last(m.image("data", (1, 6, 8))))).parts
    assert part == Part("result0", "", part.tensors, kind=kind)


def test_logarithms_of_probabilities_are_classes() -> None:
    (part,) = find_parts(m.build(ops.log_softmax(m.image("data", (1, 6, 8)), 2))).parts
    assert (part.label, part.classes) == ("result0", -1)
