"""Artifacts are whole or not there; what is damaged is recognised and made again."""

import errno
import multiprocessing
import os
import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.engine.artifact_store import Store, file_identity, referenced
from tasks.records import ArraysRef, DatasetRef, ModelRef
from tasks.steps.evaluate_model import Evaluation
from tests.support import models
from tests.support.privileges import like_anybody

Ref = ModelRef | ArraysRef
ARRAYS: dict[str, NDArray[Any]] = {
    "limits/low": np.arange(5000, dtype=np.float32).reshape(50, 100),
    "levels": np.array(256),
    "empty": np.zeros((0, 3)),
    "every other": np.arange(10.0)[::2],
    "one for all": np.broadcast_to(np.float32(3), (4, 5)),
    **{f"of type {kind}": np.array([[0, 1, 100]]).astype(kind) for kind in "?bhilBHILefd"},
}


def put(store: Store, kind: str) -> Ref:
    return store.put_model(models.convnet(), "tiny") if kind == "models" else store.put_arrays(ARRAYS)


def files(store: Store, ref: Ref) -> list[Path]:
    return sorted((store.root / ("models" if isinstance(ref, ModelRef) else "arrays") / ref.digest).iterdir())


def test_arrays_come_back_as_they_were(store: Store) -> None:
    read = store.open_arrays(store.put_arrays(ARRAYS))
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


def test_an_array_that_the_file_does_not_hold_whole_is_an_error(store: Store) -> None:
    ref = store.put_arrays({"rows": np.arange(1000.0)})
    read = store.read_arrays(ref)
    [file] = files(store, ref)
    os.truncate(file, file.stat().st_size - 100)
    with pytest.raises(OSError, match=r"ends in the midst of 'rows'"):
        read["rows"]


@pytest.mark.parametrize("name", ["file", "allow_pickle", "", "a.npy", "/conv:0/low", "../x", "größe", "a b=1"])
def test_arrays_may_have_any_name(store: Store, name: str) -> None:
    assert list(store.open_arrays(store.put_arrays({name: np.ones(2)}))) == [name]


def test_what_is_no_number_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="'x' is of type object"):
        store.put_arrays({"x": np.array([{}], dtype=object)})


def test_models_come_back_with_f32_weights(store: Store) -> None:
    model = models.convnet()
    read = store.open_model(store.put_model(model, "tiny"))
    weights = {
        node.get_friendly_name(): node.get_data()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Constant"
    }
    found = {node.get_friendly_name(): node for node in read.get_ordered_ops()}
    assert len(weights) > 5
    for name, values in weights.items():
        np.testing.assert_array_equal(found[name].get_data(), values, strict=True)


@pytest.mark.parametrize("kind", ["models", "arrays"])
def test_equal_content_is_stored_once(store: Store, kind: str) -> None:
    first, second = put(store, kind), put(store, kind)
    assert first == second
    assert store.is_intact(first)
    assert [folder.name for folder in (store.root / kind).iterdir()] == [first.digest]


def test_other_content_has_another_digest(store: Store) -> None:
    refs = [
        store.put_arrays(ARRAYS),
        store.put_arrays({**ARRAYS, "levels": np.array(255)}),
        store.put_arrays({**ARRAYS, "levels": np.array(256, np.int32)}),
        store.put_arrays({("level" if name == "levels" else name): array for name, array in ARRAYS.items()}),
    ]
    assert len(set(refs)) == 4


def test_the_name_of_a_model_is_no_part_of_its_identity(store: Store) -> None:
    assert store.put_model(models.convnet(), "one") == store.put_model(models.convnet(), "other")


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def to_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def to_loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


def to_dangling_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere/at/all")


def forbid(path: Path) -> None:
    path.chmod(0)


def forbid_folder(file: Path) -> None:
    forbid(file.parent)


def replace_folder(file: Path) -> None:
    folder = file.parent
    folder.rename(folder.with_name("moved"))
    folder.write_text("a file")


def link_folder_to_nothing(file: Path) -> None:
    folder = file.parent
    folder.rename(folder.with_name("moved"))
    folder.symlink_to("nowhere")


