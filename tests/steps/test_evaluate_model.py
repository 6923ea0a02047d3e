"""What decides the outputs is compared, for acceptance and for the report alike."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.data.arrays import Arrays
from tasks.engine.artifact_store import Store
from tasks.numerics.metrics import sqnr
from tasks.records import Runtime
from tasks.steps.evaluate_model import evaluate_model
from tasks.steps.load_dataset import load_dataset
from tests.support import models as m


def best_rows(error: float) -> ov.Model:
    """The ten best of 64 rows of four large boxes and one score each, all scores close to each other."""
    image = m.image("x", (1, 4, 8, 8))
    boxes = m.named(ops.multiply(m.relu(m.convolution(image, "box", 4), "relu"), np.float32(100)), "boxes")
    shifted = ops.add(m.convolution(image, "score", 1), np.float32(0))
    jitter = ops.multiply(ops.sin(ops.multiply(shifted, np.float32(900))), np.float32(error))
    scores = m.named(ops.sigmoid(ops.add(ops.multiply(shifted, np.float32(0.05)), jitter)), "scores")
    rows = m.transpose(m.reshape(m.concat("both", boxes, scores), "flat", 1, 5, 64), "rows", 0, 2, 1)
    score = ops.squeeze(ops.slice(rows, np.array([4]), np.array([5]), np.array([1]), np.array([2])), np.array([2]))
    best = ops.topk(score, np.array(10), 1, "max", "value", "i64").output(1)
    model = m.build(ops.gather(rows, ops.squeeze(best, np.array([0])), np.array(1)))
    model.outputs[0].get_tensor().set_names({"best"})
    return model


@pytest.mark.parametrize("gate", [False, True])
def test_rows_in_another_order_are_compared_by_what_was_sorted(
    runtime: Runtime, store: Store, tmp_path: Path, *, gate: bool
) -> None:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(6, 4, 8, 8)).astype(np.float32))
    data = load_dataset.fn(Arrays(tmp_path / "x.npz"), "", None, runtime)
    exact, other = (store.put_model(best_rows(error), "rows") for error in (0.0, 0.003))
    reference = evaluate_model.fn(exact, data, None, runtime, gate=gate)
    found = evaluate_model.fn(other, data, reference, runtime, gate=gate).metrics
    parts = {"sqnr_db/best[boxes]": np.inf, "sqnr_db/best[scores]": found["sqnr_db/best[scores]"]}
    assert 20 < (found["sqnr_db/best[scores]"] or 0) < 40
    if gate:
        assert found == parts
        return
    assert found.keys() == {"sqnr_db", "cosine", *parts}
    assert (found["sqnr_db"] or 0) > 60
    assert "what the selection reads is compared: best[boxes], best[scores]" in reference.notes[0]
    both = [evaluate_model.fn(each, data, None, runtime, alone=True).outputs for each in (exact, other)]
    rows = [store.open_arrays(each)["best"] for each in both if each]
    assert sqnr(*rows) < 15


def test_probabilities_keep_their_figures_and_add_those_of_logits(
    runtime: Runtime, store: Store, tmp_path: Path
) -> None:
    def classifier(scale: float) -> ov.Model:
        model = m.build(m.softmax(ops.multiply(m.matmul(m.image("x", (1, 8)), "head", 5), np.float32(scale)), "p"))
        model.outputs[0].get_tensor().set_names({"p"})
        return model

    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(9, 8)).astype(np.float32))
    data = load_dataset.fn(Arrays(tmp_path / "x.npz"), "", None, runtime)
    exact, other = (store.put_model(classifier(scale), "classes") for scale in (9.0, 9.09))
    whole, gate = (evaluate_model.fn(exact, data, None, runtime, gate=each) for each in (False, True))
    found = evaluate_model.fn(other, data, whole, runtime).metrics
    judged = evaluate_model.fn(other, data, gate, runtime, gate=True).metrics
    assert found.keys() == {"sqnr_db", "cosine", "agreement", "expected_agreement", "sqnr_db/p[logits]"}
    assert found["sqnr_db/p[logits]"] == judged["sqnr_db"] == pytest.approx(40, abs=1e-3)
    assert found["expected_agreement"] == judged["expected_agreement"]
    assert (
        whole.outputs
        and whole.parts != whole.outputs == evaluate_model.fn(exact, data, None, runtime, alone=True).outputs
    )
