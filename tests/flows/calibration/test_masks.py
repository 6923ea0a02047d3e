"""Masks of attention: the least number there is, or infinity, in front of a softmax."""

import re
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.errors import InputError
from tests.flows.conftest import RunFlow
from tests.support import models as m

WIDTH, WORDS = 16, 8
LEAST = float(np.finfo(np.float32).min)
LEAST_OF_FLOAT16 = float(np.finfo(np.float16).min)
CAUSAL = np.triu(np.ones((WORDS, WORDS), np.float32), 1)


def _dense(x: ov.Output, name: str) -> ov.Node:
    weights = np.random.default_rng(len(name)).normal(0, WIDTH**-0.5, (WIDTH, WIDTH)).astype(np.float32)
    return m.named(ops.matmul(x, ops.constant(weights), False, True), name)


def _select(seen: ov.Node, value: float) -> ov.Node:
    masked = ops.equal(seen, ops.constant(np.float32(0)))
    return ops.select(masked, ops.constant(np.float32(value)), ops.constant(np.float32(0)))


def _scaled(seen: ov.Node, value: float) -> ov.Node:
    return ops.multiply(ops.subtract(ops.constant(np.float32(1)), seen), ops.constant(np.float32(value)))


MASKS = {
    "least selected": lambda seen: _select(seen, LEAST),
    "least scaled": lambda seen: _scaled(seen, LEAST),
    "minus infinity": lambda seen: _select(seen, -np.inf),
    "a billion": lambda seen: _select(seen, -1e9),
    "a billion scaled": lambda seen: _scaled(seen, -1e9),
    "least of float16": lambda seen: _scaled(seen, LEAST_OF_FLOAT16),
    "a constant": lambda seen: ops.add(ops.constant(CAUSAL[None] * np.float32(LEAST)), _select(seen, -100.0)),
    "a sum": lambda seen: ops.add(ops.constant(CAUSAL[None] * np.float32(LEAST)), _select(seen, LEAST)),
    "an input": lambda seen: seen,
}
REFUSED = {
    "least selected": "reaches -3.403e+38",
    "least scaled": "reaches -3.403e+38",
    "minus infinity": "reaches -inf",
    "a constant": "reaches -3.403e+38",
    "a sum": "reaches -",
    "an input": "reaches -3.403e+38",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def masked(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Arguments for one block of attention over words of which some are masked."""
    words, seen = m.image("words", (1, WORDS, WIDTH)), m.image("seen", (1, 1, WORDS))
    q, k, v = (_dense(words.output(0), name) for name in ("q", "keys", "values"))
    scores = m.named(ops.matmul(q, k, False, True), "scores")
    masked = m.named(ops.add(scores, MASKS[request.param](seen)), "masked")
    attended = ops.matmul(m.named(ops.softmax(masked, -1), "shares"), v, False, False)
    last = _dense(ops.add(words, _dense(attended.output(0), "joined")).output(0), "last")
    ov.save_model(ov.Model([last], [words, seen], "masked"), tmp_path / "m.xml", compress_to_fp16=False)
    rng = np.random.default_rng(0)
    told = (np.arange(WORDS) < rng.integers(2, WORDS + 1, 30)[:, None]).astype(np.float32)[:, None]
    if request.param == "an input":
        told = np.where(told > 0, np.float32(0), np.float32(LEAST))
    np.savez(tmp_path / "x.npz", words=rng.standard_normal((30, WORDS, WIDTH)).astype(np.float32), seen=told)
    data = [f"{role}=arrays" for role in ("dataset", "validation")]
    return (f"model.path='{tmp_path}/m.xml'", f"dataset.path='{tmp_path}/x.npz'", *data)


ALL_MASKS = [pytest.param(kind, marks=[] if kind == "least scaled" else [pytest.mark.slow]) for kind in MASKS]
every_mask = pytest.mark.parametrize("masked", ALL_MASKS, indirect=True)


@every_mask
def test_transformers_keep_any_mask(home: Path, run_flow: RunFlow, masked: tuple[str, ...]) -> None:
    report = run_flow(home, *masked, "quantization=transformer")
    assert (report.metrics["int8"]["sqnr_db"] or 0) > 30


@every_mask
def test_by_default_a_mask_that_no_levels_cover_is_refused_with_what_helps(
    home: Path, run_flow: RunFlow, masked: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["masked"]
    if kind not in REFUSED:
        report = run_flow(home, *masked)
        assert (report.metrics["int8"]["sqnr_db"] or 0) > 20
        return
    with pytest.raises(InputError, match=re.escape(REFUSED[kind])) as refusal:
        run_flow(home, *masked)
    assert "keep what reads it float: quantization=transformer, or quantization.ignored.scope=" in str(refusal.value)


@every_mask
def test_the_model_type_auto_settles_on_transformer(
    home: Path, run_flow: RunFlow, masked: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    best = "quantization=best", "quantization.use_layerwise_tuning=false"
    report = run_flow(home, *masked, *best)
    assert (report.metrics["int8"]["sqnr_db"] or 0) > 30
    refused = any(note.startswith("model_type: auto is transformer: ") for note in report.notes)
    assert refused == (request.node.callspec.params["masked"] in REFUSED)


def test_what_is_refused_as_a_transformer_too_names_the_operations_alone(
    home: Path, run_flow: RunFlow, tmp_path: Path
) -> None:
    x = m.image("x", (1, 8))
    far = ops.multiply(x, ops.constant(np.float32(3e38)))
    ov.save_model(
        m.build(m.matmul(m.named(ops.unsqueeze(far, ops.constant(0)), "row"), "layer", 4)), tmp_path / "m.xml"
    )
    np.save(tmp_path / "x.npy", np.ones((8, 8), np.float32))
    data = [f"{role}=arrays" for role in ("dataset", "validation")]
    paths = f"model.path='{tmp_path}/m.xml'", f"dataset.path='{tmp_path}/x.npy'"
    with pytest.raises(InputError, match=r"keep what reads it float: quantization\.ignored\.scope=\[layer\]"):
        run_flow(home, *paths, *data)
