"""The step: what it stores, when it infers, and that equal inputs give equal bytes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from prefect.serializers import JSONSerializer

from tasks.data.arrays import Arrays
from tasks.engine import observed_model as taps
from tasks.engine.artifact_store import Store, referenced
from tasks.engine.partial_statistics import open_statistics
from tasks.graph.alignment import find_pairs
from tasks.graph.constants import constant_value
from tasks.graph.scope import IgnoredScope
from tasks.graph.traversal import nodes_by_name
from tasks.records import ArraysRef, DatasetRef, Execution, ModelRef, Runtime
from tasks.steps.align_channels import AlignedModel, align_channels
from tasks.steps.collect_statistics import collect_statistics
from tasks.steps.load_dataset import load_dataset, source_identity
from tasks.steps.place_quantizers import place_quantizers
from tests.support import models as m


@pytest.fixture
def dataset(tmp_path: Path, runtime: Runtime) -> DatasetRef:
    path = tmp_path / "samples.npy"
    np.save(path, np.random.default_rng(3).normal(size=(5, 4, 8, 8)).astype(np.float32))
    source = Arrays(path)
    return load_dataset.fn(source, source_identity(source), None, runtime)


@pytest.fixture(autouse=True)
def forget_compiled() -> None:
    taps._compiled.cache_clear()


def observe(model: ModelRef, dataset: DatasetRef, runtime: Runtime) -> tuple[tuple[ArraysRef, ...], ...]:
    placement = place_quantizers.fn(model, "ANY", None, IgnoredScope(), runtime)
    observations = placement.observations({}, aligned=True)
    return ((collect_statistics.fn(model, observations, dataset, Execution(), runtime),),)


def align(model: ModelRef, dataset: DatasetRef, runtime: Runtime) -> AlignedModel:
    return align_channels.fn(model, observe(model, dataset, runtime), runtime)


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
    aligned = align(linear, dataset, runtime)
    assert aligned.operations == ("b", "c")
    assert aligned.model.name == "linear"
    assert aligned.model.digest != linear.digest
    before, after = store.open_model(linear), store.open_model(aligned.model)
    for expected, output in zip(outputs(before, dataset), outputs(after, dataset), strict=True):
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    old, new = (constant_value(nodes_by_name(model)["b"].input_value(1)) for model in (before, after))
    assert not np.allclose(old, new, rtol=0.01)


def test_the_stored_model_stays(linear: ModelRef, dataset: DatasetRef, store: Store, runtime: Runtime) -> None:
    align(linear, dataset, runtime)
    assert store.is_intact(linear)


@pytest.mark.parametrize("threads", [1, 2])
def test_equal_inputs_give_equal_bytes(
    linear: ModelRef, dataset: DatasetRef, tmp_path: Path, runtime: Runtime, threads: int
) -> None:
    elsewhere = Runtime(tmp_path / "elsewhere", threads=threads, progress=False)
    Store(elsewhere.home).put_model(m.linear_layers("a", "b", "c"), "linear")
    assert align(linear, dataset, runtime) == align(linear, dataset, elsewhere)


def test_other_samples_give_another_model(linear: ModelRef, dataset: DatasetRef, runtime: Runtime) -> None:
    part = dataset.shards(2)[0]
    assert align(linear, part, runtime) != align(linear, dataset, runtime)


def test_a_model_without_pairs_is_the_result(store: Store, runtime: Runtime) -> None:
    model = store.put_model(m.convnet(), "convnet")
    assert find_pairs(store.open_model(model)) == ()
    nothing_to_read = ((ArraysRef("missing"),),)
    assert align_channels.fn(model, nothing_to_read, runtime) == AlignedModel(model)
    assert [path.name for path in (store.root / "models").iterdir()] == [model.digest]


def test_nothing_is_inferred(
    linear: ModelRef, dataset: DatasetRef, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    statistics = observe(linear, dataset, runtime)
    monkeypatch.setattr(ov.Core, "compile_model", None)
    assert align_channels.fn(linear, statistics, runtime).operations == ("b", "c")


def test_statistics_of_the_changed_tensors_come_along(
    linear: ModelRef, dataset: DatasetRef, store: Store, runtime: Runtime
) -> None:
    before = observe(linear, dataset, runtime)
    aligned = align_channels.fn(linear, before, runtime)
    assert aligned.statistics
    changed = open_statistics(store, [*before, [aligned.statistics]])
    anew = open_statistics(store, observe(aligned.model, dataset, runtime))
    assert set(aligned.tensors) == {"a_bias:0", "b_bias:0"}
    for tensor, statistic in anew.items():
        extent = np.abs(statistic.maximum).max()
        np.testing.assert_allclose(changed[tensor].maximum, statistic.maximum, rtol=0, atol=1e-5 * extent)


def test_the_result_travels_as_json_and_names_its_artifacts() -> None:
    aligned = AlignedModel(ModelRef("linear", "m1"), ("b", "c"), ("a:0",), ArraysRef("s1"))
    serializer = JSONSerializer()
    assert serializer.loads(serializer.dumps(aligned)) == aligned
    assert list(referenced(aligned)) == [ModelRef("linear", "m1"), ArraysRef("s1")]
    assert aligned == replace(aligned, model=ModelRef("another name", "m1"))
