"""The files a user gets are whole, and an earlier output stays until the new one is."""

import json
import os
from pathlib import Path

import pytest

from tasks.errors import InputError
from tasks.records import ModelRef, Report, Runtime, Stage
from tasks.store import Store
from tasks.write_output import file_sizes, require_writable, write_evaluation, write_json, write_output
from tests import models

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
    files = write_output(output, model, REPORT, {"a": Path("b")}, runtime)
    assert sorted(files) == sorted(output.iterdir())
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


@pytest.mark.parametrize("step", ["copyfile", "write_json"])
def test_failing_write_leaves_the_earlier_output(
    model: ModelRef, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    output = tmp_path / "output"
    write_output(output, model, REPORT, {"run": 1}, runtime)
    (output / "mine.txt").write_text("mine")
    before = content(output)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        "tasks.write_output.shutil.copyfile" if step == "copyfile" else "tasks.write_output.write_json", full
    )
    with pytest.raises(OSError, match="No space left"):
        write_output(output, model, REPORT, {"run": 2}, runtime)
    assert content(output) == before


def test_evaluation_is_beside_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("there")
    write_evaluation(tmp_path, {"metrics": {"model": {"top1": 1.0}}})
    assert content(tmp_path).keys() == {"model.xml", "evaluation.json"}


@pytest.mark.parametrize("path", ["file", "file/below", "file/far/below"])
def test_folder_that_cannot_be_written(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=rf"^output_dir: cannot write to '.*{path}'"):
        require_writable(tmp_path / path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(InputError, match=r"output_dir: .* Permission denied"):
        require_writable(tmp_path / "locked")


def test_json_is_strict_and_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": (float("-inf"), {"b": float("nan")}), "ü": Path("p")})
    assert json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail) == {
        "a": [None, {"b": None}],
        "ü": "p",
    }
