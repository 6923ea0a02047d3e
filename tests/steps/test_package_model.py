"""What MLflow is told of a model, and that MLflow then runs it: several inputs, free axes, large samples."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from tasks.data.arrays import Arrays
from tasks.engine.artifact_store import Store
from tasks.records import DatasetRef, ModelRef, Runtime
from tasks.steps import package_model as packaging
from tasks.steps.load_dataset import load_dataset
from tasks.steps.package_model import Tensor, package_files, package_model
from tasks.tracking.registry import log_model, release
from tests.support import models as m


def two_inputs(store: Store) -> ModelRef:
    """``left`` and ``right`` added up; ``left`` has a free batch axis."""
    left, right = m.image("left", (-1, 4, 8, 8)), m.image("right")
    model = m.build(m.add(left, right, "sum"), m.relu(left, "positive"))
    for output, name in zip(model.outputs, ("total", "positive"), strict=True):
        output.get_tensor().set_names({name})
    return store.put_model(model, "a/b: c")


def samples(folder: Path, runtime: Runtime, **arrays: Any) -> DatasetRef:
    np.savez(folder / "data.npz", **arrays)
    return load_dataset.fn(Arrays(folder / "data.npz"), "", 1, runtime)


@pytest.fixture
def data() -> dict[str, Any]:
    draw = np.random.default_rng(0)
    return {name: draw.normal(size=(3, 4, 8, 8)).astype(np.float32) for name in ("left", "right")}


def test_interface_and_example(store: Store, runtime: Runtime, tmp_path: Path, data: dict[str, Any]) -> None:
    package = package_model.fn(two_inputs(store), samples(tmp_path, runtime, **data), runtime)
    assert package.inputs == (Tensor("left", "float32", (-1, 4, 8, 8)), Tensor("right", "float32", (1, 4, 8, 8)))
    assert package.outputs == (
        Tensor("total", "float32", (-1, 4, 8, 8)),
        Tensor("positive", "float32", (-1, 4, 8, 8)),
    )
    assert package.example is not None
    example = store.open_arrays(package.example)
    for name in ("left", "right"):
        np.testing.assert_array_equal(example[name], data[name][:1])


def test_axes_that_nobody_knows(store: Store, runtime: Runtime, tmp_path: Path) -> None:
    free = ov.opset13.parameter(ov.PartialShape.dynamic(), np.float32, name="free")
    model = store.put_model(m.build(m.relu(m.named(free, "free"), "out")), "free")
    package = package_model.fn(model, samples(tmp_path, runtime, free=np.zeros((2, 3, 5), np.float32)), runtime)
    assert package.inputs[0].shape == (-1, -1)
    assert package.outputs[0].shape is None
    expected = "MLflow's model has no signature of its outputs: of result0 not even the number of axes is known"
    assert package.notes == (expected,)


def test_a_sample_too_large_for_text_is_no_example(
    store: Store, runtime: Runtime, tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaging, "MOST_EXAMPLE_NUMBERS", 511)
    model = two_inputs(store)
    package = package_model.fn(model, samples(tmp_path, runtime, **data), runtime)
    assert package.example is None
    assert package_files(model, package, runtime)["example"] is None
    assert package.notes == ("MLflow's model has no input example: a sample has 512 numbers, more than 511",)


@pytest.mark.filterwarnings("ignore::UserWarning:mlflow", "ignore:.*type hint")
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_mlflow_runs_a_model_of_several_inputs(
    store: Store, runtime: Runtime, tmp_path: Path, data: dict[str, Any]
) -> None:
    import mlflow  # noqa: PLC0415 - a second that no other test waits for
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    model = two_inputs(store)
    files = package_files(model, package_model.fn(model, samples(tmp_path, runtime, **data), runtime), runtime)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("e", artifact_location=(tmp_path / "artifacts").as_uri())
    runs = [client.create_run(experiment).info.run_id for _ in range(2)]
    rule = {"name": "sums", "alias": "champion", "reasons": []}
    told = []
    for run in runs:
        identifier = log_model(client, uri, run, files, alone=True)
        told.append(release(client, run, identifier, files["digest"], rule)["release"])
    assert told == ["sums version 1, alias champion moved here", "sums version 1, alias champion is here already"]
    loaded = mlflow.pyfunc.load_model("models:/sums@champion")
    inputs = {name: values[:1] for name, values in data.items()}
    answer = loaded.predict(inputs)
    np.testing.assert_array_equal(answer["total"], inputs["left"] + inputs["right"])
    np.testing.assert_array_equal(answer["positive"], np.maximum(inputs["left"], 0))
    with pytest.raises(mlflow.exceptions.MlflowException, match="right"):
        loaded.predict({"left": inputs["left"]})
