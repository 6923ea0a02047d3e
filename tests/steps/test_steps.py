"""LevelsPerSide as plain functions on the built-in digits: what they return, what they store, what they refuse."""

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.algorithms.evaluation import compile_alone
from tasks.data.annotated_files import AnnotatedFiles
from tasks.data.arrays import Arrays
from tasks.data.digits import Digits, open_digits
from tasks.data.readers import NumpyReader
from tasks.digits import MODEL
from tasks.engine import speed_process
from tasks.engine.artifact_store import Store
from tasks.errors import InputError
from tasks.graph.scope import IgnoredScope
from tasks.numerics.statistics import StackedStatistics
from tasks.records import DatasetRef, Execution, ModelRef, Runtime
from tasks.steps import evaluate_model as evaluating
from tasks.steps.collect_statistics import collect_statistics
from tasks.steps.evaluate_model import compile_ahead, evaluate_model
from tasks.steps.load_dataset import load_dataset, source_identity
from tasks.steps.load_model import find_model, load_model
from tasks.steps.measure_speed import UnmeasuredError, describe_machine, measure_speed
from tasks.steps.place_quantizers import Placement, place_quantizers

DIGITS = Digits("training")


def loaded(runtime: Runtime) -> ModelRef:
    return load_model.fn(MODEL, "", runtime)


def samples(runtime: Runtime, size: int | None = 8, *, shuffle: bool = False, seed: int = 0) -> DatasetRef:
    return load_dataset.fn(DIGITS, "", size, runtime, shuffle=shuffle, seed=seed)


def placed(model: ModelRef, runtime: Runtime) -> Placement:
    return place_quantizers.fn(model, "ANY", None, IgnoredScope(), runtime)


# --- load_model


def test_model_goes_into_the_store(runtime: Runtime, store: Store) -> None:
    model = loaded(runtime)
    assert model.name == "digits"
    assert store.is_intact(model)
    assert load_model.fn(MODEL, "another identity", runtime) == model


def test_model_whose_file_has_no_name_of_its_own_is_called_like_its_folder(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "resnet").mkdir()
    for suffix in (".xml", ".bin"):
        shutil.copy(MODEL.with_suffix(suffix), tmp_path / "resnet" / f"model{suffix}")
    assert load_model.fn(tmp_path / "resnet" / "model.xml", "identity", runtime).name == "resnet"


def test_equal_files_of_two_names_are_one_model(runtime: Runtime, tmp_path: Path) -> None:
    for suffix in (".xml", ".bin"):
        shutil.copy(MODEL.with_suffix(suffix), tmp_path / f"renamed{suffix}")
    renamed = load_model.fn(tmp_path / "renamed.xml", "", runtime)
    assert renamed == loaded(runtime)
    assert renamed.name == "renamed"


def test_identity_of_a_model_follows_its_weights(tmp_path: Path) -> None:
    for suffix in (".xml", ".bin"):
        shutil.copy(MODEL.with_suffix(suffix), tmp_path / f"m{suffix}")
    path, before = find_model(str(tmp_path / "m.xml"))
    assert path == tmp_path / "m.xml"
    (tmp_path / "unrelated.txt").write_text("")
    assert find_model(str(path)) == (path, before)
    (tmp_path / "m.bin").write_bytes(b"")
    assert find_model(str(path))[1] != before


def test_packaged_model_is_found() -> None:
    assert find_model("pkg://tasks.digits/digits.xml")[0] == MODEL


# --- load_dataset


@pytest.mark.parametrize(("size", "expected"), [(3, 3), (None, 1198), (5000, 1198)])
def test_dataset_has_the_samples_asked_for(runtime: Runtime, size: int | None, expected: int) -> None:
    dataset = samples(runtime, size)
    assert len(dataset) == expected
    assert dataset.indices == tuple(range(expected))
    assert dataset.available == 1198
    assert dataset.digests[2] == open_digits(DIGITS).digest(2)


