"""From a run to a model in production: logged, registered once, found by its alias, served."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from tasks.data.digits import Digits, open_digits
from tasks.errors import InputError
from tasks.records import Runtime
from tasks.tracking.fetch_model import fetched
from tasks.tracking.registry import _find_here
from tests.flows.conftest import SCRIPTS, Commands, Outcome, own_environment, wait_until_up

# Of MLflow's own database and of what it imports.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore:.*type hint"),
]
RULE = ("release.name=ours", "release.min_speedup=null", "evaluation.analyze=false")


@dataclass(frozen=True)
class Released:
    """A run that registered its model, and the folder it wrote."""

    outcome: Outcome
    output: Path

    @property
    def run_id(self) -> str:
        return self.outcome.out.split("MLflow run: ")[1].split()[0]

    @property
    def release(self) -> str:
        assert self.outcome.code == 0, self.outcome.err
        return self.outcome.out.split("release: ")[1].strip().replace("\n", " ")


def release(commands: Commands, folder: str, *overrides: str, home: Path | None = None) -> Released:
    outcome = commands.run("ptq-quantize", f"output_dir={folder}", *RULE, *overrides, home=home)
    return Released(outcome, commands.folder / folder)


@pytest.fixture(scope="module")
def home(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a registry of its own; what other tests computed is there."""
    home = tmp_path_factory.mktemp("registry") / "home"
    for folder in ("models", "arrays", "results"):
        if (commands.home / folder).is_dir():
            shutil.copytree(commands.home / folder, home / folder)
    return home


@pytest.fixture(scope="module")
def first(commands: Commands, home: Path) -> Released:
    return release(commands, "released", home=home)


def client(home: Path) -> Any:
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - a second that no other test waits for

    return MlflowClient(f"sqlite:///{home}/mlflow.db")


def test_the_model_is_registered_once_whoever_repeats_the_run(commands: Commands, home: Path, first: Released) -> None:
    assert first.release == "ours version 1, alias champion moved here"
    second = release(commands, "released", home=home)
    assert second.release == "ours version 1, alias champion is here already"
    store = client(home)
    assert len(store.search_model_versions("name = 'ours'")) == 1
    outputs = [store.get_run(run.run_id).outputs.model_outputs for run in (first, second)]
    assert len(outputs[0]) == 1
    assert outputs[0][0].model_id == outputs[1][0].model_id
    manifest = json.loads((first.output / "manifest.json").read_text())
    found = store.get_model_version("ours", "1")
    assert found.tags["digest"] == manifest["models"]["int8"]
    assert store.get_run(first.run_id).data.tags["model.int8_digest"] == manifest["models"]["int8"]


def test_the_rule_is_told_wherever_people_look(commands: Commands, home: Path, first: Released) -> None:
    assert first.release
    other = release(commands, "refused", "quantization.preset=mixed", "release.max_drop=-1", home=home)
    reason = "top1 gets worse by 0, from 99.8331 to 99.8331; release.max_drop is -1"
    assert other.release == f"ours version 2, alias champion stays at version 1; {reason}"
    store = client(home)
    tags = store.get_run(other.run_id).data.tags
    assert tags["release"] == other.release
    assert (tags["release.version"], tags["release.promoted"]) == ("2", "false")
    assert store.get_registered_model("ours").aliases == {"champion": 1}
    assert store.get_model_version("ours", "2").tags["refused"] == reason
    report = json.loads((other.output / "report.json").read_text())
    assert report["promotion"] == {"name": "ours", "alias": "champion", "reasons": [reason]}
    assert f"registered as ours without the alias champion: {reason}" in report["notes"]
    assert reason in (other.output / "report.html").read_text()
    assert reason in other.outcome.out
    # The rule is eased: the version that is there already takes over.
    eased = release(commands, "refused", "quantization.preset=mixed", home=home)
    assert eased.release == "ours version 2, alias champion moved here from version 1"


@pytest.mark.slow
def test_two_runs_at_once_register_one_version(commands: Commands, tmp_path: Path) -> None:
    words = ("ptq-quantize", *RULE)
    runs = [commands.start(*words, f"output_dir=once{number}", home=tmp_path) for number in range(2)]
    for run in runs:
        _, complaints = run.communicate(timeout=120)
        assert run.returncode == 0, complaints
    assert len(client(tmp_path).search_model_versions("name = 'ours'")) == 1


