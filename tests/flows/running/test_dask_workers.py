"""Shards on Dask workers: the same bytes, the same caching, one line for what is wrong."""

import importlib.util
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.commands.preflight import check
from flows.running.dask_workers import describe_worker, for_worker, require_same
from tasks.config.schema import QuantizeConfig
from tasks.data.arrays import Arrays
from tasks.data.digits import Digits, open_digits
from tasks.engine.caching import results_folder
from tasks.errors import InputError
from tasks.records import DatasetRef, Runtime
from tests.flows.conftest import SCRIPTS, START_SECONDS, Commands, Outcome, finish, own_environment

HAS_DASK = importlib.util.find_spec("prefect_dask") is not None
needs_dask = pytest.mark.skipif(not HAS_DASK, reason="needs the extra `dask`")

# The step that is spread over workers, in as many shards as make a difference.
MANY_SHARDS = ("runtime.shard_size=8", "quantization.activations.range_estimator.preset=quantile")
UNALIGNED = "quantization.channel_alignment=false"
COLLECTED = ("collect_statistics",)


# --- without Dask


@pytest.mark.skipif(HAS_DASK, reason="the extra `dask` is installed")
@pytest.mark.parametrize("chosen", ["runtime=dask", "runtime.address=tcp://localhost:8786"])
def test_missing_extra_is_one_line(commands: Commands, tmp_path: Path, chosen: str) -> None:
    outcome = commands.run("ptq-quantize", chosen, "output_dir=without", home=tmp_path)
    assert outcome.code == 2
    assert outcome.err.splitlines() == [
        "runtime: Dask workers need the extra `dask`; install it with: pip install 'prefect-dask>=0.3.7,<0.4'"
    ]
    assert not (commands.folder / "without").exists()


def test_an_address_has_the_form_of_one() -> None:
    assert not check("quantize", QuantizeConfig, ["runtime.address='tcp://there:8786'"]).problems
    for wrong in ("there:8786", "tcp://there", "8786"):
        (line,) = check("quantize", QuantizeConfig, [f"runtime.address='{wrong}'"]).problems
        assert line.startswith("runtime.address: string should match pattern ")
        assert line.endswith(f", got '{wrong}'")


def test_workers_get_absolute_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    shard = DatasetRef(Arrays(Path("data.npz")), (0,), 1, ("digest",), None)
    arguments = for_worker({"shard": shard, "runtime": Runtime(Path("home"), address="tcp://there:8786"), "other": 1})
    located = replace(shard, source=Arrays(tmp_path / "data.npz"))
    assert (arguments["shard"], arguments["shard"].source) == (shard, located.source)
    assert arguments["runtime"].home == tmp_path / "home"
    assert arguments["runtime"].threads is None  # all that the other machine has
    assert arguments["other"] == 1