def test_shuffled_samples_follow_the_seed(runtime: Runtime) -> None:
    drawn = samples(runtime, shuffle=True, seed=1)
    assert drawn == samples(runtime, shuffle=True, seed=1)
    assert drawn != samples(runtime, shuffle=True, seed=2)
    assert sorted(drawn.indices) != list(range(8))


def test_moved_data_are_the_same_data(runtime: Runtime, tmp_path: Path) -> None:
    x, y = np.zeros((3, 1, 8, 8), np.float32), np.arange(3)
    refs = []
    for name, labels in (("a", y), ("b", y), ("c", y + 1)):
        np.savez(tmp_path / f"{name}.npz", x=x, y=labels)
        refs.append(load_dataset.fn(Arrays(tmp_path / f"{name}.npz"), "", None, runtime))
    assert refs[0] == refs[1]
    assert refs[0] != refs[2]  # other labels are other data, to whoever reads labels,
    assert refs[0].shards(2) == refs[2].shards(2)  # but statistics do not


def test_identity_of_data_follows_their_file(tmp_path: Path) -> None:
    source = Arrays(tmp_path / "x.npz")
    missing = source_identity(source)
    np.savez(source.path, x=np.zeros(3))
    first = source_identity(source)
    np.savez(source.path, x=np.zeros(4))
    assert len({missing, first, source_identity(source)}) == 3


@pytest.mark.parametrize(("size", "lengths"), [(3, [3, 3, 2]), (8, [8]), (100, [8]), (1, [1] * 8)])
def test_shards_are_the_samples_in_order(runtime: Runtime, size: int, lengths: list[int]) -> None:
    dataset = samples(runtime)
    shards = dataset.shards(size)
    assert [len(shard) for shard in shards] == lengths
    assert sum((shard.digests for shard in shards), ()) == dataset.digests
    assert sum((shard.indices for shard in shards), ()) == dataset.indices


def test_shards_of_more_samples_begin_with_those_of_fewer(runtime: Runtime) -> None:
    assert samples(runtime, 12).shards(4)[:2] == samples(runtime, 8).shards(4)


# --- placement and statistics


def test_placement_names_tensors_of_the_model(runtime: Runtime, store: Store) -> None:
    model = loaded(runtime)
    placement = placed(model, runtime)
    names = {node.get_friendly_name() for node in store.open_model(model).get_ordered_ops()}
    assert placement.setup.points
    assert {point.tensor.rpartition(":")[0] for point in placement.setup.points} <= names
    assert {tensor.rpartition(":")[0] for tensor in placement.tensors} <= names


def test_statistics_have_a_row_for_each_sample(runtime: Runtime, store: Store) -> None:
    model, dataset = loaded(runtime), samples(runtime)
    placement = placed(model, runtime)
    stored = collect_statistics.fn(model, placement.observations({}), dataset.shards(8)[0], Execution(), runtime)
    found = StackedStatistics([store.read_arrays(stored)])
    assert set(found) == set(placement.tensors)
    assert {statistic.samples for statistic in found.values()} == {8}
    # The input is a tensor of the model too: its extremes are those of the samples.
    (statistic,) = (statistic for name, statistic in found.items() if name.startswith("images"))
    pictures = open_digits(DIGITS).arrays["x"][:8]
    np.testing.assert_array_equal(statistic.maximum.ravel(), pictures.max((1, 2, 3)))
    np.testing.assert_array_equal(statistic.minimum.ravel(), pictures.min((1, 2, 3)))


@pytest.mark.parametrize("threads", [1, 3, None])
def test_statistics_are_equal_to_the_bit(runtime: Runtime, tmp_path: Path, threads: int | None) -> None:
    model, dataset = loaded(runtime), samples(runtime)
    placement, shard = placed(model, runtime), dataset.shards(8)[0]
    elsewhere = replace(runtime, home=tmp_path / "elsewhere", threads=threads)
    assert loaded(elsewhere) == model
    observed = (model, placement.observations({}), shard, Execution())
    assert collect_statistics.fn(*observed, elsewhere) == collect_statistics.fn(*observed, runtime)


