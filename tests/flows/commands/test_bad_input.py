"""What a user can get wrong, through the real command: exit code 2, one line that says what, nothing written."""

import logging
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import pytest

from flows.commands.ending import run_command
from tasks.digits import MODEL
from tasks.tracking.client import Logged
from tests.flows.conftest import QUICK, UNREVIEWED, Commands, Outcome, prefect_settings
from tests.support import models

RANDOM = np.random.default_rng(0)
IMAGES = "dataset=image_folder dataset.channel_order=gray dataset.scale=255"
EARLIER = {"model.xml": b"<net/>", "model.bin": b"\0" * 9, "report.json": b"{}", "notes of the user.txt": b"mine"}


@dataclass(frozen=True)
class Bad:
    """Arguments, words that the complaint must hold, and how many lines it has."""

    arguments: str
    words: tuple[str, ...]
    lines: int = 1


# Found before anything runs: no server is needed.
REFUSED_AT_ONCE = {
    "unknown key": Bad("quantization.prset=mixed", ("quantization.prset", "unknown key", "Did you mean 'preset'?")),
    "unknown value": Bad("quantization.preset=mixd", ("quantization.preset", "'mixd'", "Did you mean 'mixed'?")),
    "two problems": Bad(
        "quantization.preset=mixd quantization.stat_subset_size=0",
        ("quantization.preset", "stat_subset_size: input should be greater than or equal to 1, got 0"),
        lines=2,
    ),
    "unknown option of a group": Bad("dataset=digit", ("dataset", "'digit'", "arrays, callable, digits, image_folder")),
    "trial of a sweep": Bad(
        "quantization.preset=mixed,accurcy --multirun", ("quantization.preset", "Did you mean 'accuracy'?")
    ),
    "sweep without the flag": Bad("quantization.preset=mixed,accuracy", ("quantization.preset", "--multirun")),
    "broken YAML": Bad("--config-dir configurations quantization=mine", ("quantization/mine.yaml:2:8: no YAML: ",)),
    "missing mandatory value": Bad("dataset=arrays", ("dataset.path", "a value is needed")),
    "home below a file": Bad("runtime.home=file/home", ("runtime.home", "file/home", "Not a directory")),
    "empty folder": Bad("output_dir=", ("output_dir", "a value is needed")),
    "null": Bad("model.path=null", ("model.path", "got null")),
    "limit that is no number": Bad(
        "quantization.activations.range_estimator.max.clipping_value=nan", ("max.clipping_value", "finite", "nan")
    ),
    "word without a value": Bad("mixed", ("'mixed'", "expected key=value")),
}

