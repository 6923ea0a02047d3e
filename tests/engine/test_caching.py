"""What a cache key follows, what it leaves out, and how damaged results are forgotten."""

import hashlib
import importlib.metadata
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import cv2
import numpy as np
import pytest
from prefect import Task
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore
from prefect.serializers import JSONSerializer

from tasks.data.arrays import Arrays
from tasks.data.digits import Digits
from tasks.data.image_folder import ImageFolder
from tasks.engine import caching
from tasks.engine.artifact_store import Store
from tasks.engine.caching import cache_key, code_digest, forget_damaged, is_known, results_folder
from tasks.records import ArraysRef, DatasetRef, ModelRef, Runtime
from tasks.steps.collect_statistics import collect_statistics
from tasks.steps.estimate_ranges import estimate_ranges
from tasks.steps.evaluate_model import Evaluation, evaluate_model
from tasks.steps.load_dataset import load_dataset, source_identity
from tasks.steps.load_model import load_model
from tasks.steps.place_quantizers import place_quantizers
from tests.support.privileges import like_anybody

STEPS: list[Any] = [load_model, load_dataset, place_quantizers, collect_statistics, estimate_ranges, evaluate_model]
INPUTS: dict[str, Any] = {
    "model": ModelRef("digits", "m1"),
    "tensors": ("a:0", "b:0"),
    "shard": DatasetRef(Digits("training"), (0, 1), 10, ("d0", "d1"), "l"),
    "runtime": Runtime(Path("home")),
}


def key(**changes: Any) -> str:
    return cache_key(collect_statistics.fn, INPUTS | changes)


