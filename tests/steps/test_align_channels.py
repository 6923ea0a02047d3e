"""The step: what it stores, when it infers, and that equal inputs give equal bytes."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from prefect.serializers import JSONSerializer

from tasks import align_channels as module
from tasks import taps
from tasks.align_channels import AlignedModel, align_channels
from tasks.data.arrays import Arrays
from tasks.graph.alignment import find_pairs
from tasks.graph.traversal import constant_value, nodes_by_name
from tasks.load_dataset import load_dataset, source_identity
from tasks.records import DatasetRef, ModelRef, Runtime
from tasks.store import Store, referenced
from tests import models as m


@dataclass
class Counter:
    calls: int = 0

    def __call__(self) -> None:
        self.calls += 1


@pytest.fixture
def dataset(tmp_path: Path, runtime: Runtime) -> DatasetRef:
    path = tmp_path / "samples.npy"
    np.save(path, np.random.default_rng(3).normal(size=(5, 4, 8, 8)).astype(np.float32))
    source = Arrays(path)
    return load_dataset.fn(source, source_identity(source), None, runtime)


@pytest.fixture(autouse=True)
def forget_compiled() -> None:
    taps._compiled.cache_clear()


@pytest.fixture
def linear(store: Store) -> ModelRef:
    return store.put_model(m.linear_layers("a", "b", "c"), "linear")


def outputs(model: ov.Model, dataset: DatasetRef) -> list[np.ndarray]:
    assert isinstance(dataset.source, Arrays)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [compiled([sample[None]])[0] for sample in np.load(dataset.source.path)]


def test_the_result_is_another_model_that_computes_the_same(
    linear: ModelRef, dataset: DatasetRef, store: Store, runtime: Runtime
) -> None:
    aligned = align_channels.fn(linear, dataset, runtime)
    assert aligned.operations == ("b", "c")
    assert aligned.model.name == "linear"
    assert aligned.model.digest != linear.digest
    before, after = store.open_model(linear), store.open_model(aligned.model)
    for expected, output in zip(outputs(before, dataset), outputs(after, dataset), strict=True):
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    old, new = (constant_value(nodes_by_name(model)["b"].input_value(1)) for model in (before, after))
    assert not np.allclose(old, new, rtol=0.01)


def test_the_stored_model_stays(linear: ModelRef, dataset: DatasetRef, store: Store, runtime: Runtime) -> None:
    align_channels.fn(linear, dataset, runtime)
    assert store.is_intact(linear)


@pytest.mark.parametrize("threads", [1, 2])
def test_equal_inputs_give_equal_bytes(
    linear: ModelRef, dataset: DatasetRef, tmp_path: Path, runtime: Runtime, threads: int
) -> None:
    elsewhere = Runtime(tmp_path / "elsewhere", threads=threads, progress=False)
    Store(elsewhere.home).put_model(m.linear_layers("a", "b", "c"), "linear")
    assert align_channels.fn(linear, dataset, runtime) == align_channels.fn(linear, dataset, elsewhere)


def test_other_samples_give_another_model(linear: ModelRef, dataset: DatasetRef, runtime: Runtime) -> None:
    part = dataset.shards(2)[0]
    assert align_channels.fn(linear, part, runtime) != align_channels.fn(linear, dataset, runtime)


def test_a_model_without_pairs_is_the_result_and_not_inferred(store: Store, runtime: Runtime) -> None:
    model = store.put_model(m.convnet(), "convnet")
    assert find_pairs(store.open_model(model)) == ()
    unreadable = DatasetRef(Arrays(runtime.home / "missing.npy"), (0,), 1, ("d",), None)
    assert align_channels.fn(model, unreadable, runtime) == AlignedModel(model, ())
    assert [path.name for path in (store.root / "models").iterdir()] == [model.digest]


def test_every_sample_moves_the_progress_bar_once(
    linear: ModelRef, dataset: DatasetRef, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter()
    monkeypatch.setattr(module, "advance_by_one", lambda: counter)
    align_channels.fn(linear, dataset, runtime)
    assert counter.calls == len(dataset)


def test_the_result_travels_as_json_and_names_its_model() -> None:
    aligned = AlignedModel(ModelRef("linear", "m1"), ("b", "c"))
    serializer = JSONSerializer()
    assert serializer.loads(serializer.dumps(aligned)) == aligned
    assert list(referenced(aligned)) == [ModelRef("linear", "m1")]
    assert aligned == replace(aligned, model=ModelRef("another name", "m1"))
