"""The pipeline from end to end: what a run writes, what it finds again, what survives an accident."""

import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.data.digits import Digits, open_digits
from tasks.digits import MODEL
from tasks.engine.artifact_store import Store
from tasks.engine.caching import results_folder
from tasks.records import ModelRef, Report, Stage
from tasks.tracking.client import Logged
from tests.flows.conftest import UNREVIEWED, Commands, Outcome, RunFlow, finish

STAGES = [
    "load_model",
    "load_dataset",
    "place_quantizers",
    "collect_statistics",
    "find_unranged",
    "find_unexecuted",
    "estimate_ranges",
    "insert_fake_quantize",
    "correct_biases",
    # The gate: the float model and the INT8 model before and after the correction, on samples set apart.
    "evaluate_model",
    "evaluate_model",
    "evaluate_model",
    # What pooled activations lose is judged apart.
    "correct_biases",
    "evaluate_model",
    # On all samples of the validation set.
    "evaluate_model",
    "evaluate_model",
    # For review.
    "describe_model",
    "analyze_model",
]
OUTPUT = ["manifest.json", "model.bin", "model.xml", "report.html", "report.json"]


@dataclass(frozen=True)
class Finished:
    """A run of the command and what it wrote."""

    outcome: Outcome
    output: Path

    @property
    def report(self) -> dict[str, Any]:
        return read(self.output / "report.json")

    @property
    def manifest(self) -> dict[str, Any]:
        return read(self.output / "manifest.json")


