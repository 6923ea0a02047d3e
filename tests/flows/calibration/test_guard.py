"""An INT8 model that computes something wrong is not written as if it were fine."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.errors import BrokenModelError
from tasks.graph import insertion, tensors
from tasks.graph.operations import Edge
from tests.flows.conftest import UNREVIEWED, Commands, RunFlow
from tests.support import models as m


@pytest.fixture
def stack(tmp_path: Path) -> tuple[str, ...]:
    """A stack of constant matrices, and signed data for it."""
    x = m.image("x", (8, 4, 16))
    layer = m.named(ops.matmul(x, m.constant("weights", 8, 16, 16), False, False), "layer")
    ov.save_model(m.build(m.relu(layer, "y")), tmp_path / "model.xml", compress_to_fp16=False)
    data = np.random.default_rng(0).normal(size=(24, 8, 4, 16)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=data)
    np.savez(tmp_path / "small.npz", x=data / 50)
    return f"model.path={tmp_path}/model.xml", "dataset=arrays", f"dataset.path={tmp_path}/x.npz"


# So coarse that small values all become zero: the error is the signal.
COARSE = ("quantization.weights.bits=2", "quantization.activations.bits=2")


def one_scale_a_feature(axes: Callable[[Edge], tuple[int, ...]]) -> Callable[[Edge], tuple[int, ...]]:
    """What OpenVINO computes wrongly: one scale for a feature of all matrices."""

    def chosen(edge: Edge) -> tuple[int, ...]:
        return axes(edge)[-1:] if edge.operation.type == "MatMul" and edge.port else axes(edge)

    return chosen


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # figures of such outputs overflow
@pytest.mark.parametrize("analyze", [True, False])
def test_a_kernel_that_is_wrong_is_named_and_nothing_is_written(
    run_flow: RunFlow, stack: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, analyze: bool
) -> None:
    settings = (*stack, f"evaluation.analyze={analyze}", "evaluation.page=false", "quantization.bias_correction=false")
    monkeypatch.setattr(tensors, "channel_axes", one_scale_a_feature(insertion.channel_axes))
    with pytest.raises(BrokenModelError) as broken:
        run_flow(tmp_path / "home", *settings)
    text = str(broken.value)
    assert "OpenVINO computes 'layer' otherwise than its own quantized graph says" in text
    assert "quantization.ignored.scope=[layer]" in text
    assert "\n" not in text
    assert not (tmp_path / "output").exists()
    report = run_flow(tmp_path / "home", *settings, "evaluation.allow_broken=true")
    assert [note for note in report.notes if note.startswith("the INT8 model is broken: output 'result0'")]
    assert (tmp_path / "output" / "model.xml").exists()
    monkeypatch.undo()


def test_more_noise_than_signal_ends_with_code_1_and_leaves_what_was_there(
    commands: Commands, run_flow: RunFlow, stack: tuple[str, ...], tmp_path: Path
) -> None:
    output = tmp_path / "OUT"
    settings = (*stack, f"validation.path={tmp_path}/small.npz", f"output_dir={output}", *UNREVIEWED)
    run_flow(commands.home, *settings)
    before = {file.name: file.read_bytes() for file in output.iterdir()}
    broken = commands.run("ptq-quantize", *settings, *COARSE)
    assert broken.code == 1
    assert broken.complaints[-1].startswith(
        "the INT8 model is broken: output 'result0', judged by 'y:0', has an SQNR of"
    )
    assert "evaluation.allow_broken=true" in broken.complaints[-1]
    assert "Traceback" not in broken.err
    assert {file.name: file.read_bytes() for file in output.iterdir()} == before
    trial = commands.run("ptq-quantize", "-m", *settings, *COARSE, "quantization.preset=performance,mixed")
    assert trial.code == 1
    assert "trial 0 failed: the INT8 model is broken" in trial.err