# --- evaluation and speed


def test_evaluation_against_itself_is_perfect(runtime: Runtime, store: Store) -> None:
    model, dataset = loaded(runtime), samples(runtime, 50)
    alone = evaluate_model.fn(model, dataset, None, runtime)
    assert alone.metrics.keys() == {"top1", "top5"}
    assert alone.samples == 50
    assert alone.outputs and store.open_arrays(alone.outputs)["logits"].shape == (50, 10)
    beside = evaluate_model.fn(model, dataset, alone, runtime)
    assert beside.metrics["agreement"] == 100
    assert beside.metrics["cosine"] == pytest.approx(1)
    assert beside.metrics["sqnr_db"] == np.inf
    # Outputs may be large: only those that others are compared with are kept.
    assert beside.outputs is None
    with pytest.raises(ValueError, match="were not kept"):
        evaluate_model.fn(model, dataset, beside, runtime)


def renamed(model: ModelRef, store: Store) -> ModelRef:
    """The same model with other bytes."""
    copy = store.open_model(model)
    copy.set_friendly_name("renamed")
    return store.put_model(copy, "renamed")


@pytest.mark.parametrize("ahead", [False, True])
def test_models_are_compiled_once_ahead_or_not(
    runtime: Runtime, store: Store, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    compiled: list[str] = []

    def counted(model: Any, *arguments: Any, **options: Any) -> Any:
        compiled.append(model.get_friendly_name())
        return compile_alone(model, *arguments, **options)

    monkeypatch.setattr("tasks.steps.evaluate_model.compile_alone", counted)
    runtime, dataset = replace(runtime, threads=2), samples(runtime)
    one = loaded(runtime)
    other = renamed(one, store)
    names = [store.open_model(each).get_friendly_name() for each in (one, other)]
    if ahead:
        compile_ahead((one, other), dataset, runtime)
    first, second, again = (evaluate_model.fn(each, dataset, None, runtime) for each in (one, other, other))
    assert first.outputs == second.outputs == again.outputs
    assert sorted(compiled) == sorted(names)
    assert not evaluating._ahead


def test_one_thread_compiles_nothing_ahead(runtime: Runtime, store: Store) -> None:
    one = loaded(runtime)
    compile_ahead((one, renamed(one, store)), samples(runtime), runtime)
    assert not evaluating._ahead


def test_accuracy_is_that_of_the_outputs(runtime: Runtime, store: Store) -> None:
    dataset = load_dataset.fn(Digits("validation"), "", None, runtime)
    evaluation = evaluate_model.fn(loaded(runtime), dataset, None, runtime)
    assert evaluation.outputs
    answers = store.open_arrays(evaluation.outputs)["logits"].argmax(1)
    assert evaluation.metrics["top1"] == pytest.approx(
        100 * np.mean(answers == open_digits(Digits("validation")).labels)
    )


def spoiled(path: Path, spoil: Callable[[Any], Any], count: int = 200) -> Arrays:
    """The digits of validation with their labels, and what was done to the pictures."""
    digits = open_digits(Digits("validation"))
    assert digits.labels is not None
    np.savez(path, x=spoil(digits.arrays["x"][:count]).astype(np.float32), y=digits.labels[:count])
    return Arrays(path)


SPOILED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "constant": (
        np.zeros_like,
        r"where guessing gives \d+\.\d %; it answers class \d for every sample; check mean, scale",
    ),
    "other samples": (lambda x: np.roll(x, 7, axis=0), r"check mean, scale, channel_order and layout .* their labels"),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILED.values(), ids=SPOILED.keys())
