"""Recorded cases through the whole flow, with its defaults: the written model has the limits that POT chose."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from tests.algorithms.test_parity import GOLDEN, RECORDED, flat
from tests.flows.conftest import REVIEW, RunFlow

CASES = {
    "mobile-default": (),
    "attention-mixed": ("preset=mixed",),
    "convnet-subset_shuffled": ("stat_subset_size=5", "shuffle_data=true", "seed=3"),
    "convnet-ignored_attributes": ("ignored.operations=[{type:Convolution,attributes:{strides:[2,2]}}]",),
}
pytestmark = pytest.mark.skipif(not RECORDED, reason="no recorded cases beside the repository")


@pytest.mark.parametrize(("name", "overrides"), CASES.items(), ids=CASES)
def test_the_flow_writes_the_limits_of_pot(
    tmp_path: Path, run_flow: RunFlow, name: str, overrides: tuple[str, ...]
) -> None:
    model, _, case_id = name.partition("-")
    folder = GOLDEN / model
    case = next(case for place, case in RECORDED if place == folder and case["id"] == case_id)
    run_flow(
        tmp_path / "home",
        f"model.path='{folder}/model.xml'",
        "dataset=arrays",
        f"dataset.path='{folder}/calibration.npz'",
        "quantization.stat_subset_size=null",
        "evaluation.subset_size=2",
        *REVIEW,
        *(f"quantization.{each}" for each in overrides),
    )
    written = ov.Core().read_model(tmp_path / "output" / "model.xml")
    found = {consumers(node): node for node in written.get_ordered_ops() if node.get_type_name() == "FakeQuantize"}
    expected = {tuple(sorted(each["consumers"])): each for each in case["fake_quantize"] if is_activation(each)}
    assert found.keys() == expected.keys()
    for where, each in expected.items():
        # The tensors of a Concat share a scale, in which POT left zero between two levels.
        tolerance = 0.02 if any(consumer.startswith("concat:") for consumer in where) else 1e-4
        for port, limit in ((3, "output_low"), (4, "output_high")):
            ours = found[where].input_value(port).get_node().get_data().reshape(-1)
            theirs = flat(each[limit])
            span = float(np.max(flat(each["output_high"]) - flat(each["output_low"])))
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=1e-6 * span, err_msg=str(where))


def consumers(node: ov.Node) -> tuple[str, ...]:
    readers = node.output(0).get_target_inputs()
    return tuple(sorted(f"{reader.get_node().get_friendly_name()}:{reader.get_index()}" for reader in readers))


def is_activation(recorded: dict[str, Any]) -> bool:
    return bool(recorded["group"] == "activations")