@pytest.fixture
def copied_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package whose files a test may change; the key is taken of that."""
    copy = tmp_path / "tasks"
    shutil.copytree(caching._PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(caching, "_PACKAGE", copy)
    clear()
    yield copy
    clear()


def clear() -> None:
    """Forget what was read of the sources, as a new process does."""
    caching.code_digest.cache_clear()
    caching._read.cache_clear()


def test_equal_inputs_have_one_key() -> None:
    assert key() == key() == key(shard=replace(INPUTS["shard"]))
    assert key().startswith("collect_statistics-")


DIFFERENT: dict[str, dict[str, Any]] = {
    "another model": {"model": ModelRef("digits", "m2")},
    "another tensor": {"tensors": ("a:0", "c:0")},
    "tensors in another order": {"tensors": ("b:0", "a:0")},
    "another sample": {"shard": replace(INPUTS["shard"], digests=("d0", "d2"))},
    "fewer samples": {"shard": replace(INPUTS["shard"], digests=("d0",))},
    "samples in another order": {"shard": replace(INPUTS["shard"], digests=("d1", "d0"))},
    "a reference of another type": {"model": ArraysRef("m1")},
    "one name made of two": {"tensors": ("a:0b:0",)},
    "a number for its text": {"tensors": 1},
    "its text": {"tensors": "1"},
}


def test_every_argument_is_part_of_the_key() -> None:
    keys = {label: key(**changes) for label, changes in DIFFERENT.items()}
    assert len({key(), *keys.values()}) == len(keys) + 1, keys


SAME: dict[str, dict[str, Any]] = {
    "home": {"runtime": Runtime(Path("elsewhere"))},
    "threads and the like": {"runtime": Runtime(Path("home"), threads=7, shard_size=9, progress=False)},
    "what the model is called": {"model": ModelRef("renamed", "m1")},
    "where the samples lie": {"shard": replace(INPUTS["shard"], source=Arrays(Path("moved.npz")))},
    "their numbers there": {"shard": replace(INPUTS["shard"], indices=(7, 8), available=99)},
}


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME.keys())
def test_what_cannot_change_a_result_is_no_part_of_the_key(changes: dict[str, Any]) -> None:
    assert key(**changes) == key()


def test_two_steps_of_equal_inputs_have_two_keys() -> None:
    assert cache_key(place_quantizers.fn, INPUTS).partition("-")[2] != key().partition("-")[2]


@pytest.mark.parametrize("value", [object(), {1, 2}, np.ones(2), len], ids=["object", "set", "array", "function"])
def test_values_without_a_stable_form_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot be part of a cache key"):
        key(tensors=value)


@pytest.mark.parametrize("library", ["openvino", "numpy"])
def test_key_follows_the_versions_of_libraries(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    versions = {name: importlib.metadata.version(name) for name in ("openvino", "numpy")}
    monkeypatch.setattr("importlib.metadata.version", (versions | {library: "0.1"}).__getitem__)
    assert key() != before


STEP_MODULES = sorted(
    f"tasks.steps.{file.stem}"
    for file in (caching._PACKAGE / "steps").glob("*.py")
    if "\n@step\n" in file.read_text(encoding="utf-8")
)

# Modules that a step stands on, at one, two and three imports from it.
IMPORTED: list[tuple[Any, str]] = [
    (collect_statistics, "steps/collect_statistics.py"),
    (collect_statistics, "engine/caching.py"),
    (collect_statistics, "engine/artifact_store.py"),
    (collect_statistics, "algorithms/calibration.py"),
    (collect_statistics, "algorithms/inference.py"),
    (collect_statistics, "graph/naming.py"),
    (place_quantizers, "graph/placement.py"),
    (place_quantizers, "graph/patterns.py"),
    (place_quantizers, "numerics/affine.py"),
    (estimate_ranges, "numerics/estimators.py"),
    (load_model, "graph/reading.py"),
    (load_dataset, "data/subset.py"),
    (evaluate_model, "numerics/metrics.py"),
]


@pytest.mark.parametrize(("step", "file"), [pytest.param(*row, id=f"{row[0].name}-{row[1]}") for row in IMPORTED])
def test_key_follows_the_source_of_what_the_step_imports(copied_package: Path, step: Any, file: str) -> None:
    before = cache_key(step.fn, INPUTS)
    clear()
    assert cache_key(step.fn, INPUTS) == before
    with (copied_package / file).open("a", encoding="utf-8") as source:
        source.write("\nCHANGED = True\n")
    clear()
    assert cache_key(step.fn, INPUTS) != before


@pytest.mark.parametrize("file", ["numerics/affine.py", "engine/artifact_store.py", "algorithms/calibration.py"])
def test_comments_and_docstrings_do_not_count(copied_package: Path, file: str) -> None:
    before, path = key(), copied_package / file
    code = re.sub('"""(?=[A-Z])', '"""Changed: ', path.read_text(encoding="utf-8"))
    path.write_text(f"{code}\n# changed\n", encoding="utf-8")
    clear()
    assert key() == before


@pytest.mark.parametrize("file", ["data/boxed.py", "data/source.py", "data/image_folder.py", "pot/document.py"])
def test_key_leaves_out_the_code_that_reads_samples(copied_package: Path, file: str) -> None:
    """What samples are is told by their digests; for those of files, also by that of the code which decodes them."""
    before, identity = key(), source_identity(Digits("training"))
    with (copied_package / file).open("a", encoding="utf-8") as source:
        source.write("\nCHANGED = True\n")
    clear()
    assert key() == before
    assert (source_identity(Digits("training")) == identity) == file.startswith("pot")


def test_samples_that_are_decoded_otherwise_are_other_samples(
    copied_package: Path, tmp_path: Path, runtime: Runtime
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    source = ImageFolder(path=tmp_path)
    before = load_dataset.fn(source, "", None, runtime)
    for file, same in (("data/boxed.py", True), ("data/preprocessing.py", False)):
        with (copied_package / file).open("a", encoding="utf-8") as code:
            code.write("\nCHANGED = True\n")
        clear()
        after = load_dataset.fn(source, "", None, runtime)
        assert after.digests == before.digests
        assert (cache_key(collect_statistics.fn, INPUTS | {"shard": after}) == key(shard=before)) == same


CORE_ROOMS = {"numerics", "graph", "algorithms", "data", "metrics", "pot", "output", "digits"}
ALL_BUT_SAMPLES = {"numerics", "graph", "algorithms"}
ROOMS = {
    "load_model": {"graph"},
    "load_dataset": {"data"},
    "smooth_activations": {"numerics", "graph"},
    "measure_speed": {"graph", "algorithms"},
    "package_model": {"graph", "algorithms"},
    "evaluate_model": ALL_BUT_SAMPLES | {"data", "metrics"},
    "draw_plots": ALL_BUT_SAMPLES | {"output"},
}


@pytest.mark.parametrize("module", STEP_MODULES)
def test_the_rooms_that_the_digest_of_a_step_reaches(module: str) -> None:
    closure = caching._import_closure(module)
    found = {path.relative_to(caching._PACKAGE).parts[0] for path in closure} & CORE_ROOMS
    assert found == ROOMS.get(module.rpartition(".")[2], ALL_BUT_SAMPLES)


@pytest.mark.parametrize("module", STEP_MODULES)
def test_what_a_step_returns_comes_back_from_the_cache_with_its_types(module: str) -> None:
    """JSON keeps the types of dataclasses and of what they hold; a bare tuple would come back as a list."""
    found = [each.fn for each in vars(import_module(module)).values() if isinstance(each, Task)]
    for function in found:
        kind = get_type_hints(function)["return"]
        assert is_dataclass(kind), f"{module} returns {kind}"


UNRELATED: list[tuple[Any, str]] = [
    (collect_statistics, "graph/patterns.py"),
    (collect_statistics, "tracking/log_run.py"),
    (collect_statistics, "algorithms/ranges.py"),
    (estimate_ranges, "output/files.py"),
    (load_dataset, "graph/placement.py"),
    (load_model, "numerics/metrics.py"),
]


@pytest.mark.parametrize(("step", "file"), [pytest.param(*row, id=f"{row[0].name}-{row[1]}") for row in UNRELATED])
def test_key_leaves_out_what_the_step_does_not_import(copied_package: Path, step: Any, file: str) -> None:
    before = cache_key(step.fn, INPUTS)
    (copied_package / file).write_text('"""Empty."""\n', encoding="utf-8")
    clear()
    assert cache_key(step.fn, INPUTS) == before


def test_key_does_not_depend_on_where_the_package_lies(copied_package: Path) -> None:
    copied = {step.name: code_digest(step.fn.__module__) for step in STEPS}
    assert copied_package.is_dir()
    clear()
    caching._PACKAGE = Path(caching.__file__).parents[1]
    assert {step.name: code_digest(step.fn.__module__) for step in STEPS} == copied


def test_code_digest_reads_every_form_of_import(copied_package: Path) -> None:
    (copied_package / "probe.py").write_text(
        "import tasks.algorithms.speed\nfrom tasks.engine import progress\nfrom tasks.graph import text as shown\n"
        "def late():\n    from tasks.numerics.metrics import top_k\n",
        encoding="utf-8",
    )
    found = {str(path.relative_to(copied_package)) for path in caching._import_closure("tasks.probe")}
    assert {
        "probe.py",
        "algorithms/speed.py",
        "algorithms/inference.py",
        "engine/progress.py",
        "graph/text.py",
        "numerics/metrics.py",
    } <= found


# --- results on disk


@pytest.fixture
def results(store: Store, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = results_folder(store.root)
    folder.mkdir(parents=True)
    # The store that a flow gives its steps; outside of one, Prefect would ask a server for it.
    monkeypatch.setattr("tasks.engine.caching.get_result_store", lambda: result_store(folder))
    return folder


def result_store(folder: Path) -> ResultStore:
    return ResultStore(result_storage=LocalFileSystem(basepath=str(folder)), serializer=JSONSerializer())


def record(value: Any, folder: Path) -> None:
    """Store a result as Prefect does for a step."""
    result_store(folder).write(value, key="step-1")


def evaluation(outputs: ArraysRef) -> Evaluation:
    return Evaluation({"top1": 1.0}, 1, outputs, ("note",))


def test_whole_results_are_kept(store: Store, results: Path) -> None:
    outputs = store.put_arrays({"x": np.ones(3)})
    record(evaluation(outputs), results)
    forget_damaged("step-1", store, results)
    assert (results / "step-1").is_file()
    assert store.is_intact(outputs)
    forget_damaged("step-2", store, results)


def test_a_result_is_known_by_all_arguments_given_or_not(store: Store, results: Path, runtime: Runtime) -> None:
    dataset = INPUTS["shard"]
    given = {"model": INPUTS["model"], "dataset": dataset, "reference": None, "runtime": runtime}
    assert not is_known(evaluate_model, given)
    with_defaults = given | {"scoring": None, "identity": "", "gate": False, "alone": False, "check": False}
    (results / cache_key(evaluate_model.fn, with_defaults)).write_text("{}", encoding="utf-8")
    assert is_known(evaluate_model, given)
    assert is_known(evaluate_model, with_defaults)
    assert not is_known(evaluate_model, given | {"identity": "other"})


CORRUPTIONS: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:-40]),
    "garbage": lambda file: file.write_bytes(bytes(range(256))),
    "of another step": lambda file: file.write_text(file.read_text().replace("step-1", "step-2")),
    "of a field that is gone": lambda file: file.write_text(file.read_text().replace("samples", "sampled")),
}


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def test_unreadable_records_are_forgotten(store: Store, results: Path, corrupt: Callable[[Path], object]) -> None:
    record(evaluation(store.put_arrays({"x": np.ones(3)})), results)
    before = (results / "step-1").read_bytes()
    corrupt(results / "step-1")
    assert (results / "step-1").read_bytes() != before
    forget_damaged("step-1", store, results)
    assert not (results / "step-1").exists()


IN_THE_WAY: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a folder of files": lambda file: shutil.copytree(Path(__file__).parents[1] / "shapes", file),
    "a loop": lambda file: file.symlink_to(file.name),
    "a link to nowhere": lambda file: file.symlink_to("nowhere/at/all"),
    "forbidden": lambda file: file.touch(0),
}


@pytest.mark.parametrize("place", IN_THE_WAY.values(), ids=IN_THE_WAY.keys())
def test_what_is_in_the_way_of_a_record_gives_way(store: Store, results: Path, place: Callable[[Path], object]) -> None:
    place(results / "step-1")
    with like_anybody():
        forget_damaged("step-1", store, results)
        record(evaluation(store.put_arrays({"x": np.ones(3)})), results)
        forget_damaged("step-1", store, results)
    assert (results / "step-1").is_file()
    assert not (results / "step-1").is_symlink()


@pytest.mark.parametrize("damage", ["cut off", "gone"])
def test_records_of_damaged_artifacts_are_forgotten(store: Store, results: Path, damage: str) -> None:
    good, bad = store.put_arrays({"x": np.ones(3)}), store.put_arrays({"x": np.zeros(3)})
    record((evaluation(good), {"deep": [bad]}), results)
    file = store.root / "arrays" / bad.digest / "arrays.safetensors"
    if damage == "gone":
        shutil.rmtree(file.parent)
    else:
        file.write_bytes(file.read_bytes()[:-1])
    forget_damaged("step-1", store, results)
    assert not (results / "step-1").exists()
    assert not file.parent.exists()
    assert store.is_intact(good)


def test_records_of_a_folder_that_moved_are_kept(store: Store, results: Path) -> None:
    record(evaluation(store.put_arrays({"x": np.ones(3)})), results)
    file = results / "step-1"
    file.write_text(file.read_text().replace(str(file), "/elsewhere/results/step-1"))
    forget_damaged("step-1", store, results)
    assert file.is_file()


def test_keys_are_file_names_of_fixed_length() -> None:
    digest = key().partition("-")[2]
    assert len(digest) == hashlib.sha256().digest_size * 2
    assert json.dumps(digest).isascii()