REFUSED_BY_THE_FLOW = {
    "missing model": Bad("model.path=model.xm", ("model.path", "no file 'model.xm'", "Did you mean 'model.xml'?")),
    "missing package": Bad("'model.path=\"pkg://nowhere/m.xml\"'", ("model.path", "'nowhere'", "not installed")),
    "broken XML": Bad("model.path=broken/model.xml", ("model.path", "cannot read 'broken/model.xml'")),
    "missing weights": Bad("model.path=no_weights/model.xml", ("model.path", "no weights", "'model.bin' is missing")),
    "weights cut off": Bad("model.path=cut_off/model.xml", ("model.path", "cut_off/model.xml", "weights")),
    "quantized model": Bad("model.path=quantized.xml", ("model.path", "quantized already", "give the float model")),
    "nothing to quantize": Bad("model.path=relu.xml", ("model.path", "'relu'", "no operation that ANY quantizes")),
    "wrong shape": Bad("dataset=arrays dataset.path=wrong_shape.npz", ("'images'", "[1,1,8,8]", "[1, 9, 9]")),
    "wrong type": Bad(
        "dataset=arrays dataset.path=integers.npz model.path=relu_i32.xml", ("'image'", "int32", "float")
    ),
    "text": Bad("dataset=arrays dataset.path=text.npz", ("text.npz", "'x'", "expected real numbers")),
    "NaN": Bad("dataset=arrays dataset.path=nan.npz", ("nan.npz", "sample 3", "1 of 64 values are NaN or infinite")),
    "infinity": Bad("dataset=arrays dataset.path=inf.npz", ("inf.npz", "sample 3", "NaN or infinite")),
    "no samples": Bad("dataset=arrays dataset.path=empty.npz", ("empty.npz", "at least one sample")),
    "archive cut off": Bad("dataset=arrays dataset.path=cut_off.npz", ("cut_off.npz", "not a readable .npz file")),
    "missing data": Bad(
        "dataset=arrays dataset.path=god.npz", ("god.npz", "does not exist", "Did you mean 'good.npz'?")
    ),
    "missing folder": Bad(f"{IMAGES} dataset.path=nowhere", ("nowhere", "does not exist", "folder of images")),
    "folder without images": Bad(f"{IMAGES} dataset.path=broken", ("broken", "no image in it")),
    "image cut off": Bad(f"{IMAGES} dataset.path=bad_images", ("bad_images/2.png", "expected an image")),
    "image of another size": Bad(f"{IMAGES} dataset.path=sizes", ("sizes/6.png", "[1,1,8,8]", "[1, 9, 8]")),
    "size beyond all images": Bad(
        f"{IMAGES} dataset.path=images dataset.resize=99999", ("resize", "1 to 32767 pixels")
    ),
    "text called ONNX": Bad("model.path=text.onnx", ("model.path", "'text.onnx'", "no format that OpenVINO knows")),
    "numbers beyond float32": Bad(
        "dataset=arrays dataset.path=beyond.npz", ("beyond.npz: sample 5", "float32", "1e+300")
    ),
    "labels of missing images": Bad(
        f"{IMAGES} dataset.path=images dataset.labels=missing.txt", ("missing.txt", "1 of 2 images", "'9.png'")
    ),
    "labels beyond the classes": Bad(
        f"{IMAGES} dataset.path=images dataset.labels=beyond.txt", ("labels go up to 10", "'logits'", "10 classes")
    ),
    "negative labels": Bad("dataset=arrays dataset.path=negative.npz", ("negative.npz", "'y'", "label -1 of sample 2")),
    "output over the model": Bad(
        "model.path=mine/model.xml output_dir=mine", ("output_dir", "'mine' would replace 'mine/model.xml'")
    ),
    "output over the weights": Bad(
        "model.path=model.xml model.weights=mine/model.bin output_dir=mine", ("would replace 'mine/model.bin'",)
    ),
    "output over the labels": Bad(
        f"{IMAGES} dataset.path=images dataset.labels=mine/report.json output_dir=mine",
        ("would replace 'mine/report.json'", "name another folder"),
    ),
    "output below a file": Bad("output_dir=file/out", ("output_dir", "file/out", "Not a directory")),
}


@pytest.fixture(scope="module")
def folder(commands: Commands) -> Path:
    """The folder that the commands run in, with all the files that the rows name."""
    folder = commands.folder
    write_models(folder)
    write_data(folder)
    (folder / "file").write_text("")
    (folder / "configurations" / "quantization").mkdir(parents=True)
    (folder / "configurations" / "quantization" / "mine.yaml").write_text("preset: mixed\nbits: 8: 4\n")
    return folder


def write_models(folder: Path) -> None:
    for name in ("broken", "no_weights", "cut_off", "mine"):
        (folder / name).mkdir()
        for file in (MODEL, MODEL.with_suffix(".bin")):
            shutil.copy(file, folder / name / f"model{file.suffix}")
    (folder / "model.xml").write_bytes(MODEL.read_bytes())
    (folder / "broken" / "model.xml").write_bytes(MODEL.read_bytes()[:3000])
    (folder / "no_weights" / "model.bin").unlink()
    (folder / "cut_off" / "model.bin").write_bytes(MODEL.with_suffix(".bin").read_bytes()[:1000])
    ov.save_model(models.build(models.relu_image((1, 1, 8, 8))), folder / "relu.xml", compress_to_fp16=False)
    integers = models.image(shape=(1, 1, 8, 8), dtype="i32")
    as_float = models.named(ov.opset13.convert(integers, "f32"), "float")
    ov.save_model(
        models.build(models.convolution(as_float, "conv", 2)), folder / "relu_i32.xml", compress_to_fp16=False
    )
    picture = models.image(shape=(1, 1, 8, 8))
    limits = [models.constant(f"limit{number}", 1) for number in range(4)]
    quantized = models.named(ov.opset13.fake_quantize(picture, *limits, 256), "fq")
    ov.save_model(models.build(models.convolution(quantized, "conv", 2)), folder / "quantized.xml")


