"""What ``ptq-plan`` says is what a run does, and it needs no data for that."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from hydra import compose, initialize_config_module
from safetensors.numpy import load_file

from flows.plan import plan
from tasks.config.schema import QuantizeConfig, from_hydra
from tasks.errors import InputError
from tasks.steps.plan_quantization import Plan
from tests.flows.conftest import Commands, RunFlow
from tests.support import models as m


def planned(home: Path, *overrides: str) -> Plan:
    with initialize_config_module("conf", version_base="1.3"):
        arguments = [f"runtime.home='{home}'", "dataset=arrays", "dataset.path=nowhere.npz", *overrides]
        return plan(from_hydra(compose("quantize", overrides=arguments), QuantizeConfig))


@pytest.fixture
def model(tmp_path: Path) -> str:
    ov.save_model(m.convnet(), tmp_path / "convnet.xml", compress_to_fp16=False)
    return f"model.path='{tmp_path}/convnet.xml'"


@pytest.mark.parametrize(
    "overrides",
    [(), ("quantization.preset=mixed", "quantization.weights.bits=4"), ("quantization.ignored.scope=[sum]",)],
)
def test_a_run_inserts_what_was_planned(
    tmp_path: Path, run_flow: RunFlow, model: str, overrides: tuple[str, ...]
) -> None:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(8, 4, 8, 8)).astype(np.float32))
    data = ("dataset=arrays", f"dataset.path='{tmp_path}/x.npz'")
    report = run_flow(tmp_path / "home", model, *data, *overrides)
    found = planned(tmp_path / "home", model, *overrides)
    roles = [str(each.point.role) for each in found.quantizers]
    assert report.quantizers == {role: roles.count(role) for role in report.quantizers}
    assert {each["name"]: each["reason"] for each in report.float_operations} == {
        each.name: each.reason for each in found.float_operations
    }
    written = ov.Core().read_model(tmp_path / "output" / "model.xml")
    assert {
        node.get_friendly_name(): node.get_attributes()["levels"]
        for node in written.get_ordered_ops()
        if node.get_type_name() == "FakeQuantize"
    } == {each.point.name: each.levels for each in found.quantizers if each.point.role == "activations"}


def test_the_memory_of_the_statistics_is_what_they_take(tmp_path: Path, run_flow: RunFlow, model: str) -> None:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(64, 4, 8, 8)).astype(np.float32))
    data = ("dataset=arrays", f"dataset.path='{tmp_path}/x.npz'", "quantization.channel_alignment=false")
    run_flow(tmp_path / "home", model, *data)
    arrays = (tmp_path / "home" / "arrays").rglob("*.safetensors")
    largest = max(file.stat().st_size for file in arrays if any(name.endswith("::maximum") for name in load_file(file)))
    cost = planned(tmp_path / "home", model).cost
    assert cost is not None
    assert cost.seconds_per_sample > 0
    # The file has a header for each array.
    assert 64 * cost.statistics_bytes_per_sample <= largest < 64 * cost.statistics_bytes_per_sample + 20_000


def test_what_is_printed(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    scope = "quantization.ignored.scope=[branch,{re:s.*}]"
    operations = "quantization.ignored.operations=[{type:MaxPool}]"
    planned(tmp_path / "home", model, scope, operations, "quantization.stat_subset_size=100")
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for words in (
        "convnet: quantizers (",
        "8 bit symmetric per channel, 255 levels",
        "left float: ",
        "ignored branch: 1 operation (branch)",
        "ignored re: s.*: 2 operations (stem, sum)",
        "ignored MaxPool: 1 operation (pool)",
        "tensors in 1 pass: about",
    ):
        assert words in text


def test_free_axes_leave_the_cost_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data: Any = m.named(ov.opset13.parameter(ov.PartialShape([-1, 4, -1, -1]), ov.Type.f32), "image")
    weights = m.constant("weights", 4, 4, 1, 1)
    node = m.named(ov.opset13.convolution(data, weights, [1, 1], [0, 0], [0, 0], [1, 1]), "conv")
    ov.save_model(m.build(node), tmp_path / "free.xml", compress_to_fp16=False)
    assert planned(tmp_path / "home", f"model.path='{tmp_path}/free.xml'").cost is None
    assert "cost: not known" in capsys.readouterr().out


def test_mistakes_are_those_of_a_run(tmp_path: Path, model: str) -> None:
    with pytest.raises(InputError, match=r"quantization\.ignored\.scope: the model has no operation 'brnch'; nearest"):
        planned(tmp_path / "home", model, "quantization.ignored.scope=[brnch]")


def test_the_command_ends_with_2_for_a_mistake(commands: Commands) -> None:
    outcome = commands.run("ptq-plan", "quantization.ignored.scope=[widn]")
    assert outcome.code == 2
    [line] = outcome.complaints
    assert "quantization.ignored.scope: the model has no operation 'widn'; nearest: widen" in line