DAMAGES = [truncate, flip_bit, Path.unlink, to_folder, to_loop, to_dangling_link]
DAMAGES += [forbid, forbid_folder, replace_folder, link_folder_to_nothing]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize(("kind", "number"), [("models", 0), ("models", 1), ("arrays", 0)])
def test_damage_is_seen_and_mended(store: Store, kind: str, number: int, damage: Callable[[Path], None]) -> None:
    ref = put(store, kind)
    damage(files(store, ref)[number])
    with like_anybody():
        assert not store.is_intact(ref)
        # Whoever makes the content again, for whatever reason, finds it whole afterwards.
        assert put(store, kind) == ref
        assert store.is_intact(ref)


@pytest.mark.parametrize("replace", [Path.write_text, Path.symlink_to], ids=["file", "link to nowhere"])
@pytest.mark.parametrize("kind", ["models", "arrays"])
def test_what_stands_in_place_of_a_folder_is_named_and_kept(
    store: Store, kind: str, replace: Callable[[Path, str], object]
) -> None:
    store.root.mkdir()
    replace(store.root / kind, "nowhere")
    with pytest.raises(NotADirectoryError, match="a file or a link without target") as caught:
        put(store, kind)
    assert caught.value.filename == str(store.root / kind)
    assert os.path.lexists(store.root / kind)


@pytest.mark.parametrize("kind", ["models", "arrays"])
def test_a_folder_that_may_not_be_written_is_named(store: Store, kind: str) -> None:
    (store.root / kind).mkdir(parents=True)
    (store.root / kind).chmod(0o555)
    with like_anybody(), pytest.raises(PermissionError, match=f"/{kind}/"):
        put(store, kind)


LOSSES: dict[str, tuple[Callable[[Path], object], type[OSError], str]] = {
    "the home": (lambda folder: shutil.rmtree(folder.parents[1]), FileNotFoundError, "No such file"),
    "its weights": (lambda folder: (folder / "model.bin").unlink(), FileNotFoundError, "No such file"),
    "permission": (lambda folder: (folder / "model.xml").chmod(0), PermissionError, "Permission denied"),
    "its second half": (lambda folder: truncate(folder / "model.xml"), OSError, "damaged; the next run makes it again"),
}


@pytest.mark.parametrize(("lose", "error", "words"), LOSSES.values(), ids=LOSSES.keys())
def test_a_model_that_is_lost_while_a_run_needs_it_is_named(
    store: Store, lose: Callable[[Path], object], error: type[OSError], words: str
) -> None:
    ref = store.put_model(models.convnet(), "tiny")
    lose(store.model_folder(ref))
    with like_anybody(), pytest.raises(error, match=words) as caught:
        store.open_model(ref)
    assert str(caught.value.filename).startswith(str(store.model_folder(ref)))


@pytest.mark.parametrize("kind", ["models", "arrays"])
def test_discarded_artifacts_are_gone(store: Store, kind: str) -> None:
    ref = put(store, kind)
    store.discard(ref)
    assert not store.is_intact(ref)
    store.discard(ref)  # a second time does no harm
    assert put(store, kind) == ref


def test_unfinished_folders_do_not_disturb(store: Store) -> None:
    unfinished = store.root / "arrays" / ".incomplete-killed"
    unfinished.mkdir(parents=True)
    (unfinished / "arrays.safetensors").write_bytes(b"PK")
    ref = store.put_arrays(ARRAYS)
    assert store.is_intact(ref)
    assert {folder.name for folder in (store.root / "arrays").iterdir()} == {ref.digest, unfinished.name}


@pytest.mark.parametrize("kind", ["models", "arrays"])
def test_a_failing_put_leaves_nothing(store: Store, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tasks.engine.artifact_store.save_file", full)
    monkeypatch.setattr("tasks.engine.artifact_store.ov.save_model", full)
    with pytest.raises(OSError, match="No space left"):
        put(store, kind)
    assert list((store.root / kind).iterdir()) == []


@pytest.mark.parametrize("kind", ["models", "arrays"])
def test_a_limit_of_file_sizes_is_told_from_a_full_disk(store: Store, kind: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError) as caught:
            put(store, kind)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(store.root / kind))
    assert list((store.root / kind).iterdir()) == []