def write_data(folder: Path) -> None:
    x, y = RANDOM.random((20, 1, 8, 8), dtype=np.float32), RANDOM.integers(0, 10, 20)
    for name, value in (("nan", np.nan), ("inf", -np.inf)):
        damaged = x.copy()
        damaged[3, 0, 4, 4] = value
        np.savez(folder / f"{name}.npz", x=damaged, y=y)
    np.savez(folder / "good.npz", x=x, y=y)
    np.savez(folder / "beyond.npz", x=np.where(np.arange(20)[:, None, None, None] == 5, 1e300, x.astype(np.float64)))
    (folder / "text.onnx").write_text("hello\n")
    np.savez(folder / "wrong_shape.npz", x=np.zeros((20, 1, 9, 9), np.float32), y=y)
    np.savez(folder / "integers.npz", x=x, y=y)
    np.savez(folder / "text.npz", x=np.array(["a"] * 20), y=y)
    np.savez(folder / "empty.npz", x=x[:0], y=y[:0])
    np.savez(folder / "negative.npz", x=x, y=np.where(np.arange(20) == 2, -1, y))
    (folder / "cut_off.npz").write_bytes((folder / "good.npz").read_bytes()[:700])
    (folder / "images").mkdir()
    for number in range(5):
        pixels = RANDOM.integers(0, 255, (8, 8), np.uint8)
        (folder / "images" / f"{number}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    shutil.copytree(folder / "images", folder / "bad_images")
    (folder / "bad_images" / "2.png").write_bytes((folder / "images" / "2.png").read_bytes()[:40])
    shutil.copytree(folder / "images", folder / "sizes")
    (folder / "sizes" / "6.png").write_bytes(cv2.imencode(".png", np.zeros((9, 8), np.uint8))[1].tobytes())
    (folder / "missing.txt").write_text("0.png 1\n9.png 2\n")
    (folder / "mine" / "report.json").write_text("0.png 1\n")
    (folder / "beyond.txt").write_text("0.png 1\n1.png 10\n")


@pytest.fixture
def output(folder: Path, request: pytest.FixtureRequest) -> Path:
    """A folder that holds an earlier output and a file of the user's."""
    output: Path = folder / request.function.__name__ / request.node.callspec.id.replace(" ", "_")
    output.mkdir(parents=True)
    for name, content in EARLIER.items():
        (output / name).write_bytes(content)
    return output


def arguments_of(row: Bad, output: Path, folder: Path) -> list[str]:
    arguments = [word.strip("'") for word in row.arguments.split()]
    return arguments if "output_dir" in row.arguments else [*arguments, f"output_dir={output.relative_to(folder)}"]


def check(outcome: Outcome, row: Bad, output: Path) -> None:
    assert outcome.code == 2, outcome
    assert len(outcome.complaints) == row.lines, outcome.err
    for word in row.words:
        assert word in outcome.err
    assert "Traceback" not in outcome.err + outcome.out
    assert outcome.out == ""
    assert {file.name: file.read_bytes() for file in output.iterdir()} == EARLIER


@pytest.mark.parametrize("row", REFUSED_AT_ONCE.values(), ids=REFUSED_AT_ONCE.keys())
def test_refused_at_once(commands: Commands, output: Path, row: Bad) -> None:
    # Nothing listens there: a run that asks for a server fails otherwise than expected.
    unserved = replace(commands, environment=commands.environment | {"PREFECT_API_URL": "http://127.0.0.1:1/api"})
    check(unserved.run("ptq-quantize", *arguments_of(row, output, commands.folder)), row, output)


IN_FULL = ("missing model", "NaN", "image cut off")


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=name, marks=() if name in IN_FULL else pytest.mark.slow)
        for name, row in REFUSED_BY_THE_FLOW.items()
    ],
)
def test_refused_by_the_flow(commands: Commands, output: Path, row: Bad) -> None:
    check(commands.run("ptq-quantize", *arguments_of(row, output, commands.folder)), row, output)


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=name) for name, row in REFUSED_BY_THE_FLOW.items() if name not in IN_FULL]
)
def test_refused_by_the_flow_inside_this_process(
    commands: Commands, output: Path, row: Bad, run_inside: Callable[..., Outcome]
) -> None:
    check(run_inside(*arguments_of(row, output, commands.folder)), row, output)


@pytest.fixture(scope="module")
def commands(commands: Commands) -> Commands:
    """A home of its own: other modules begin with a fresh one."""
    return replace(commands, home=commands.folder / "home of bad input")


