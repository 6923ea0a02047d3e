"""Which trials are best, what they are called, and how they are repeated."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from flows.commands.preflight import check
from flows.sweeps import sweep as sweeps
from flows.sweeps.ranking import best_trials, describe_best, print_trials, repeat_command, short_names, trial_rows
from flows.sweeps.trials import Sweep, Trial, read_sweep, read_trials, write_sweep, write_trial
from tasks.config.schema import QuantizeConfig, from_hydra
from tasks.errors import InputError

SWEEP = Sweep(Path("sweeps/day/time"), ("quantization.preset",), 3, {}, "digits")
SEARCH = replace(SWEEP, objectives={"sqnr_db": "maximize", "latency_ms": "minimize"})


def trial(number: int, **metrics: float | None) -> Trial:
    overrides = (f"quantization.preset=p{number}", "output_dir=my folder")
    return Trial(number, overrides, "out", 1.0, {"float": {}, "int8": dict(metrics)})


def numbers(trials: list[Trial]) -> list[int]:
    return [each.number for each in trials]


# --- which are best


def test_accuracy_decides_and_sqnr_breaks_the_tie() -> None:
    trials = [trial(0, top1=90.0, sqnr_db=30.0), trial(1, top1=91.0, sqnr_db=10.0), trial(2, top1=91.0, sqnr_db=11.0)]
    assert numbers(best_trials(SWEEP, trials)) == [2]


def test_the_first_of_equals_is_best() -> None:
    assert numbers(best_trials(SWEEP, [trial(4, sqnr_db=1.0), trial(5, sqnr_db=1.0)])) == [4]


def test_less_error_is_better() -> None:
    assert numbers(best_trials(SWEEP, [trial(0, rmse=2.0), trial(1, rmse=1.0)])) == [1]


def test_a_trial_without_the_metric_is_never_best() -> None:
    assert numbers(best_trials(SWEEP, [trial(0, top1=None, sqnr_db=99.0), trial(1, top1=1.0, sqnr_db=1.0)])) == [1]


def test_nothing_is_best_where_all_failed() -> None:
    failed = replace(trial(0), failure="reason", code=2)
    assert best_trials(SWEEP, [failed]) == []
    assert describe_best(SWEEP, [failed], "ptq-quantize") == ""


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_pareto_front(values: list[tuple[int, int]]) -> None:
    trials = [trial(n, sqnr_db=float(sqnr), latency_ms=float(ms)) for n, (sqnr, ms) in enumerate(values)]
    front = set(numbers(best_trials(SEARCH, trials)))
    for number, (sqnr, ms) in enumerate(values):
        better = [(s, m) for s, m in values if s >= sqnr and m <= ms and (s, m) != (sqnr, ms)]
        assert (number in front) == (not better)


def test_a_trial_that_lacks_an_objective_is_not_on_the_front() -> None:
    assert numbers(best_trials(SEARCH, [trial(0, sqnr_db=9.0), trial(1, sqnr_db=1.0, latency_ms=1.0)])) == [1]


def test_an_objective_that_no_trial_has_is_told() -> None:
    search = replace(SEARCH, objectives={"sqnr": "maximize", "top1": "maximize"})
    told = describe_best(search, [replace(trial(0), metrics={}), trial(1, sqnr_db=9.0, top1=1.0)], "ptq-quantize")
    expected = "hydra.sweeper.objectives: unknown metric 'sqnr'. Did you mean 'sqnr_db'? Allowed: sqnr_db, top1"
    assert told == f"no trial is best: {expected}"


# --- names, commands, tables


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["quantization.preset"], ["preset"]),
        (["quantization.preset", "evaluation.subset_size"], ["preset", "subset_size"]),
        (
            ["quantization.preset", "quantization.weights.range_estimator.preset"],
            ["preset", "weights.range_estimator.preset"],
        ),
        (["dataset.path", "model.path"], ["dataset.path", "model.path"]),
        (["quantization", "hydra/launcher"], ["quantization", "launcher"]),
    ],
)
def test_short_names(keys: list[str], names: list[str]) -> None:
    assert list(short_names(keys).values()) == names


def test_the_command_survives_the_shell() -> None:
    command = repeat_command(SWEEP, trial(0), "ptq-quantize")
    assert shlex.split(command) == ["ptq-quantize", "quantization.preset=p0", "output_dir=my folder"]
    # A recipe that sweeps is told to run once.
    assert shlex.split(repeat_command(SEARCH, trial(0), "ptq-quantize"))[-1] == "hydra.mode=RUN"


@pytest.mark.parametrize("width", [60, 200])
def test_table(width: int) -> None:
    failed = replace(trial(2), metrics={}, failure="model.path: [no file]", code=2)
    trials = [trial(0, top1=90.0, sqnr_db=12.345, agreement=99.0), trial(1, top1=80.0, sqnr_db=1.0), failed]
    console = Console(width=width, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115 - of the process
    print_trials(console, SWEEP, trials, "ptq-quantize")
    console.file.close()
    text = console.export_text()
    assert "digits: 2 of 3 trials done" in text
    assert "12.3" in text
    assert "agree" in text
    assert "trial 2 failed: model.path: [no file]" in text
    assert "best by top-1 %, then output SQNR dB: trial 0" in text
    assert [row[""] for row in trial_rows(SWEEP, trials)] == ["best", "", "failed"]


# --- records


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    trials = [trial(11, sqnr_db=1.0), trial(2, sqnr_db=None)]
    for each in trials:
        write_trial(tmp_path, each)
    assert read_trials(tmp_path) == [trials[1], trials[0]]
    assert read_sweep(tmp_path) is None
    write_sweep(replace(SEARCH, folder=tmp_path))
    assert read_sweep(tmp_path) == replace(SEARCH, folder=tmp_path)


Judge = Callable[[Exception], tuple[int, str | None]]


def judge(failure: Exception) -> tuple[int, str | None]:
    return (2, str(failure)) if isinstance(failure, InputError) else (1, None)


@pytest.fixture
def config(tmp_path: Path) -> QuantizeConfig:
    with initialize_config_module("conf", version_base="1.3"):
        composed = compose("quantize", overrides=[f"runtime.home={tmp_path}/home", f"output_dir={tmp_path}/out"])
    return from_hydra(composed, QuantizeConfig, trial=True)


@pytest.mark.parametrize(
    ("failure", "code", "reason"),
    [(InputError("key: reason"), 2, "key: reason"), (ZeroDivisionError("by\nzero"), 1, "ZeroDivisionError: by; ")],
)
def test_a_failed_trial_is_recorded_and_logged(
    tmp_path: Path,
    config: QuantizeConfig,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    code: int,
    reason: str,
) -> None:
    logged: list[dict[str, object]] = []
    monkeypatch.setattr(sweeps, "log_failed_trial", lambda *_, **told: logged.append(told))

    def run(*_: object) -> object:
        raise failure

    sweep = replace(SWEEP, folder=tmp_path)
    assert sweeps.run_trial(sweep, 3, ("a=b",), config, run, judge, hands_over=False) is None
    (found,) = read_trials(tmp_path)
    assert (found.number, found.code, found.overrides) == (3, code, ("a=b",))
    assert found.failure.startswith(reason)
    assert logged[0]["failure"] == found.failure
    text = tmp_path / "trials" / "3.txt"
    assert text.exists() == (code == 1)
    assert code == 2 or "raise failure" in text.read_text(encoding="utf-8")


@pytest.mark.parametrize(("codes", "code"), [((0, 0), 0), ((0, 2), 2), ((2, 1), 1), ((1,), 1)])
def test_exit_code(tmp_path: Path, codes: tuple[int, ...], code: int) -> None:
    for number, each in enumerate(codes):
        write_trial(tmp_path, replace(trial(number), code=each))
    assert sweeps.exit_code(tmp_path, 2, 1) == code


# --- what is known before the first trial


def test_trials_of_a_sweep_have_defaults_of_their_own(config: QuantizeConfig) -> None:
    assert (config.evaluation.speed_seconds, config.evaluation.analyze, config.evaluation.page) == (0, False, False)
    assert config.runtime.keep_samples == 512 * 2**20
    alone = check("quantize", QuantizeConfig, []).config
    assert alone is not None
    assert (alone.evaluation.speed_seconds, alone.evaluation.analyze, alone.evaluation.page) == (1, True, True)
    assert alone.runtime.keep_samples == 0


def test_grid_and_search_are_known_beforehand() -> None:
    grid = check("quantize", QuantizeConfig, ["-m", "quantization.preset=mixed,accuracy", "evaluation.analyze=true"])
    assert grid.sweep is not None
    assert (grid.sweep.keys, grid.sweep.total, grid.sweep.objectives) == (("quantization.preset",), 2, {})
    assert grid.config is not None
    assert grid.config.evaluation.analyze
    search = check("quantize", QuantizeConfig, ["experiment=search", "hydra.sweeper.n_trials=7"]).sweep
    assert search is not None
    assert search.total == 7
    assert search.objectives == {"sqnr_db": "maximize", "throughput_fps": "maximize"}
    assert "quantization.ignored.scope" in search.keys
    assert check("quantize", QuantizeConfig, ["experiment=search", "hydra.mode=RUN"]).sweep is None
