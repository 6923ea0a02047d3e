"""Sweeps as a user runs them: what is computed once, what a failure and Ctrl-C leave, what MLflow and the table say."""

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import SCRIPTS, Commands, Outcome, finish

GRID = ("-m", "quantization.preset=performance,mixed,accuracy", "quantization.stat_subset_size=70,20")


def trials_of(home: Path) -> list[dict[str, Any]]:
    files = sorted(home.glob("hydra/sweeps/*/*/trials/*.json"), key=lambda file: int(file.stem))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def stages_of(outcome: Outcome, name: str) -> list[str]:
    """The states of a stage, trial by trial."""
    return [" ".join(line.split()[1:2]) for line in outcome.err.splitlines() if line.split()[:1] == [name]]


def rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(home / "mlflow.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def tags(home: Path, key: str) -> dict[str, str]:
    """The value of a tag by run."""
    return dict(rows(home, f"select run_uuid, value from tags where key = '{key}'"))


def names_and_states(home: Path) -> dict[str, tuple[str, str]]:
    return {run: (name, status) for run, name, status in rows(home, "select run_uuid, name, status from runs")}


@pytest.fixture(scope="module")
def grid(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path, Path]:
    """A grid of six trials in a fresh home: what the command said, the home, the output."""
    folder = tmp_path_factory.mktemp("grid")
    outcome = commands.run("ptq-quantize", *GRID, f"output_dir={folder}/output", home=folder / "home")
    assert outcome.code == 0, outcome.err
    return outcome, folder / "home", folder / "output"


def test_statistics_and_the_float_evaluation_are_computed_once(grid: tuple[Outcome, Path, Path]) -> None:
    outcome, home, _ = grid
    # The larger subset comes first here; the smaller one infers nothing, though its shard is a new one.
    assert stages_of(outcome, "collect_statistics") == ["completed", "completed", *["cached"] * 4]
    shards = [json.loads(file.read_text()) for file in home.glob("shards/*/*/*.json")]
    assert sorted(len(shard) for shard in shards) == [6, 20, 64]
    assert [line for line in outcome.complaints if not line.startswith("trial ")] == []
    first, *others = trials_of(home)
    assert first["executed"] == first["steps"]
    assert all(trial["executed"] < trial["steps"] - 2 for trial in others)
    # Of the evaluations of a trial, the last but one is that of the float model.
    trials = [replace(outcome, err=lines) for lines in re.split(r"^trial \d of 6: .*$", outcome.err, flags=re.M)[1:]]
    assert [stages_of(each, "evaluate_model")[-2] for each in trials] == ["completed", *["cached"] * 5]


def test_each_trial_has_an_output_of_its_own(grid: tuple[Outcome, Path, Path]) -> None:
    _, home, output = grid
    assert sorted(folder.name for folder in output.iterdir()) == list("012345")
    for number, trial in enumerate(trials_of(home)):
        manifest = json.loads((output / str(number) / "manifest.json").read_text(encoding="utf-8"))
        preset = manifest["configuration"]["quantization"]["preset"]
        assert f"quantization.preset={preset}" in trial["overrides"]
        assert not (output / str(number) / "report.html").exists()


def test_mlflow_has_one_parent_with_all_trials(grid: tuple[Outcome, Path, Path]) -> None:
    _, home, _ = grid
    parents, runs = tags(home, "mlflow.parentRunId"), names_and_states(home)
    (parent,) = set(parents.values())
    assert set(parents) | {parent} == set(runs)
    assert runs[parent] == ("digits: sweep of preset, stat_subset_size", "FINISHED")
    assert sorted(runs[child] for child in parents) == [
        (f"{number}: preset={preset}, stat_subset_size={size}", "FINISHED")
        for number, (preset, size) in enumerate(
            (preset, size) for preset in ("performance", "mixed", "accuracy") for size in (70, 20)
        )
    ]
    metrics = rows(home, f"select key, value from latest_metrics where run_uuid = '{parent}'")
    assert dict(metrics) == {"trials": 6, "failed": 0, "planned": 6}
    note = tags(home, "mlflow.note.content")[parent]
    assert "best by top-1 %, then output SQNR dB: trial " in note
    assert note.count("\n| ") == 2 + 6  # two lines of heading


def test_table_names_the_best_and_the_command_that_repeats_it(
    grid: tuple[Outcome, Path, Path], commands: Commands
) -> None:
    outcome, home, output = grid
    assert "digits: 6 of 6 trials done" in outcome.out
    trials = trials_of(home)
    best = max(trials, key=lambda trial: (trial["metrics"]["int8"]["top1"], trial["metrics"]["int8"]["sqnr_db"]))
    assert f"best by top-1 %, then output SQNR dB: trial {best['number']}" in outcome.out
    (line,) = (line for line in outcome.out.splitlines() if "ptq-quantize" in line)
    number, command, *arguments = shlex.split(line)
    assert (number, command) == (f"{best['number']}:", "ptq-quantize")
    again = commands.run(command, *arguments, home=home)
    assert again.code == 0, again.err
    # What the sweep left out for speed, and nothing else.
    executed = [line.split()[0] for line in again.err.splitlines() if "  completed" in line]
    assert executed == ["describe_model", "analyze_model", "package_model", "draw_plots"]
    model = (output / str(best["number"]) / "model.bin").read_bytes()
    assert (output / "model.bin").read_bytes() == model


def test_failing_trials_do_not_stop_the_others(commands: Commands, tmp_path: Path) -> None:
    arguments = ("-m", "model.path=nowhere.xml,'pkg://tasks.digits/digits.xml'", f"output_dir={tmp_path}/output")
    outcome = commands.run("ptq-quantize", *arguments, home=tmp_path / "home")
    assert outcome.code == 2
    assert "trial 0 failed: model.path: there is no file 'nowhere.xml'" in outcome.out
    assert "1 of 2 trials done" in outcome.out
    failed, done = trials_of(tmp_path / "home")
    assert (failed["code"], done["code"]) == (2, 0)
    assert not (tmp_path / "output" / "0").exists()
    runs, parents = names_and_states(tmp_path / "home"), tags(tmp_path / "home", "mlflow.parentRunId")
    (parent,) = set(parents.values())
    assert runs[parent][1] == "FAILED"
    assert tags(tmp_path / "home", "failed.0")[parent].startswith("model.path: there is no file 'nowhere.xml'")
    assert sorted(runs[child][1] for child in parents) == ["FAILED", "FINISHED"]


def test_a_failure_that_is_no_bad_input_has_its_own_code(commands: Commands, tmp_path: Path) -> None:
    uris = "tracking.uri='mysql+nowhere://at.all',null"
    outcome = commands.run("ptq-quantize", "-m", uris, f"output_dir={tmp_path}/output", home=tmp_path / "home")
    assert outcome.code == 1
    assert [trial["code"] for trial in trials_of(tmp_path / "home")] == [1, 0]
    assert "MLflow could not log the run" in outcome.out
    assert (tmp_path / "output" / "0" / "model.xml").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_ended_sweep_leaves_finished_trials_complete(
    commands: Commands, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    home = tmp_path / "home"
    slow = (
        "-m",
        "quantization.stat_subset_size=20,30",
        "evaluation.speed_seconds=0,20",
        f"output_dir={tmp_path}/output",
    )
    process = subprocess.Popen(
        [SCRIPTS / "ptq-quantize", *slow],
        cwd=commands.folder,
        env=commands.environment | {"PTQ_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not trials_of(home) and time.monotonic() < end:
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(0.5)
    os.kill(process.pid, number)
    outcome = finish(process)
    assert outcome.code == code
    assert "1 of 4 trials done" in outcome.out
    assert outcome.err.splitlines()[-1].startswith("interrupted; what is done is kept")
    assert [trial["failure"] for trial in trials_of(home)] == [""]
    assert [folder.name for folder in (tmp_path / "output").iterdir()] == ["0"]
    assert sorted(status for _, status in names_and_states(home).values()) == ["FINISHED", "KILLED"]


@pytest.mark.slow
def test_trials_at_once_share_one_server_and_one_parent(commands: Commands, tmp_path: Path) -> None:
    """Without a server: the temporary one is that of the sweep."""
    environment = {name: value for name, value in commands.environment.items() if name != "PREFECT_API_URL"}
    alone = Commands(environment, commands.folder, tmp_path / "home")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    trials = ("-m", "quantization.preset=performance,mixed", "quantization.stat_subset_size=20", *launcher)
    outcome = alone.run("ptq-quantize", *trials, f"output_dir={tmp_path}/output")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("starting a temporary Prefect server") == 1
    first, second = trials_of(alone.home)
    shared = ("load_model", "collect_statistics", "place_quantizers")
    for name in shared:
        assert sorted(stages_of(outcome, name))[-1] == "completed"
    assert first["executed"] + second["executed"] < first["steps"] + second["steps"] - len(shared)
    assert len(set(tags(alone.home, "mlflow.parentRunId").values())) == 1
    assert len(names_and_states(alone.home)) == 3
    flows = sqlite3.connect(alone.home / "prefect" / "prefect.db")
    assert flows.execute("select count(*) from flow_run where state_name = 'Completed'").fetchone() == (2,)
    flows.close()


def test_search_finds_a_pareto_front(commands: Commands, tmp_path: Path) -> None:
    objectives = ("~hydra.sweeper.objectives.throughput_fps", "+hydra.sweeper.objectives.cosine=maximize")
    arguments = ("experiment=search", "quantization.stat_subset_size=20", "hydra.sweeper.n_trials=5", *objectives)
    outcome = commands.run("ptq-quantize", *arguments, f"output_dir={tmp_path}/output", home=tmp_path / "home")
    assert outcome.code == 0, outcome.err
    trials = trials_of(tmp_path / "home")
    assert "Pareto front of output SQNR dB (maximize) and cosine similarity (maximize)" in outcome.out
    assert 1 < len(trials) <= 5
    assert len({tuple(trial["overrides"]) for trial in trials}) == len(trials)
    assert "evaluation.analyze=true" in trials[0]["overrides"]
    scopes = [word for trial in trials for word in trial["overrides"] if word.startswith("quantization.ignored.scope")]
    assert scopes, "the seed proposes layers to leave float"
    for line in outcome.out.splitlines():
        if "ptq-quantize" in line:
            number = int(line.split(":")[0])
            mine = trials[number]["metrics"]["int8"]
            assert not any(
                other["metrics"]["int8"]["sqnr_db"] > mine["sqnr_db"]
                and other["metrics"]["int8"]["cosine"] > mine["cosine"]
                for other in trials
            )


def test_mistakes_in_any_trial_are_found_before_the_first(commands: Commands, tmp_path: Path) -> None:
    arguments = ("-m", "quantization.preset=mixed,mixd", "experiment=[search,efficientnet]")
    outcome = commands.run("ptq-quantize", *arguments, home=tmp_path / "home")
    assert outcome.code == 2
    assert "experiment: unknown value 'efficientnet'. Did you mean 'efficientnet_lite0'?" in outcome.err
    assert not (tmp_path / "home").exists()


MINE = "defaults: [quantize, _self_]\nquantization: {stat_subset_size: 20}\nmodel: {name: mine}\n"


@pytest.mark.slow
def test_a_sweep_over_a_configuration_of_ones_own(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.yaml").write_text(MINE, encoding="utf-8")
    arguments = ("quantization.preset=performance,mixed", f"output_dir={tmp_path}/output")
    flags = ("-m", "--config-dir", f"{tmp_path}/mine", "-cn", "mine")
    outcome = commands.run("ptq-quantize", *arguments, *flags, home=tmp_path / "home")
    assert outcome.code == 0, outcome.err
    assert "mine: 2 of 2 trials done" in outcome.out
    runs = names_and_states(tmp_path / "home")
    (parent,) = set(tags(tmp_path / "home", "mlflow.parentRunId").values())
    assert runs[parent] == ("mine: sweep of preset", "FINISHED")
    (line,) = (line for line in outcome.out.splitlines() if "ptq-quantize" in line)
    again = commands.run(*shlex.split(line)[1:], home=tmp_path / "home")
    assert again.code == 0, again.err
    manifest = json.loads((tmp_path / "output" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["configuration"]["quantization"]["stat_subset_size"] == 20


@pytest.mark.parametrize("flag", ["--config-dir", "--config-path"])
def test_a_folder_of_configurations_that_is_not_there(commands: Commands, tmp_path: Path, flag: str) -> None:
    outcome = commands.run("ptq-quantize", "-m", flag, "nowhere", home=tmp_path / "home")
    assert outcome.code == 2
    assert outcome.complaints[0].startswith(f"{flag}: there is no folder '")
    assert "nowhere'" in outcome.complaints[0]


def test_mistakes_in_a_configuration_of_ones_own(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "quantize.yaml").write_text("quantization: {preset: mixd}\n", encoding="utf-8")
    texts = {"quantize": "quantization.seed: unknown key 'seed'", "other": "Cannot find primary config 'other'"}
    for name, text in texts.items():
        arguments = ("-m", "quantization.seed=1,2", f"--config-path={tmp_path}", f"--config-name={name}")
        outcome = commands.run("ptq-quantize", *arguments, home=tmp_path / "home")
        assert outcome.code == 2
        assert text in outcome.err