@pytest.fixture
def run_inside(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """``ptq-quantize`` without the seconds that a process takes to start."""
    monkeypatch.chdir(commands.folder)
    monkeypatch.setenv("PTQ_HOME", str(commands.home))
    monkeypatch.setattr("tasks.tracking.client.start", lambda: None)
    monkeypatch.setattr("flows.quantize.log_run", lambda **_: Logged("not logged"))
    monkeypatch.setattr("flows.running.environment.run_environment", lambda *_, **__: nullcontext())

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr("sys.argv", ["ptq-quantize", *QUICK, *arguments])
        # Another test may have set up Prefect's log lines on the terminal, which the commands keep off it.
        logging.disable(logging.CRITICAL)
        code = 0
        try:
            with prefect_settings(commands.environment["PREFECT_API_URL"], commands.home):
                run_command("quantize")
        except SystemExit as end:
            code = int(str(end.code))
        finally:
            logging.disable(logging.NOTSET)
        return Outcome(code, *capfd.readouterr())

    return run


def test_refused_run_makes_no_folder(commands: Commands, folder: Path, run_inside: Callable[..., Outcome]) -> None:
    assert run_inside("dataset=arrays", "dataset.path=nan.npz", "output_dir=not/made").code == 2
    assert not (folder / "not").exists()


def test_fewer_samples_than_asked_for_are_a_note(folder: Path, run_inside: Callable[..., Outcome]) -> None:
    outcome = run_inside("dataset=arrays", "dataset.path=good.npz", *UNREVIEWED, "output_dir=fewer")
    assert outcome.code == 0, outcome.err
    assert "quantization.stat_subset_size is 300, the data set has 20 samples: all are used\n" in outcome.out
    assert "the data set has 20 samples" in (folder / "fewer" / "report.json").read_text()


@pytest.mark.parametrize("row", [REFUSED_AT_ONCE["unknown key"], REFUSED_BY_THE_FLOW["missing model"]])
def test_evaluate_refuses_as_well(commands: Commands, folder: Path, row: Bad) -> None:
    outcome = commands.run("ptq-evaluate", *row.arguments.split(), "output_dir=refused")
    assert outcome.code == 2
    assert len(outcome.complaints) == 1
    assert all(word in outcome.err for word in row.words)
    assert not list(folder.glob("refused/*"))


def test_paths_of_every_kind(commands: Commands, folder: Path, tmp_path: Path) -> None:
    """Spaces, an equals sign, brackets and letters beyond ASCII; a folder that exists with files of the user's."""
    odd = folder / "größe = [b] 1"
    odd.mkdir()
    shutil.copy(MODEL, odd / "m o=d.xml")
    shutil.copy(MODEL.with_suffix(".bin"), odd / "m o=d.bin")
    shutil.copy(folder / "good.npz", odd / "x [1].npz")
    (odd / "mine.txt").write_text("mine")
    # A folder with modules of the user's own that are called as ours and the library's are.
    for name in ("tasks.py", "flows.py", "json.py"):
        (folder / name).write_text("raise RuntimeError('not this one')\n")
    try:
        outcome = commands.run(
            "ptq-quantize",
            f"model.path='{odd}/m o=d.xml'",
            "dataset=arrays",
            f"dataset.path='{odd.name}/x [1].npz'",
            f"output_dir='{odd.name}'",
            *UNREVIEWED,
            home=tmp_path / "hö me=[a]%20 #",
        )
    finally:
        for name in ("tasks.py", "flows.py", "json.py"):
            (folder / name).unlink()
    assert outcome.code == 0, outcome.err
    assert f"output: {odd.name}\n" in outcome.out
    assert (odd / "mine.txt").read_text() == "mine"
    assert {"model.xml", "model.bin", "report.json", "manifest.json"} <= {file.name for file in odd.iterdir()}
    assert list((tmp_path / "hö me=[a]%20 #" / "mlartifacts").glob("models/*/artifacts/artifacts/*/model.xml"))


def test_unreachable_mlflow_is_one_line_after_the_output(commands: Commands, folder: Path) -> None:
    outcome = commands.run("ptq-quantize", "tracking.uri=mysql+foo://nowhere", "output_dir=unlogged", *UNREVIEWED)
    assert outcome.code == 1
    assert len(outcome.complaints) == 1
    assert outcome.complaints[0].startswith("tracking.uri 'mysql+foo://nowhere': MLflow could not log the run: ")
    assert outcome.complaints[0].endswith("; the output is written")
    assert (folder / "unlogged" / "model.xml").is_file()