@pytest.mark.parametrize(("workers", "asked", "given"), [(2, None, 4), (3, None, 2), (16, None, 1), (2, 7, 7)])
def test_workers_of_one_machine_share_its_threads(
    monkeypatch: pytest.MonkeyPatch, workers: int, asked: int | None, given: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    runtime = Runtime(Path("home"), threads=asked, workers=workers)
    assert for_worker({"runtime": runtime})["runtime"].threads == given


def test_workers_have_to_be_like_this_process(tmp_path: Path) -> None:
    here = describe_worker(str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"runtime\.home another folder, here it is seen"):
        require_same("tcp://there:1", here)
    with pytest.raises(InputError, match=r"worker tcp://there:1 has openvino 1\.0, here it is "):
        require_same("tcp://there:1", describe_worker() | {"openvino": "1.0"})
    with pytest.raises(InputError, match="cannot run steps: No module named 'tasks'; install this package there"):
        require_same("tcp://there:1", ModuleNotFoundError("No module named 'tasks'"))
    (tmp_path / "seen").touch()
    require_same("tcp://there:1", describe_worker(str(tmp_path / "seen")))


# --- with Dask


def manifest(commands: Commands, output: str) -> dict[str, Any]:
    content = json.loads((commands.folder / output / "manifest.json").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def stages(commands: Commands, output: str) -> dict[str, dict[str, Any]]:
    report = json.loads((commands.folder / output / "report.json").read_text(encoding="utf-8"))
    return {each["name"]: each for each in report["stages"]}


def model_bytes(commands: Commands, output: str) -> list[bytes]:
    return [(commands.folder / output / f"model.{suffix}").read_bytes() for suffix in ("xml", "bin")]


@pytest.fixture(scope="module")
def in_turn(commands: Commands) -> Outcome:
    """The run in one process that all others have to equal."""
    outcome = commands.run("ptq-quantize", *MANY_SHARDS, "output_dir=in_turn", home=Path("in_turn_home"))
    assert outcome.code == 0, outcome.err
    return outcome


def assert_equal_to_one_process(commands: Commands, output: str) -> None:
    assert manifest(commands, output)["models"] == manifest(commands, "in_turn")["models"]
    assert manifest(commands, output)["samples"] == manifest(commands, "in_turn")["samples"]
    assert model_bytes(commands, output) == model_bytes(commands, "in_turn")


@pytest.mark.slow
@needs_dask
@pytest.mark.usefixtures("in_turn")
def test_two_local_workers_make_the_same_bytes_and_cache_them(commands: Commands) -> None:
    home = Path("local home")  # relative, with a space
    first = commands.run("ptq-quantize", "runtime=dask", *MANY_SHARDS, "output_dir=local", home=home)
    assert first.code == 0, first.err
    assert first.complaints == []
    assert_equal_to_one_process(commands, "local")
    assert [stages(commands, "local")[name]["runs"] for name in COLLECTED] == [38]
    assert {each["state"] for each in stages(commands, "local").values()} == {"Completed"}

    again = commands.run("ptq-quantize", "runtime=dask", *MANY_SHARDS, "output_dir=local2", home=home)
    assert again.complaints == []
    assert {each["state"] for each in stages(commands, "local2").values()} == {"Cached"}
    # One process finds what the workers stored.
    commands.run("ptq-quantize", *MANY_SHARDS, "output_dir=local3", home=home)
    assert {each["state"] for each in stages(commands, "local3").values()} == {"Cached"}


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A part of a cluster as somebody else would start it: nothing of ours in its environment, a folder of its own."""
    folder.mkdir(exist_ok=True)
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [SCRIPTS / "dask", *arguments],
            cwd=folder,
            env=own_environment(folder),
            stdout=log,
            stderr=subprocess.STDOUT,
        )


Cluster = Callable[[int], tuple[str, list[subprocess.Popen[bytes]]]]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler and so many workers: its address and the processes of the workers."""
    running: list[subprocess.Popen[bytes]] = []

    def run(workers: int) -> tuple[str, list[subprocess.Popen[bytes]]]:
        file = tmp_path / "scheduler.json"
        folder = tmp_path / "elsewhere"
        arguments = ("--host=127.0.0.1", "--port=0", "--no-dashboard", f"--scheduler-file={file}")
        running.append(start(folder, "scheduler", *arguments))
        wait_for(lambda: file.is_file() and file.stat().st_size > 0)
        address = json.loads(file.read_text(encoding="utf-8"))["address"]
        options = ("--nthreads=1", "--no-nanny", "--no-dashboard", "--memory-limit=0")
        started = [start(folder, "worker", address, *options) for _ in range(workers)]
        running.extend(started)
        wait_for(lambda: (folder / "log.txt").read_text().count("Registered to:") == workers)
        return address, started

    yield run
    for process in reversed(running):
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
@needs_dask
@pytest.mark.usefixtures("in_turn")
def test_a_killed_worker_of_a_running_scheduler_loses_nothing(commands: Commands, cluster: Cluster) -> None:
    np.savez(commands.folder / "digits.npz", x=open_digits(Digits("training")).arrays["x"])
    data = ("dataset=arrays", "dataset.path=digits.npz", "validation=digits", "validation.split=validation")
    address, workers = cluster(2)
    home = Path("remote home")
    process = commands.start(
        "ptq-quantize", f"runtime.address={address}", *MANY_SHARDS, *data, "output_dir=remote", home=home
    )
    results = results_folder(commands.folder / home)
    wait_for(lambda: process.poll() is not None or len(list(results.glob("collect_*"))) > 10)
    assert process.poll() is None
    workers[0].kill()
    outcome = finish(process)
    assert outcome.code == 0, outcome.err
    assert outcome.complaints == []
    assert model_bytes(commands, "remote") == model_bytes(commands, "in_turn")
    assert [stages(commands, "remote")[name]["runs"] for name in COLLECTED] == [38]
    assert workers[1].poll() is None


@pytest.mark.slow
@needs_dask
def test_bad_sample_in_a_worker_is_one_line(commands: Commands, tmp_path: Path) -> None:
    images = open_digits(Digits("training")).arrays["x"][:100].copy()
    images[70, 0, 0, 0] = np.nan
    np.savez(tmp_path / "bad.npz", x=images)
    data = ("dataset=arrays", f"dataset.path='{tmp_path}/bad.npz'")
    arguments = ("runtime=dask", *MANY_SHARDS, UNALIGNED, *data, "output_dir=bad")
    outcome = commands.run("ptq-quantize", *arguments, home=tmp_path / "home")
    assert outcome.code == 2
    assert len(outcome.complaints) == 1, outcome.err
    assert "sample 70" in outcome.complaints[0]
    assert not list((commands.folder / "bad").glob("*"))


@pytest.mark.slow
@needs_dask
def test_unusable_clusters_are_one_line(commands: Commands, cluster: Cluster, tmp_path: Path) -> None:
    address, _ = cluster(0)
    cases = {
        address: f"runtime.address: the scheduler at {address} has no workers; on every machine start `dask worker",
        "tcp://127.0.0.1:1": "runtime.address: no Dask scheduler answers at 'tcp://127.0.0.1:1'",
        "tcp://nowhere.invalid:8786": "runtime.address: no Dask scheduler answers at 'tcp://nowhere.invalid:8786'",
    }
    for value, expected in cases.items():
        outcome = commands.run("ptq-quantize", f"runtime.address='{value}'", "output_dir=no", home=tmp_path / "home")
        assert outcome.code == 2, outcome.err
        assert len(outcome.complaints) == 1, outcome.err
        assert outcome.complaints[0].startswith(expected)
        assert not list((commands.folder / "no").glob("*"))


@pytest.mark.slow
@needs_dask
def test_workers_elsewhere_need_a_server(commands: Commands, tmp_path: Path) -> None:
    alone = replace(commands, environment={**commands.environment, "PREFECT_API_URL": ""})
    outcome = alone.run("ptq-quantize", "runtime.address=tcp://192.0.2.1:8786", home=tmp_path / "home")
    assert outcome.code == 2
    assert "workers of tcp://192.0.2.1:8786 need a Prefect server that they can reach" in outcome.complaints[-1]