def test_a_full_disk_is_told_from_a_limit_of_file_sizes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("Exception from ...:\nbasic_ios::clear: iostream error\n")

    monkeypatch.setattr("tasks.engine.artifact_store.ov.save_model", full)
    with pytest.raises(OSError, match="No space left"):
        put(store, "models")
    monkeypatch.setattr("resource.getrlimit", lambda _: (10**6, 10**6))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match="No space left"):
        put(store, "models")


def put_often(root: Path, start: Any, answers: Any) -> None:
    start.wait()
    answers.put({Store(root).put_arrays({"x": np.full(2000, number)}).digest for number in range(40)})


def test_two_processes_put_the_same_content(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(2), context.Queue()
    writers = [context.Process(target=put_often, args=(store.root, start, answers)) for _ in range(2)]
    for writer in writers:
        writer.start()
    digests = [answers.get(timeout=60) for _ in writers]
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert digests[0] == digests[1]
    assert {folder.name for folder in (store.root / "arrays").iterdir()} == digests[0]
    assert all(store.is_intact(ArraysRef(digest)) for digest in digests[0])


@dataclass(frozen=True)
class Nested:
    inner: dict[str, tuple[Any, ...]]
    evaluation: Evaluation


def test_referenced_finds_every_reference() -> None:
    model, arrays, deep = ModelRef("m", "1"), ArraysRef("2"), ArraysRef("3")
    value = [Nested({"a": (model, 7)}, Evaluation({"top1": 1.0}, 3, arrays)), {"b": [deep]}, "text", None]
    assert list(referenced(value)) == [model, arrays, deep]
    assert list(referenced(DatasetRef(Path("x"), (1,), 1, ("d",), None))) == []  # type: ignore[arg-type]


IDENTITY_CHANGES: dict[str, Callable[[Path], object]] = {
    "a file grows": lambda folder: (folder / "a.png").write_bytes(b"12"),
    "a file is touched": lambda folder: os.utime(folder / "a.png", ns=(1, 1)),
    "a file comes": lambda folder: (folder / "b.png").write_bytes(b""),
    "a file goes": lambda folder: (folder / "deep" / "c.png").unlink(),
    "a file of a deeper folder grows": lambda folder: (folder / "deep" / "c.png").write_bytes(b"12"),
    "a file is renamed": lambda folder: (folder / "a.png").rename(folder / "z.png"),
    "a file is moved": lambda folder: (folder / "a.png").rename(folder / "deep" / "a.png"),
    "a file comes whose name is no Unicode": lambda folder: (folder / os.fsdecode(b"\xff")).write_bytes(b""),
    "a file is replaced by one of equal time": lambda folder: replace_keeping_time(folder / "a.png"),
    "a file is written anew and keeps its time": lambda folder: rewrite_keeping_time(folder / "a.png"),
}


def replace_keeping_time(file: Path) -> None:
    stat = file.stat()
    copy = file.with_name("copy")
    copy.write_bytes(b"9")
    os.utime(copy, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    copy.replace(file)


def rewrite_keeping_time(file: Path) -> None:
    stat = file.stat()
    time.sleep(0.02)  # the clock of a file system ticks a few hundred times a second
    file.write_bytes(b"9")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("change", IDENTITY_CHANGES.values(), ids=IDENTITY_CHANGES.keys())
def test_file_identity_changes(tmp_path: Path, change: Callable[[Path], object]) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.png").write_bytes(b"1")
    (tmp_path / "deep" / "c.png").write_bytes(b"1")
    before = file_identity(tmp_path)
    assert file_identity(tmp_path) == before
    change(tmp_path)
    assert file_identity(tmp_path) != before


def test_file_identity_of_relative_paths_is_that_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.xml").write_bytes(b"1")
        os.utime(tmp_path / folder / "model.xml", ns=(1, 1))
    monkeypatch.chdir(tmp_path / "one")
    first = file_identity(Path("model.xml"))
    assert first == file_identity(tmp_path / "one" / "model.xml")
    monkeypatch.chdir(tmp_path / "two")
    assert file_identity(Path("model.xml")) != first
