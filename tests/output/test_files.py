"""The files a user gets are whole, and an earlier output stays until the new one is."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.engine.artifact_store import Store
from tasks.errors import InputError
from tasks.output.files import (
    _bring_over,
    _in_place_of,
    file_sizes,
    require_apart,
    require_writable,
    write_evaluation,
    write_json,
    write_output,
)
from tasks.records import ModelRef, Report, Runtime, Stage
from tests.support import models
from tests.support.privileges import like_anybody

REPORT = Report(
    model="tiny",
    metrics={"float": {}, "int8": {"sqnr_db": float("inf"), "cosine": float("nan"), "top1": 1.5}},
    sizes={},
    stages=(Stage("load_model", 0.1, "Completed"),),
    quantizers={},
    float_operations=(),
    kernels={},
    samples={},
    decisions=(),
)


@pytest.fixture
def model(store: Store) -> ModelRef:
    return store.put_model(models.convnet(), "tiny")


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_output_is_the_model_of_the_store(model: ModelRef, runtime: Runtime, store: Store, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "output"
    texts = write_output(output, model, REPORT, {"a": Path("b")}, runtime, "page")
    assert {"model.xml", "model.bin", *texts} == {file.name for file in output.iterdir()}
    assert {name: (output / name).read_text() for name in texts} == texts
    for name in ("model.xml", "model.bin"):
        assert (output / name).read_bytes() == (store.model_folder(model) / name).read_bytes()
    assert file_sizes(model, runtime) == {kind: (output / f"model.{kind}").stat().st_size for kind in ("xml", "bin")}
    report = json.loads((output / "report.json").read_text())
    assert report["stages"] == [{"name": "load_model", "seconds": 0.1, "state": "Completed", "runs": 1, "cached": 0}]
    # Strict JSON has no infinity and no NaN.
    assert report["metrics"]["int8"] == {"sqnr_db": None, "cosine": None, "top1": 1.5}
    assert json.loads((output / "manifest.json").read_text()) == {"a": "b"}


def test_written_files_are_new_ones(model: ModelRef, runtime: Runtime, store: Store, tmp_path: Path) -> None:
    """What a user does to the output must not reach the store."""
    write_output(tmp_path / "output", model, REPORT, {}, runtime)
    (tmp_path / "output" / "model.xml").write_text("edited")
    assert store.is_intact(model)


@pytest.mark.parametrize("step", ["shutil.copyfile", "Path.write_text"])
def test_failing_write_leaves_the_earlier_output(
    model: ModelRef, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    output = tmp_path / "output"
    write_output(output, model, REPORT, {"run": 1}, runtime)
    (output / "mine.txt").write_text("mine")
    before = content(output)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"tasks.output.files.{step}", full)
    with pytest.raises(OSError, match="No space left"):
        write_output(output, model, REPORT, {"run": 2}, runtime)
    assert content(output) == before


KILLED = """
import os, signal, sys, tasks.output.files as module
from pathlib import Path
place, output = sys.argv[1], Path(sys.argv[2])
owner = module.os if place in ("link", "replace", "chown", "fsync") else module.shutil if place == "rmtree" else module
if place == "replace":  # and none of the folders can be exchanged
    module.exchange = lambda *_: (_ for _ in ()).throw(OSError("cannot"))