# --- the model as MLflow has it


def load(home: Path) -> Any:
    import mlflow  # noqa: PLC0415

    mlflow.set_tracking_uri(f"sqlite:///{home}/mlflow.db")
    return mlflow.pyfunc.load_model("models:/ours/1")


def expected(output: Path, images: Any) -> Any:
    compiled = ov.Core().compile_model(output / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(images)[0]


def test_the_logged_model_answers_like_the_ir(home: Path, first: Released) -> None:
    assert first.release
    loaded, images = load(home), open_digits(Digits("validation")).arrays["x"][:9].astype(np.float32)
    answer = loaded.predict(images)
    assert list(answer) == ["logits"]
    np.testing.assert_array_equal(answer["logits"], expected(first.output, images))
    with pytest.raises(Exception, match="does not match expected shape"):
        loaded.predict(images[:, 0])


def test_the_logged_model_says_what_it_needs(home: Path, first: Released) -> None:
    assert first.release
    metadata = load(home).metadata
    assert [spec.shape for spec in metadata.signature.inputs] == [(-1, 1, 8, 8)]
    assert {spec.name: spec.shape for spec in metadata.signature.outputs} == {"logits": (-1, 10)}
    folder = next((home / "mlartifacts" / "models").glob("*/artifacts"))
    pinned = (folder / "requirements.txt").read_text().split()
    assert sorted(pinned) == [f"{name}=={version(name)}" for name in ("mlflow", "numpy", "openvino")]
    example = json.loads((folder / "serving_input_example.json").read_text())["inputs"]
    first_image = open_digits(Digits("validation")).arrays["x"][:1]
    np.testing.assert_array_equal(np.array(example, np.float32), first_image.astype(np.float32))


ALONE = """
import sys
import mlflow
loaded = mlflow.pyfunc.load_model(sys.argv[1])
assert not {name.split(".")[0] for name in sys.modules} & {"tasks", "flows", "hydra", "prefect"}
"""


def test_the_logged_model_stands_alone(home: Path, first: Released, tmp_path: Path) -> None:
    """It does not need this package, nor the store it was copied from."""
    assert first.release
    folder = next((home / "mlartifacts" / "models").glob("*/artifacts"))
    shutil.copytree(folder, tmp_path / "model")
    environment = own_environment(tmp_path) | {"PYTHONSAFEPATH": "1"}
    words = [sys.executable, "-c", ALONE, str(tmp_path / "model")]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(folder: Path, health: str, *words: str, **environment: str) -> Iterator[None]:
    """A server of MLflow's, and what it starts in turn, until it is not needed any more."""
    path = {"PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [SCRIPTS / "mlflow", *words],
            cwd=folder,
            env=own_environment(folder) | path | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_up(health, process, folder / "log.txt")
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def invoke(port: int, inputs: Any) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps({"inputs": inputs}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_mlflow_serves_the_numbers_of_the_ir(home: Path, first: Released, tmp_path: Path) -> None:
    assert first.release
    port = free_port()
    words = ("models", "serve", "-m", "models:/ours/1", "--env-manager", "local", "--port", str(port))
    uri = f"sqlite:///{home}/mlflow.db"
    images = open_digits(Digits("validation")).arrays["x"][:5].astype(np.float32)
    with serving(tmp_path, f"http://127.0.0.1:{port}/ping", *words, MLFLOW_TRACKING_URI=uri):
        answer = invoke(port, images.tolist())["predictions"]["logits"]
        np.testing.assert_array_equal(np.array(answer, np.float32), expected(first.output, images))
        with pytest.raises(urllib.error.HTTPError) as refused:
            invoke(port, [[1.0, 2.0]])
        assert refused.value.code == 400
        refused.value.close()


# --- ptq-evaluate model=registry:...


def evaluate(commands: Commands, home: Path, *words: str) -> Outcome:
    return commands.run("ptq-evaluate", *words, "output_dir=from_registry", home=home)


def test_evaluate_takes_what_is_registered(commands: Commands, home: Path, first: Released) -> None:
    assert first.release
    outcome = evaluate(commands, home, "model=registry:ours/1", "reference=registry:ours@champion")
    assert outcome.code == 0, outcome.err
    assert "ours/1 on 599 samples" in outcome.out
    found = json.loads((commands.folder / "from_registry" / "evaluation.json").read_text())["metrics"]
    reported = json.loads((first.output / "report.json").read_text())["metrics"]["int8"]
    assert {name: found["model"][name] for name in ("top1", "top5")} == {
        name: reported[name] for name in ("top1", "top5")
    }
    assert found["model"]["agreement"] >= 98


def test_a_name_that_is_not_registered_is_bad_input(commands: Commands, home: Path, first: Released) -> None:
    assert first.release
    outcome = evaluate(commands, home, "model=registry:our@champion")
    assert outcome.code == 2
    assert outcome.complaints == ["registry:our@champion: no such model. Did you mean 'ours'? Registered: ours"]


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        ("ours@champoin", "'ours' has no alias 'champoin'. Did you mean 'champion'? It has: champion"),
        ("ours/77", "'ours' has no version '77'. It has: "),
        ("ours", "expected registry:NAME@ALIAS or registry:NAME/VERSION"),
        ("@champion", "expected registry:NAME@ALIAS or registry:NAME/VERSION"),
    ],
)
def test_names_that_are_not_registered(
    home: Path, first: Released, monkeypatch: pytest.MonkeyPatch, reference: str, complaint: str
) -> None:
    assert first.release
    monkeypatch.chdir(home)  # it changes there, for good
    question = {"reference": reference, "uri": None, "home": str(home), "known": (), "folder": "nowhere"}
    with pytest.raises(InputError, match=re.escape(complaint)):
        _find_here(question)


def test_a_model_comes_from_the_store_or_from_the_registry(home: Path, first: Released, tmp_path: Path) -> None:
    assert first.release
    copy = tmp_path / "home"
    shutil.copytree(home, copy)
    digest = json.loads((first.output / "manifest.json").read_text())["models"]["int8"]
    runtime, kept = Runtime(copy), copy / "models" / digest
    with fetched("registry:ours/1", None, runtime) as file:
        assert (file.path.parent, file.name) == (kept, "ours/1")
    (kept / "model.bin").write_bytes(b"damaged")
    with fetched("registry:ours/1", None, runtime) as file:
        assert file.path.parent != kept
        assert file.path.read_bytes() == (first.output / "model.xml").read_bytes()
        assert file.path.with_suffix(".bin").read_bytes() == (first.output / "model.bin").read_bytes()
    assert not file.path.exists()


def test_a_home_without_a_registry_stays_without(tmp_path: Path) -> None:
    complaint = f"registry:ours@champion: no model is registered in '{tmp_path.resolve()}'"
    with (
        pytest.raises(InputError, match=re.escape(complaint)),
        fetched("registry:ours@champion", None, Runtime(tmp_path)),
    ):
        pytest.fail("there is nothing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_with_a_tracking_server(commands: Commands, tmp_path: Path) -> None:
    """Another machine has neither the store nor the files of the registry: both come through the server."""
    folder, port = tmp_path / "server", free_port()
    folder.mkdir()
    words = ("server", "--workers=1", f"--port={port}", "--backend-store-uri=sqlite:///t.db")
    address = f"http://127.0.0.1:{port}"
    with serving(folder, f"{address}/health", *words, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"):
        for expected_end in ("moved here", "is here already"):
            released = release(commands, "through", f"tracking.uri={address}", home=tmp_path / "one")
            assert released.release.endswith(f"ours version 1, alias champion {expected_end}")
        question = (f"tracking.uri={address}", "model=registry:ours@champion")
        outcome = evaluate(commands, tmp_path / "another", *question)
        assert outcome.code == 0, outcome.err
        compared = commands.run("ptq-compare", released.run_id, released.run_id[:8], f"tracking.uri={address}")
        assert compared.code == 0, compared.err
    started = time.monotonic()
    outcome = evaluate(commands, tmp_path / "another", *question)
    assert outcome.code == 1
    assert re.search("registry:ours@champion: MLflow does not answer: .*Connection refused", outcome.complaints[0])
    assert time.monotonic() - started < 60
