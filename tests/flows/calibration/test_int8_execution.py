"""A whole run compares OpenVINO's runtime model with what was meant, mends it and tells."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tests.flows.conftest import RunFlow
from tests.support import models as m


@pytest.mark.slow
def test_what_runs_in_floats_is_quantized_elsewhere_or_named(run_flow: RunFlow, tmp_path: Path) -> None:
    first = m.convolution(m.image("x", (1, 4, 8, 8)), "first")
    padded = ops.pad(first, m.integers("before", 0, 0, 1, 0), m.integers("after", 0, 0, 0, 1), "constant")
    joined = m.max_pool(m.named(padded, "padded"), "pool")
    second = m.convolution(joined, "second")
    none, one = [0, 0], [1, 1]
    last = ops.convolution_backprop_data(second, m.constant("last_weights", 4, 6, 3, 3), one, None, none, none, one)
    ov.save_model(m.build(m.relu(m.named(last, "last"), "out")), tmp_path / "m.xml", compress_to_fp16=False)
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).standard_normal((20, 4, 8, 8)).astype(np.float32))
    data = [f"{role}=arrays" for role in ("dataset", "validation")]
    paths = f"model.path='{tmp_path}/m.xml'", f"dataset.path='{tmp_path}/x.npz'"
    report = run_flow(tmp_path / "home", *paths, *data, "quantization.preset=mixed")
    assert any(note.startswith("quantizers stand behind 'pool'") for note in report.notes)
    assert any("'last' run in floats" in note and "target_device=CPU" in note for note in report.notes)
    on_cpu = run_flow(tmp_path / "home", *paths, *data, "quantization.preset=mixed", "quantization.target_device=CPU")
    assert not any("in floats" in note for note in on_cpu.notes)