setattr(owner, place, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
with module._in_place_of(output) as staging:
    for name in ("model.xml", "model.bin", "report.json", "manifest.json"):
        (staging / name).write_text("new")
"""
NEW = dict.fromkeys(("model.xml", "model.bin", "report.json", "manifest.json"), b"new")


@pytest.mark.parametrize("place", ["fsync", "chown", "link", "exchange", "_bring_over", "replace"])
def test_killed_run_leaves_one_output_or_the_other(tmp_path: Path, place: str) -> None:
    output = tmp_path / "output"
    (output / "folder").mkdir(parents=True)
    mine = {"mine.txt": b"mine", "folder/mine.txt": b"mine", "evaluation.json": b"earlier"}
    earlier = dict.fromkeys(NEW, b"earlier")
    for name, text in (mine | earlier).items():
        (output / name).write_bytes(text)

    killed = subprocess.run([sys.executable, "-c", KILLED, place, str(output)], check=False)
    assert killed.returncode == -signal.SIGKILL
    left = content(output)
    assert {name: left[name] for name in NEW} in (earlier, NEW)
    assert (left["mine.txt"], left["evaluation.json"]) == (b"mine", b"earlier")
    assert len(list(tmp_path.iterdir())) == 2  # what was being filled

    time.sleep(0.3)  # the kernel takes its time to take a process apart
    for folder in tmp_path.glob(".output.incomplete-*"):
        os.utime(folder, (0, 0))
    with _in_place_of(output) as staging:
        (staging / "model.xml").write_text("newest")
    assert [entry.name for entry in tmp_path.iterdir()] == ["output"]
    now = content(output)
    assert now.pop("model.xml") == b"newest"
    assert now == {name: text for name, text in left.items() if name != "model.xml"} | mine


def test_what_another_run_brings_over_first_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, output = tmp_path / ".output.incomplete-1", tmp_path / "output"
    for name in ("one", "two"):
        (old / name).mkdir(parents=True)
    output.mkdir()

    def moved_meanwhile(place: Path) -> bool:
        if place.name == "one":
            (old / "one").rename(place)
        return False

    monkeypatch.setattr("tasks.output.files.os.path.lexists", moved_meanwhile)
    _bring_over(old, output)
    assert sorted(entry.name for entry in output.iterdir()) == ["one", "two"]
    _bring_over(tmp_path / "gone", output)


def test_folder_keeps_its_mode_and_the_links_to_it(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output").chmod(0o2775)
    (tmp_path / "link").symlink_to("output")
    write_evaluation(tmp_path / "link", {})
    assert (tmp_path / "output").stat().st_mode & 0o7777 == 0o2775
    assert (tmp_path / "output" / "evaluation.json").is_file()
    assert (tmp_path / "link").is_symlink()


def test_new_folder_has_the_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    write_evaluation(tmp_path / "output", {})
    assert (tmp_path / "output").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("case", ["working directory", "no exchange", "foreign parent"])
def test_folders_that_cannot_be_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    output = tmp_path / "output"
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    (output / "evaluation.json").write_text("earlier")
    inode = output.stat().st_ino
    if case == "working directory":
        monkeypatch.chdir(output)
    elif case == "foreign parent":
        monkeypatch.setattr("tasks.output.files.os.access", lambda *_: False)
    else:
        monkeypatch.setattr("tasks.output.files.exchange", lambda *_: Path("/nowhere").stat())
    write_evaluation(output, {"a": 1})
    assert output.stat().st_ino == inode
    assert content(tmp_path).keys() == {"output/mine.txt", "output/evaluation.json"}
    assert json.loads((output / "evaluation.json").read_text()) == {"a": 1}


@pytest.mark.parametrize("exchangeable", [True, False])
def test_the_page_of_an_earlier_run_goes(
    model: ModelRef, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchangeable: bool
) -> None:
    write_output(tmp_path / "output", model, REPORT, {}, runtime, "page")
    if not exchangeable:
        monkeypatch.setattr("tasks.output.files.exchange", lambda *_: Path("/nowhere").stat())
    write_output(tmp_path / "output", model, REPORT, {}, runtime)
    assert content(tmp_path / "output").keys() == {"model.xml", "model.bin", "report.json", "manifest.json"}


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_an_input_by_another_name_is_not_replaced(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    output, inputs = tmp_path / "output", (tmp_path / "missing.npz", tmp_path / "float.xml")
    require_apart(output, inputs)
    output.mkdir()
    (output / "model.xml").write_text("mine")
    link(output / "model.xml", tmp_path / "float.xml")
    with pytest.raises(InputError, match=r"^output_dir: '.*output' would replace '.*float\.xml', which the run reads"):
        require_apart(output, inputs)


def test_nothing_is_created_until_there_is_something_to_write(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


def test_folder_where_a_file_belongs(tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    with pytest.raises(InputError, match=r"'report\.json' in it is a folder"):
        require_writable(tmp_path)


def test_evaluation_is_beside_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("there")
    write_evaluation(tmp_path, {"metrics": {"model": {"top1": 1.0}}})
    assert content(tmp_path).keys() == {"model.xml", "evaluation.json"}


@pytest.mark.parametrize("path", ["file", "file/below", "file/far/below", "loop", "loop/below", "link", "link/below"])
def test_folder_that_cannot_be_written(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("nowhere/at/all")
    with pytest.raises(InputError, match=rf"^output_dir: cannot write to '.*{path}'"):
        require_writable(tmp_path / path)


def test_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with like_anybody(), pytest.raises(InputError, match=r"output_dir: .* Permission denied"):
        require_writable(tmp_path / "locked")


def test_json_is_strict_and_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": (float("-inf"), {"b": float("nan")}), "ü": Path("p")})
    assert json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail) == {
        "a": [None, {"b": None}],
        "ü": "p",
    }