def read(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def stage(report: Report, name: str) -> Stage:
    """The first stage of that name."""
    return next(each for each in report.stages if each.name == name)


def executed(report: Report) -> list[str]:
    """The stages that were not cached."""
    return [each.name for each in report.stages if each.state != "Cached"]


@pytest.fixture(scope="module")
def commands(commands: Commands) -> Commands:
    """The same with a home that nothing else has used."""
    return replace(commands, home=commands.folder / "own home")


@pytest.fixture(scope="module")
def first(commands: Commands) -> Finished:
    """A run with the defaults, speed included, in a fresh home."""
    arguments = ("output_dir=first", "evaluation.speed_seconds=0.1", "tracking.run_name=chosen")
    return Finished(commands.run("ptq-quantize", *arguments), commands.folder / "first")


@pytest.fixture
def run_flow(run_flow: RunFlow) -> RunFlow:
    """With all stages of the default; what the page says is seen once."""
    return lambda home, *overrides: run_flow(home, "evaluation.analyze=true", *overrides)


@pytest.fixture
def home(commands: Commands, first: Finished, tmp_path: Path) -> Path:
    """A copy of the home in which all of a run with the defaults is cached."""
    assert first.outcome.code == 0, first.outcome.err
    for folder in ("models", "arrays", "results"):
        shutil.copytree(commands.home / folder, tmp_path / "home" / folder)
    return tmp_path / "home"


# --- what a run writes


def test_first_run_executes_every_stage(first: Finished) -> None:
    assert first.outcome.code == 0, first.outcome.err
    stages = first.report["stages"]
    assert [each["name"] for each in stages] == [*STAGES, "measure_speed"]
    assert {each["state"] for each in stages} == {"Completed"}
    assert [each["runs"] for each in stages] == [
        1,
        2,
        1,
        5,
        *[1] * 13,
        3,
        1,
    ]  # two data sets, five shards of 64, three INT8 models
    assert all(each["seconds"] > 0 for each in stages)
    assert sorted(file.name for file in first.output.iterdir()) == OUTPUT


def test_terminal_shows_one_line_a_stage_and_a_table(first: Finished) -> None:
    stages = [line.split()[0] for line in first.outcome.err.splitlines() if line.startswith("  ")]
    assert stages == [*STAGES, "measure_speed", "package_model", "draw_plots"]
    assert first.outcome.complaints == []
    for expected in ("top-1 %", "output SQNR dB", "latency ms", "weights MB", "output: first", "MLflow run: "):
        assert expected in first.outcome.out


def test_report(first: Finished) -> None:
    report = first.report
    original, quantized = report["metrics"]["float"], report["metrics"]["int8"]
    assert original.keys() == {"top1", "top5", "latency_ms", "throughput_fps"}
    assert quantized.keys() == {*original, "sqnr_db", "cosine", "agreement", "expected_agreement"}
    assert original["top1"] >= 98
    assert quantized["top1"] >= original["top1"] - 1
    assert quantized["agreement"] >= 98
    assert quantized["sqnr_db"] > 20
    assert 0.99 < quantized["cosine"] <= 1
    assert quantized["latency_ms"] > 0
    sizes = {suffix: (first.output / f"model.{suffix}").stat().st_size for suffix in ("xml", "bin")}
    assert report["sizes"]["int8"] == sizes
    assert report["sizes"]["float"]["bin"] == MODEL.with_suffix(".bin").stat().st_size
    assert sizes["bin"] < 0.3 * report["sizes"]["float"]["bin"]
    assert report["samples"] == {"calibration": 300, "validation": 599}
    assert report["model"] == "digits"
    assert not [note for note in report["notes"] if "speed" in note or "validation" in note or "subset" in note]
    assert report["quantizers"]["weights"] > 0
    assert 0 < report["kernels"]["int8"] <= report["kernels"]["all"]


def test_layers_of_the_report(first: Finished) -> None:
    layers = first.report["layers"]
    assert len(layers) > 3
    for layer in layers:
        assert list(layer["steps"]) == ["insert_fake_quantize", "correct_biases", "correct_biases behind pooling"]
        for values in layer["steps"].values():
            assert values["sqnr_db"] == pytest.approx(-10 * math.log10(values["noise"]))
            parts = sum(values[part] for part in ("weights", "activations", "inherited", "execution", "mean_shift"))
            assert values["execution"] < 1e-8
            assert 0.3 * values["noise"] < parts < 3 * values["noise"]
    # What the correction is there for.
    shifts = {step: sum(layer["steps"][step]["mean_shift"] for layer in layers) for step in layers[0]["steps"]}
    assert shifts["correct_biases"] < shifts["insert_fake_quantize"]
    assert len(first.report["quantizer_list"]) == sum(first.report["quantizers"].values())


def test_page(first: Finished) -> None:
    page = (first.output / "report.html").read_text(encoding="utf-8")
    for layer in first.report["layers"]:
        assert f"<td>{layer['name']}</td>" in page
    assert page.count("<svg") == 6
    # Names of XML namespaces and of matplotlib's author are never loaded; the policy forbids everything else.
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href|url\()\s*=?\s*["\'(]?https?:', re.sub(r'xmlns:\w+="[^"]*"', "", page))


def test_manifest_repeats_the_run(first: Finished, tmp_path: Path) -> None:
    manifest = first.manifest
    assert manifest.keys() == {"models", "samples", "configuration", "packages"}
    # The output is the model of the store under the digest that the manifest names.
    shutil.copytree(first.output, tmp_path / "models" / manifest["models"]["int8"])
    assert Store(tmp_path).is_intact(ModelRef("digits", manifest["models"]["int8"]))
    samples = open_digits(Digits("training"))
    assert manifest["samples"]["calibration"]["indices"] == list(range(300))
    assert manifest["samples"]["calibration"]["digests"] == [samples.digest(index) for index in range(300)]
    assert len(manifest["samples"]["validation"]["digests"]) == 599
    assert manifest["configuration"]["tracking"]["run_name"] == "chosen"
    model = {"path": "pkg://tasks.digits/digits.xml", "weights": None, "name": None}
    assert manifest["configuration"]["model"] == model
    assert {"openvino", "numpy", "openvino-ptq-flow"} <= manifest["packages"].keys()


PLAIN_OPENVINO = """
import sys
import numpy as np
import openvino as ov
folder, data = sys.argv[1:]
data = np.load(data)
model = ov.Core().read_model(folder + "/model.xml")
kinds = [node.get_type_name() for node in model.get_ordered_ops()]
compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
answers = [int(compiled(image[None])[0].argmax()) for image in data["x"]]
assert not {name.split(".")[0] for name in sys.modules} & {"tasks", "flows", "prefect", "mlflow"}
print(kinds.count("FakeQuantize"), 100 * np.mean(answers == data["y"]))
"""


def test_model_runs_with_nothing_but_openvino(first: Finished, tmp_path: Path) -> None:
    samples = open_digits(Digits("validation"))
    assert samples.labels is not None
    np.savez(tmp_path / "data.npz", x=samples.arrays["x"], y=samples.labels)
    arguments = ["-I", "-c", PLAIN_OPENVINO, str(first.output), str(tmp_path / "data.npz")]
    printed = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout.split()
    assert int(printed[0]) == first.report["quantizers"]["activations"]
    assert float(printed[1]) == pytest.approx(first.report["metrics"]["int8"]["top1"], abs=0.5)


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # of MLflow's own database
def test_mlflow_run(commands: Commands, first: Finished) -> None:
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - a second that no other test waits for

    client = MlflowClient(f"sqlite:///{commands.home}/mlflow.db")
    identifier = first.outcome.out.split("MLflow run: ")[1].split()[0]
    run = client.get_run(identifier)
    experiment = client.get_experiment_by_name("openvino-ptq-flow")
    assert experiment is not None
    assert run.info.experiment_id == experiment.experiment_id
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "chosen"
    assert run.data.params["quantization.preset"] == "performance"
    assert run.data.params["tracking.run_name"] == "chosen"
    assert run.data.params["dataset.split"] == "training"
    assert run.data.params["runtime.threads"] == "None"
    report = first.report
    for role, values in report["metrics"].items():
        for name, value in values.items():
            assert run.data.metrics[f"{role}/{name}"] == pytest.approx(value)
    for name in set(STAGES):
        seconds = sum(each["seconds"] for each in report["stages"] if each["name"] == name)
        assert run.data.metrics[f"seconds/{name}"] == pytest.approx(seconds)
    assert run.data.tags["model.digest"] == first.manifest["models"]["float"]
    assert run.data.tags["prefect.flow_run_id"].count("-") == 4
    assert {file.path for file in client.list_artifacts(identifier)} == {
        *(name for name in OUTPUT if not name.startswith("model.")),
        "overrides.txt",
        "plots",
    }
    assert run.outputs is not None
    assert len(run.outputs.model_outputs) == 1
    assert not [tag for tag in run.data.tags if tag.startswith("release")]
    # The times are those of the flow, and what it took of the machine.
    seconds = sum(each["seconds"] for each in report["stages"])
    assert (run.info.end_time - run.info.start_time) / 1000 >= seconds
    assert run.data.metrics["resources/seconds"] >= seconds
    assert run.data.metrics["resources/cpu_seconds"] > 0
    assert run.data.metrics["system/process_memory_megabytes"] > 100
    assert run.data.tags["mlflow.source.name"] == "ptq-quantize"
    link = run.data.tags["prefect.flow_run_link"]
    assert link.startswith("http") and link.endswith(run.data.tags["prefect.flow_run_id"])
    for name, value in report["metrics"]["float"].items():
        assert run.data.metrics[f"difference/{name}"] == pytest.approx(report["metrics"]["int8"][name] - value)
    assert run.data.tags["version.openvino"] == first.manifest["packages"]["openvino"]
    plots = {file.path for file in client.list_artifacts(identifier, "plots")}
    assert plots == {
        f"plots/{name}.png" for name in ("accuracy_and_speed", "steps", "layers", "losses", "ranges", "weights")
    }
    curve = client.get_metric_history(identifier, "layers/sqnr_db/correct_biases")
    decibels = [layer["steps"]["correct_biases"]["sqnr_db"] for layer in report["layers"]]
    assert [point.value for point in sorted(curve, key=lambda point: point.step)] == pytest.approx(decibels)
    assert run.inputs is not None
    datasets = {each.tags[0].value: each.dataset for each in run.inputs.dataset_inputs}
    assert datasets.keys() == {"calibration", "validation"}
    assert len({dataset.digest for dataset in datasets.values()}) == 2
    # The artifacts lie in the home as well, wherever the command was started.
    logged = commands.home / "mlartifacts" / identifier / "artifacts"
    copies = list((commands.home / "mlartifacts" / "models").glob("*/artifacts/artifacts/*/model.bin"))
    assert (first.output / "model.bin").read_bytes() in [copy.read_bytes() for copy in copies]
    assert "tracking.run_name=chosen\n" in (logged / "overrides.txt").read_text()


# --- what the next run finds


def test_same_run_again_executes_nothing(commands: Commands, first: Finished) -> None:
    arguments = ("output_dir=second", "evaluation.speed_seconds=0.1", "tracking.run_name=chosen")
    second = Finished(commands.run("ptq-quantize", *arguments), commands.folder / "second")
    assert second.outcome.code == 0, second.outcome.err
    assert {each["state"] for each in second.report["stages"]} == {"Cached"}
    assert all(each["cached"] == each["runs"] for each in second.report["stages"])
    assert second.report["metrics"] == first.report["metrics"]
    assert second.manifest["models"] == first.manifest["models"]
    for name in ("model.xml", "model.bin"):
        assert (second.output / name).read_bytes() == (first.output / name).read_bytes()


@dataclass(frozen=True)
class Change:
    overrides: tuple[str, ...]
    executed: tuple[str, ...]


REVIEWED = ("describe_model", "analyze_model")
CORRECTED = ("correct_biases", "evaluate_model", "evaluate_model", "correct_biases", "evaluate_model")
FROM_RANGES = ("estimate_ranges", "insert_fake_quantize", *CORRECTED, "evaluate_model", *REVIEWED)
CHANGES = {
    "nothing": Change((), ()),
    "preset": Change(("quantization.preset=mixed",), ("find_unranged", "find_unexecuted", *FROM_RANGES)),
    "saturation": Change(("quantization.saturation_fix=all",), FROM_RANGES),
    "threads": Change(("runtime.threads=1",), ()),
    "a seed that draws nothing": Change(("quantization.seed=8",), ()),
    "fewer validation samples": Change(
        ("evaluation.subset_size=32",), ("load_dataset", "evaluate_model", "evaluate_model")
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_repeats_only_what_depends_on_it(home: Path, run_flow: RunFlow, change: Change) -> None:
    assert executed(run_flow(home, *change.overrides)) == list(change.executed)


def test_mlflow_gets_what_this_run_wrote_whoever_writes_there_next(
    home: Path, run_flow: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: dict[str, Any] = {}
    monkeypatch.setattr("flows.quantize.log_run", lambda **given: logged.update(given) or Logged(""))
    run_flow(home, "evaluation.page=true", "tracking.sweep=one")  # whose trials have no model of MLflow's
    for name in ("report.json", "manifest.json", "report.html"):
        assert logged["texts"][name] == (tmp_path / "output" / name).read_text()
    assert {file.name: file.is_relative_to(home) for file in logged["files"]} == {"model.xml": True, "model.bin": True}


def test_more_samples_reuse_the_full_shards(home: Path, run_flow: RunFlow) -> None:
    run_flow(home)
    grown = stage(run_flow(home, "quantization.stat_subset_size=330", *UNREVIEWED), "collect_statistics")
    assert (grown.runs, grown.cached) == (6, 4)  # four of 64 are there, those of 44 and 10 samples are new
    shrunk = stage(run_flow(home, "quantization.stat_subset_size=128", *UNREVIEWED), "collect_statistics")
    assert (shrunk.runs, shrunk.cached, shrunk.state) == (2, 2, "Cached")


def damaged_files(home: Path, name: str) -> list[Path]:
    """The files of the artifacts that the results of a step name."""
    folders = []
    for record in results_folder(home).glob(f"{name}-*"):
        text = record.read_text(encoding="utf-8")
        folders += [folder for folder in (*home.glob("models/*"), *home.glob("arrays/*")) if folder.name in text]
    return sorted(file for folder in folders for file in folder.iterdir())


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def remove(file: Path) -> None:
    shutil.rmtree(file.parent)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("load_model", truncate),
        ("load_model", remove),
        ("collect_statistics", truncate),
        ("collect_statistics", remove),
        ("insert_fake_quantize", truncate),
        ("insert_fake_quantize", Path.unlink),
    ],
)
def test_damaged_artifacts_are_made_again(
    first: Finished, home: Path, run_flow: RunFlow, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(damaged_files(home, name)[0])
    report = run_flow(home)
    assert executed(report) == [name]
    assert stage(report, name).runs - stage(report, name).cached == 1
    assert read(tmp_path / "output" / "manifest.json")["models"] == first.manifest["models"]
    assert (tmp_path / "output" / "model.bin").read_bytes() == (first.output / "model.bin").read_bytes()


def test_lost_results_of_one_shard_repeat_that_shard(home: Path, run_flow: RunFlow) -> None:
    min(results_folder(home).glob("collect_statistics-*")).unlink()
    report = run_flow(home)
    statistics = stage(report, "collect_statistics")
    assert (statistics.runs, statistics.cached, statistics.state) == (5, 4, "Completed")
    # Equal statistics have an equal digest: nothing after them is repeated.
    assert executed(report) == ["collect_statistics"]


@pytest.mark.parametrize("overrides", [("runtime.shard_size=7", "runtime.threads=1"), ("runtime.threads=3",)])
def test_results_do_not_depend_on_where_and_how_a_run_works(
    first: Finished, run_flow: RunFlow, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    report = run_flow(tmp_path / "another home", *overrides)
    assert len(executed(report)) == len(STAGES)
    assert read(tmp_path / "output" / "manifest.json")["models"] == first.manifest["models"]
    expected = first.report["metrics"]["int8"]
    assert report.metrics["int8"] == {name: expected[name] for name in report.metrics["int8"]}


# --- accidents


def wait_for_shards(process: subprocess.Popen[str], home: Path, count: int) -> None:
    end = time.monotonic() + 60
    while len(list(results_folder(home).glob("collect_statistics-*"))) < count:
        assert process.poll() is None, "the run was over before it could be disturbed"
        assert time.monotonic() < end
        time.sleep(0.005)


SMALL_SHARDS = ("runtime.shard_size=2", "quantization.stat_subset_size=200")


def test_killed_run_repeats_the_shard_it_was_in(commands: Commands, home: Path, run_flow: RunFlow) -> None:
    process = commands.start("ptq-quantize", *SMALL_SHARDS, "output_dir=killed", home=home)
    before = len(list(results_folder(home).glob("collect_statistics-*")))
    wait_for_shards(process, home, before + 20)
    process.kill()
    finish(process)
    kept = len(list(results_folder(home).glob("collect_statistics-*"))) - before
    assert not list((commands.folder / "killed").glob("*"))
    statistics = stage(run_flow(home, *SMALL_SHARDS), "collect_statistics")
    assert statistics.runs == 100
    assert kept - 1 <= statistics.cached <= kept < 100  # the last record may have been cut off
    left = [folder.name for kind in ("models", "arrays") for folder in (home / kind).glob(".*")]
    assert len(left) <= 1


def test_interrupted_run_leaves_the_earlier_output(commands: Commands, first: Finished, home: Path) -> None:
    output = commands.folder / "interrupted"
    shutil.copytree(first.output, output)
    process = commands.start("ptq-quantize", *SMALL_SHARDS, "output_dir=interrupted", home=home)
    wait_for_shards(process, home, 20)
    process.send_signal(signal.SIGINT)
    outcome = finish(process)
    assert outcome.code == 130
    assert "Traceback" not in outcome.err
    assert outcome.complaints[-1] == "interrupted; what is done is kept, and the next run continues there"
    assert content(output) == content(first.output)


@pytest.mark.slow
def test_two_runs_at_once_in_a_fresh_home(commands: Commands, tmp_path: Path) -> None:
    home = tmp_path / "shared home"
    runs = [commands.start("ptq-quantize", f"output_dir=twin{number}", home=home) for number in range(2)]
    outcomes = [finish(run) for run in runs]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    models = [read(commands.folder / f"twin{number}" / "manifest.json")["models"] for number in range(2)]
    assert models[0] == models[1]
    assert all(Store(home).is_intact(ModelRef("digits", digest)) for digest in models[0].values())
    assert len({outcome.out.split("MLflow run: ")[1].split()[0] for outcome in outcomes}) == 2


@pytest.mark.slow
def test_two_runs_at_once_without_a_server(commands: Commands, tmp_path: Path) -> None:
    """Each starts a temporary Prefect server, and both servers create one database."""
    environment = {name: value for name, value in commands.environment.items() if name != "PREFECT_API_URL"}
    unserved = replace(commands, environment=environment, home=tmp_path / "home")
    runs = [unserved.start("ptq-quantize", f"output_dir=alone{number}") for number in range(2)]
    outcomes = [finish(run) for run in runs]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert all(outcome.complaints == ["starting a temporary Prefect server ..."] for outcome in outcomes)


# --- ptq-evaluate


def test_evaluate_beside_a_reference(commands: Commands, first: Finished) -> None:
    arguments = ("model.path=first/model.xml", "reference='pkg://tasks.digits/digits.xml'", "output_dir=evaluated")
    outcome = commands.run("ptq-evaluate", *arguments)
    assert outcome.code == 0, outcome.err
    evaluation = read(commands.folder / "evaluated" / "evaluation.json")
    expected = first.report["metrics"]
    assert evaluation["metrics"]["model"] == {
        name: value for name, value in expected["int8"].items() if name not in ("latency_ms", "throughput_fps")
    }
    assert evaluation["metrics"]["reference"] == {name: expected["float"][name] for name in ("top1", "top5")}
    assert evaluation["samples"] == 599
    assert "output SQNR dB" in outcome.out


def test_evaluate_alone(commands: Commands) -> None:
    arguments = ("evaluation.subset_size=40", "evaluation.speed_seconds=0.1", "output_dir=alone")
    outcome = commands.run("ptq-evaluate", *arguments)
    assert outcome.code == 0, outcome.err
    evaluation = read(commands.folder / "alone" / "evaluation.json")
    assert evaluation["metrics"].keys() == {"model"}
    assert evaluation["metrics"]["model"].keys() == {"top1", "top5", "latency_ms", "throughput_fps"}
    assert evaluation["samples"] == 40
