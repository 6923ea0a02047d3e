"""What a model is called by outside survives every step: inputs, outputs, tensors, layouts, runtime info."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino.preprocess import ColorFormat, PrePostProcessor

from tests.flows.conftest import RunFlow
from tests.support import models as m


def annotated() -> ov.Model:
    """Layers without biases, to be aligned and corrected, with outputs amid them and preprocessing in front."""
    hidden = m.relu(m.convolution(m.image(shape=(1, 3, 8, 8)), "first", 8), "first_relu")
    last = m.convolution(m.convolution(hidden, "second", 8), "third", 8)
    active = m.relu(last, "third_relu")
    scores = m.matmul(m.reshape(m.mean(active, "mean"), "flat", 1, 8), "classifier", 5)
    model = m.build(last, active, scores)
    for output, names in zip(model.outputs, ({"map", "map:0"}, {"active"}, {"scores", "scores:0"}), strict=True):
        output.get_tensor().set_names(names)
    model.input(0).get_tensor().set_names({"pixels", "pixels:0"})
    steps = PrePostProcessor(model)
    steps.input().tensor().set_layout(ov.Layout("NHWC")).set_element_type(ov.Type.u8).set_color_format(ColorFormat.BGR)
    steps.input().model().set_layout(ov.Layout("NCHW"))
    steps.input().preprocess().convert_color(ColorFormat.RGB).convert_element_type(ov.Type.f32).mean(127.0).scale(50.0)
    model = steps.build()
    model.get_results()[2].set_layout(ov.Layout("NC"))
    model.set_rt_info("cats dogs", ["model_info", "labels"])
    model.set_rt_info("BGR", ["model_info", "nested", "color"])
    return model


def outside(path: Path) -> dict[str, Any]:
    model = ov.Core().read_model(path)
    ports = {"in": model.inputs, "out": model.outputs}
    return {
        "name": model.get_friendly_name(),
        "labels": model.get_rt_info(["model_info", "labels"]).astype(str),
        "color": model.get_rt_info(["model_info", "nested", "color"]).astype(str),
        **{
            f"{side}{place}": (
                sorted(port.get_names()),
                port.get_node().get_friendly_name(),
                str(port.get_node().get_layout()),
                str(port.get_element_type()),
                str(port.get_partial_shape()),
            )
            for side, found in ports.items()
            for place, port in enumerate(found)
        },
    }


@pytest.mark.parametrize("fast", [True, False])
def test_all_that_is_seen_from_outside_survives(tmp_path: Path, run_flow: RunFlow, *, fast: bool) -> None:
    ov.save_model(annotated(), tmp_path / "model.xml", compress_to_fp16=False)
    pictures = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", x=pictures)
    report = run_flow(
        tmp_path / "home",
        f"model.path='{tmp_path}/model.xml'",
        "dataset=arrays",
        f"dataset.path='{tmp_path}/x.npz'",
        "quantization.gate_samples=0",
        f"quantization.use_fast_bias={str(fast).lower()}",
    )
    assert outside(tmp_path / "output" / "model.xml") == outside(tmp_path / "model.xml")
    # All of these steps edited the model.
    stages = {stage.name for stage in report.stages}
    assert stages >= {"align_channels", "insert_fake_quantize", "correct_biases"}
    assert ("correct_sequentially" in stages) != fast
