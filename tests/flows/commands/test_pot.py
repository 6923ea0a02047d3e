"""``ptq-pot`` from end to end: POT's output, metrics of a detector float and INT8, Hydra's equivalent, failures."""

import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from tests.flows.conftest import UNREVIEWED, Commands, Outcome
from tests.pot.conftest import CORPUS, SHAPES
from tests.shapes.render import write_coco, write_voc

CALIBRATION, VALIDATION = range(24), range(10_000, 10_060)
QUICK = ("evaluation.speed_seconds=0", *UNREVIEWED)


@dataclass(frozen=True)
class Place:
    """A folder with the corpus and rendered data, and the command run there."""

    commands: Commands
    folder: Path
    home: Path

    def run(self, *arguments: str, command: str = "ptq-pot") -> Outcome:
        return Commands(self.commands.environment, self.folder, self.home).run(command, *arguments)

    def write(self, name: str, content: Any) -> None:
        (self.folder / name).write_text(json.dumps(content), encoding="utf-8")

    def output(self, name: str) -> Path:
        (folder,) = (self.folder / "results" / name).iterdir()
        return folder


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State of these runs: other tests look for those of one model in the home that they share."""
    return tmp_path_factory.mktemp("pot") / "home"


@pytest.fixture
def place(commands: Commands, home: Path, tmp_path: Path) -> Place:
    folder = tmp_path / "place"
    shutil.copytree(CORPUS, folder)
    shutil.copy(SHAPES, folder / "model.xml")
    shutil.copy(SHAPES.with_suffix(".bin"), folder / "model.bin")
    write_voc(folder / "voc", CALIBRATION)
    write_coco(folder / "coco", VALIDATION, width=96, height=80)
    (folder / "meta.json").write_text('{"labels": ["circle", "square", "triangle"]}')
    return Place(commands, folder, home)


def evaluated(outcome: Outcome) -> dict[str, float]:
    """The lines ``name : value``."""
    pairs = (line.partition(" : ") for line in outcome.out.splitlines() if " : " in line)
    return {name: float(number) for name, _, number in pairs}


def test_the_published_template_runs(place: Place) -> None:
    outcome = place.run("-c", "template.json", "-e")
    assert outcome.code == 0, outcome.err
    output = place.output("model_name_DefaultQuantization")
    files = {str(file.relative_to(output)) for file in output.rglob("*") if file.is_file()}
    optimized = {"optimized/model_name.bin", "optimized/model_name.xml"}
    assert files == {"log.txt", "manifest.json", "report.html", "report.json", *optimized}
    values = evaluated(outcome)
    report = json.loads((output / "report.json").read_text())
    assert values["map"] == report["metrics"]["int8"]["map"] >= 0.95
    assert report["metrics"]["float"]["map"] >= 0.95
    log = (output / "log.txt").read_text()
    assert f"map : {values['map']}" in log
    assert "quantization.preset=performance" in log
    model = ov.Core().read_model(output / "optimized" / "model_name.xml")
    assert "FakeQuantize" in {node.get_type_name() for node in model.get_ordered_ops()}


@pytest.mark.slow
def test_a_detector_is_as_good_in_int8_on_images_of_another_size(place: Place) -> None:
    content = json.loads(json.dumps({"model": {"model": "model.xml"}, "engine": {}, "compression": {}}))
    adapter = {
        "type": "yolo_v3",
        "outputs": ["grid"],
        "classes": 3,
        "num": 2,
        "anchors": [18, 18, 28, 28],
        "raw_output": True,
        "threshold": 0.01,
    }
    preprocessing = [{"type": "resize", "size": 64}, {"type": "normalization", "std": 255}]
    content["engine"] = {
        "launchers": [{"framework": "openvino", "adapter": adapter}],
        "datasets": {
            "preprocessing": preprocessing,
            "optimization": {"name": "some", "data_source": "voc/JPEGImages"},
            "evaluation": {
                "name": "others",
                "data_source": "coco/images",
                "annotation_conversion": {"converter": "mscoco_detection", "annotation_file": "coco/instances.json"},
                "postprocessing": [
                    {"type": "resize_prediction_boxes"},
                    {"type": "class_aware_nms", "overlap": 0.5, "include_boundaries": False},
                ],
                "metrics": [{"type": "map"}, {"type": "coco_precision", "max_detections": 100}],
            },
        },
    }
    content["compression"] = {"algorithms": [{"name": "DefaultQuantization", "params": {"preset": "mixed"}}]}
    place.write("detector.json", content)
    outcome = place.run("-c", "detector.json", "-e")
    assert outcome.code == 0, outcome.err
    report = json.loads((place.output("model_DefaultQuantization") / "report.json").read_text())
    before, after = report["metrics"]["float"], report["metrics"]["int8"]
    assert report["samples"] == {"calibration": 24, "validation": 60}
    # Stretched shapes: the detector was trained on square images only.
    assert before["map"] > 0.9
    assert after["map"] > before["map"] - 0.05
    assert after["coco_precision"] > before["coco_precision"] - 0.1
    assert evaluated(outcome)["map/circle"] == after["map/circle"]


def test_hydra_does_the_same(place: Place) -> None:
    printed = place.run("-c", "template.json", "--to-hydra", "-e")
    assert printed.code == 0, printed.err
    assert not (place.folder / "results" / "model_name_DefaultQuantization").exists() or not list(
        (place.folder / "results" / "model_name_DefaultQuantization").iterdir()
    )
    command, _, yaml = printed.out.partition("\n\n")
    words = shlex.split(command.replace("\\\n", " "))
    assert words[0] == "ptq-quantize"
    assert "override /dataset: annotated_files" in yaml
    assert place.run(*words[1:], *QUICK, command=words[0]).code == 0
    assert place.run("-c", "template.json", "-e", *QUICK, "-d", "--output-dir", "direct").code == 0
    for suffix in ("xml", "bin"):
        hydra = place.folder / "results" / "model_name_DefaultQuantization" / f"model.{suffix}"
        assert hydra.read_bytes() == (place.folder / "direct" / "optimized" / f"model_name.{suffix}").read_bytes()


@pytest.mark.slow
def test_several_files_share_the_cache_and_one_that_fails_stops_no_other(place: Place) -> None:
    outcome = place.run("-c", "simplified_folder.json", "-c", "ac_missing_data.json", "-c", "minmax.json", *QUICK)
    assert outcome.code == 2
    assert "ac_missing_data.json: nowhere: data_source does not exist" in outcome.err
    assert place.output("shapes_DefaultQuantization").is_dir()
    output = place.output("model_MinMaxQuantization")
    report = json.loads((output / "report.json").read_text())
    assert not any(stage["name"] == "correct_biases" for stage in report["stages"])
    again = place.run("-c", "minmax.json", *QUICK, "--output-dir", "again")
    assert again.code == 0
    assert "completed" not in again.err
    assert not outcome.err.count("Traceback")


def test_parts_that_quantize_nothing_leave_a_float_model(place: Place) -> None:
    outcome = place.run("-c", "alignment_alone.json", *QUICK)
    assert outcome.code == 0, outcome.err
    assert "nothing is quantized" in outcome.err
    file = place.output("model_ActivationChannelAlignment") / "optimized" / "model.xml"
    sample = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    before, after = (ov.Core().compile_model(each, "CPU")(sample)[0] for each in (place.folder / "model.xml", file))
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3)


def test_weights_may_stay_uncompressed(place: Place) -> None:
    outcome = place.run("-c", "simplified_folder.json", "--keep-uncompressed-weights", *QUICK)
    assert outcome.code == 0, outcome.err
    model = ov.Core().read_model(place.output("shapes_DefaultQuantization") / "optimized" / "shapes.xml")
    kinds = [node.get_type_name() for node in model.get_ordered_ops()]
    assert kinds.count("FakeQuantize") == 2 * kinds.count("Convolution")


def test_mistakes_end_with_two_and_write_nothing(place: Place) -> None:
    outcome = place.run("-c", "unknown_parameter.json", "-c", "broken_comma.json")
    assert outcome.code == 2
    assert [line.split(": ")[0] for line in outcome.complaints] == [
        "unknown_parameter.json:10:21",
        "broken_comma.json:3:36",
    ]
    assert not (place.folder / "results").exists()
    assert place.run("-x").code == 2
    assert "usage" in place.run("--help").out


def test_a_function_of_the_users_is_a_metric_of_any_command(place: Place) -> None:
    (place.folder / "my_metrics.py").write_text(
        "def count(predictions, annotations):\n    return {'samples': len(predictions)}\n"
    )
    outcome = place.run(
        "model.path=model.xml",
        "dataset=annotated_files",
        "dataset.data_source=voc/JPEGImages",
        "dataset.preprocessing=[{type:normalization,std:255}]",
        "evaluation.metrics=[{type:callable,path:my_metrics.count}]",
        "output_dir=evaluated",
        command="ptq-evaluate",
    )
    assert outcome.code == 0, outcome.err
    metrics = json.loads((place.folder / "evaluated" / "evaluation.json").read_text())["metrics"]
    assert metrics["model"]["count/samples"] == len(CALIBRATION)
