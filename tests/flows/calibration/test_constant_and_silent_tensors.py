"""Whole runs of models with computed constants, with inputs that calibration never saw, and with a state."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.errors import InputError
from tasks.numerics.metrics import sqnr
from tasks.records import Report
from tests.flows.conftest import RunFlow
from tests.support import models as m

WIDTH = 16
RNG = np.random.default_rng(0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def _normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def _run(run_flow: RunFlow, folder: Path, model: ov.Model, *options: str, **inputs: np.ndarray) -> Report:
    """Calibrate on ``inputs``, samples on axis 0, and evaluate on the same."""
    ov.save_model(model, folder / "m.xml", compress_to_fp16=False)
    np.savez(folder / "x.npz", allow_pickle=False, **inputs)
    data = [f"{role}=arrays" for role in ("dataset", "validation")]
    paths = f"model.path='{folder}/m.xml'", f"dataset.path='{folder}/x.npz'"
    return run_flow(folder / "home", *paths, *data, *options)


def _compiled(path: Path) -> ov.CompiledModel:
    return ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def test_constant_attention_is_weights(run_flow: RunFlow, tmp_path: Path) -> None:
    """Learned queries attend to each other before they see an input: all of that is one constant."""
    queries = ops.constant(_normal(1, 2, 4, WIDTH))
    alone = m.named(ops.scaled_dot_product_attention(queries, queries, queries), "alone")
    memory = m.image("memory", (1, 2, 6, WIDTH))
    attended = m.named(ops.scaled_dot_product_attention(ops.add(queries, alone), memory, memory), "attended")
    model = m.build(m.matmul(attended, "last", 4))
    report = _run(run_flow, tmp_path, model, memory=_normal(20, 2, 6, WIDTH))
    assert (report.metrics["int8"]["sqnr_db"] or 0) > 28
    assert any("'attended' multiplies computed matrices" in note for note in report.notes)


def test_an_input_that_was_zero_throughout_is_not_cut_off_later(run_flow: RunFlow, tmp_path: Path) -> None:
    other = m.matmul(m.image("z", (1, WIDTH)), "other", 8)
    both = m.add(m.matmul(m.image("x", (1, WIDTH)), "own", 8), other, "sum")
    model = m.build(m.matmul(m.relu(both, "relu"), "last", 4), other)
    report = _run(run_flow, tmp_path, model, x=_normal(20, WIDTH), z=np.zeros((20, WIDTH), np.float32))
    reason = "'z:0' was zero in all samples, which leaves no range to quantize"
    assert {"name": "other", "type": "MatMul", "reason": reason} in report.float_operations
    assert f"MatMul 'other' stays float: {reason}" in report.notes
    written = ov.Core().read_model(tmp_path / "output" / "model.xml")
    quantizers = {node.get_friendly_name() for node in written.get_ops() if node.get_type_name() == "FakeQuantize"}
    assert "own/fq_input_0" in quantizers
    assert not any(name.startswith("other") for name in quantizers)
    before, after = (_compiled(path) for path in (tmp_path / "m.xml", tmp_path / "output" / "model.xml"))
    later = [{"x": _normal(1, WIDTH), "z": _normal(1, WIDTH)} for _ in range(20)]
    found = [np.array([each(sample)[1] for sample in later]) for each in (before, after)]
    assert sqnr(*found) > 100


def test_a_state_that_starts_with_zeros_is_not_cut_off_later(run_flow: RunFlow, tmp_path: Path) -> None:
    x = m.image("x", (1, 1, WIDTH))
    state = m.named(
        ops.read_value(ops.constant(np.zeros((1, 1, WIDTH), np.float32)), "s", np.float32, [1, 1, WIDTH]), "s"
    )
    kept = ops.constant(0.5 * np.eye(WIDTH, dtype=np.float32) + 0.1 * _normal(WIDTH, WIDTH))
    again = m.named(ops.matmul(state, kept, False, True), "again")
    now = m.named(ops.tanh(m.add(m.matmul(x, "in", WIDTH), again, "sum")), "now")
    model = ov.Model([ops.result(m.matmul(now, "last", 4))], [ops.assign(now, "s")], [x], "state")
    report = _run(run_flow, tmp_path, model, "quantization=transformer", x=0.3 * _normal(40, 1, 1, WIDTH))
    assert (
        "MatMul 'again' stays float: 's:0' was zero in all samples, which leaves no range to quantize" in report.notes
    )
    steps = 0.3 * _normal(30, 1, 1, WIDTH)
    found = []
    for path in (tmp_path / "m.xml", tmp_path / "output" / "model.xml"):
        request = _compiled(path).create_infer_request()
        found.append(np.array([request.infer([step])[0] for step in steps]))
    assert sqnr(*found) > 15


def test_zeros_alone_are_refused(run_flow: RunFlow, tmp_path: Path) -> None:
    model = m.build(m.matmul(m.image("x", (1, WIDTH)), "layer", 4))
    with pytest.raises(InputError, match=r"no operation that ANY quantizes: MatMul 'layer' \('x:0' was zero in all"):
        _run(run_flow, tmp_path, model, x=np.zeros((8, WIDTH), np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["best", "cnn", "mobile"])
def test_every_recipe_takes_an_input_of_zeros(run_flow: RunFlow, tmp_path: Path, recipe: str) -> None:
    """LevelsPerSide that smooth, align and equalize see channels and tensors of zeros as well, and warn of nothing."""
    image, other = m.image("x", (1, 4, 8, 8)), m.image("z", (1, 4, 8, 8))
    first = m.relu(m.biased_convolution(image, "first"), "relu")
    joined = m.add(first, m.convolution(other, "other"), "sum")
    model = m.build(m.grouped_convolution(m.convolution(m.biased_convolution(joined, "a"), "b"), "depthwise", groups=4))
    some = _normal(20, 4, 8, 8)
    some[:, 2] = 0
    report = _run(run_flow, tmp_path, model, f"quantization={recipe}", x=some, z=np.zeros_like(some))
    assert (report.metrics["int8"]["sqnr_db"] or 0) > 20
    assert any("Convolution 'other' stays float: 'z:0' was zero" in note for note in report.notes)