def test_a_model_that_guesses_is_told(
    runtime: Runtime, tmp_path: Path, spoil: Callable[[Any], Any], words: str
) -> None:
    data = load_dataset.fn(spoiled(tmp_path / "a.npz", spoil), "", None, runtime)
    evaluation = evaluate_model.fn(loaded(runtime), data, None, runtime)
    (warning,) = evaluation.warnings
    assert re.search(rf"^the model guesses: top-1 is [\d.]+ % of 200 samples, .*{words}", warning)
    assert len(warning) < 300
    assert evaluate_model.fn(loaded(runtime), data, evaluation, runtime).warnings == ()


def test_a_fine_model_few_samples_or_no_labels_give_no_warning(runtime: Runtime, tmp_path: Path) -> None:
    model = loaded(runtime)
    for count in (1, 2, 5, 200):
        data = load_dataset.fn(spoiled(tmp_path / f"{count}.npz", lambda x: x, count), "", None, runtime)
        assert evaluate_model.fn(model, data, None, runtime).warnings == ()
    few = load_dataset.fn(spoiled(tmp_path / "few.npz", np.zeros_like, 5), "", None, runtime)
    assert evaluate_model.fn(model, few, None, runtime).warnings == ()
    np.savez(tmp_path / "unlabelled.npz", x=np.zeros((200, 1, 8, 8), np.float32))
    unlabelled = load_dataset.fn(Arrays(tmp_path / "unlabelled.npz"), "", None, runtime)
    assert evaluate_model.fn(model, unlabelled, None, runtime).warnings == ()


def test_data_without_labels_have_no_accuracy(runtime: Runtime, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 1, 8, 8), np.float32))
    dataset = load_dataset.fn(Arrays(tmp_path / "x.npz"), "", None, runtime)
    assert dataset.labels is None
    assert evaluate_model.fn(loaded(runtime), dataset, None, runtime).metrics == {}


def test_samples_that_are_kept_keep_their_sizes(runtime: Runtime, tmp_path: Path) -> None:
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.full((1, 8, 8), ord(name), np.float32))
    source = AnnotatedFiles(data_source=tmp_path, reader=NumpyReader(), layout="nhwc")
    dataset = load_dataset.fn(source, "", None, runtime)
    runtime = replace(runtime, keep_samples=10**6)
    first, again = (evaluate_model.fn(loaded(runtime), dataset, None, runtime) for _ in range(2))
    assert first == again


def test_labels_beyond_the_classes_are_refused(runtime: Runtime, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 1, 8, 8), np.float32), y=np.array([0, 10]))
    dataset = load_dataset.fn(Arrays(tmp_path / "x.npz"), "", None, runtime)
    with pytest.raises(InputError, match=r"labels go up to 10, .*'logits'.* 10 classes"):
        evaluate_model.fn(loaded(runtime), dataset, None, runtime)


def test_speed_of_two_models(runtime: Runtime) -> None:
    model = loaded(runtime)
    speeds = measure_speed.fn((model, model), samples(runtime).shards(1)[0], 0.01, describe_machine(), runtime).models
    assert len(speeds) == 2
    for speed in speeds:
        assert speed.latency_ms > 0
        assert speed.throughput_fps > 0
        assert 0 <= speed.int8_kernels <= speed.kernels


def test_a_process_that_dies_is_told_and_nothing_is_kept_of_it(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenVINO divides by zero in some float models in bfloat16."""
    dies = "import os, signal; os.kill(os.getpid(), signal.SIGFPE)"
    monkeypatch.setattr(speed_process, "COMMAND", (sys.executable, "-c", dies))
    model = loaded(runtime)
    with pytest.raises(UnmeasuredError, match="the process was ended by SIGFPE"):
        measure_speed.fn((model,), samples(runtime).shards(1)[0], 0.01, describe_machine(), runtime)
    monkeypatch.setattr(speed_process, "COMMAND", (sys.executable, "-c", "raise SystemExit('no kernel')"))
    with pytest.raises(UnmeasuredError, match="no kernel"):
        measure_speed.fn((model,), samples(runtime).shards(1)[0], 0.01, describe_machine(), runtime)
