"""Configurations that hold anything, and words that say anything: one line, in bounded time."""

import pickle
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hydra.errors import HydraException

from flows.commands import hydra_composing
from flows.commands.budget import bounded
from flows.commands.preflight import check
from flows.running import interruptions
from tasks.config.schema import QuantizeConfig
from tasks.errors import LONGEST_LINE, InputError, readable
from tests.support.mutations import require_readable

FILES: dict[str, tuple[bytes, str]] = {
    "alias that holds itself": (b"a: &x [*x]", "mine.yaml:2:4: holds itself"),
    "aliases through keys": (b"a: &x {b: {c: *x}}", "mine.yaml:2:4: holds itself"),
    "many lists": (b"a: " + b"[" * 1500 + b"]" * 1500, "goes too deep"),
    "60 lists": (b"a: " + b"[" * 60 + b"]" * 60, "goes deeper than 50 levels"),
    "null as key": (b"~: 5", "mine.yaml:2:1: expected a name as key, got '~'"),
    "number as key": (b"1.5: 5", "mine.yaml:2:1: expected a name as key, got '1.5'"),
    "set": (b"a: !!set {b}", "expected a configuration: Value 'set' is not"),
    "half a character as key": (b'"\\ud800": 5', r"\ud800: expected a key without NUL"),
    "half a character": (b'model: {path: "\\ud800"}', "model.path: expected text without NUL and half characters"),
    "NUL": (b'output_dir: "a\\0b"', r"output_dir: expected text without NUL and half characters, got 'a\x00b'"),
    "NUL in a list": (
        b'quantization: {ignored: {scope: ["a\\0b"]}}',
        "quantization.ignored.scope: expected text without",
    ),
    "NUL in the file": (b"a: \0", r"no YAML: the character 24 of it, '\x00'"),
    "bytes": (b"a: \xff", "mine.yaml: configuration is no UTF-8 text at byte"),
    "UTF-16": ("a: 1".encode("utf-16-le"), r"no YAML: the character 22 of it, '\x00'"),
    "defaults that are a number": (b"defaults: 5", "mine.yaml:2: defaults: expected a list of names and groups"),
    "defaults that hold a list": (b"defaults: [[a]]", "mine.yaml:2: defaults: expected a list of names and groups"),
    "defaults of itself": (b"defaults: [mine]", "values go too deep, or refer to themselves"),
    "number": (b"5", "mine.yaml:2: expected names and values, like a: 1"),
    "list": (b"[a]", "mine.yaml:2: expected names and values, like a: 1"),
    "hydra that is null": (b"hydra: null", "mine.yaml:2: hydra: expected settings of Hydra"),
    "mode that there is not": (
        b"hydra: {mode: 5}",
        "In 'experiment/mine': ValidationError raised while composing config: ",
    ),
    "number of 5,000 digits": (b"a: " + b"1" * 5000, "expected a configuration: Exceeds the limit"),
    "interpolation cut off": (b"a: ${", "expected a configuration: "),
    "long value": (b"quantization: {preset: " + b"v" * 10_000 + b"}", "Allowed: performance, mixed, accuracy"),
    "line break": (b'quantization: {preset: "a\\nb\\x1b[31m"}', r"unknown value 'a\nb\x1b[31m'. Allowed: "),
    "header without a package": (b"# @package", "Expected header format: KEY VALUE, got '@package'"),
}
LONG = "v" * 5000
WORDS: dict[str, tuple[str, str]] = {
    "deleted by a number": ("~dataset=-0", "deletion value must be a string"),
    "long name of a group": (f"dataset={LONG}", "dataset: unknown value 'vvv"),
    "long key": (f"{LONG}=5", "File name too long"),
    "long folder": (f"--config-dir={LONG}", "File name too long"),
    "deep list": ("quantization.ignored.scope=" + "[" * 800 + "]" * 800, "goes too deep"),
    "deep pattern": (f"quantization.ignored.scope=[{{re: '{'(' * 1500}'}}]", "no regular expression: it goes too deep"),
    "number of 5,000 digits": (f"quantization.seed={'9' * 5000}", "Exceeds the limit (4300 digits)"),
    "NUL": ("output_dir='a\0b'", "expected text that UTF-8 can spell, without NUL"),
    "many values": ("quantization.seed=range(1,1000000000)", "a sweep of several values needs --multirun"),
    "many options": ("dataset=range(1,1000000000)", "a sweep of several values needs --multirun"),
    "many trials": ("-m quantization.seed=range(1,1000000000)", "the values make 999,999,999 trials; expected"),
    "many trials of several keys": (
        "-m quantization.seed=range(0,1000) quantization.stat_subset_size=range(1,1001)",
        "--multirun: the values make 1,000,000 trials; expected at most 10,000",
    ),
    "small steps": ("-m quantization.threshold=range(0,1,1e-300)", "more than 10^12 trials; expected at most 10,000"),
    "in any order": ("-m quantization.seed=shuffle(range(0,1000000000))", "1,000,000,000 trials"),
    "no end": ("-m quantization.threshold=range(0,inf)", "expected numbers and a step other than 0"),
    "no step": ("-m quantization.seed=range(1,2,0)", "quantization.seed: expected numbers and a step other than 0"),
    "no value": ("-m quantization.seed=range(5,1)", "quantization.seed: expected at least one value, got range(5,1)"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PTQ_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    return tmp_path


def written(folder: Path, content: bytes) -> None:
    (folder / "conf" / "experiment" / "mine.yaml").write_bytes(b"# @package _global_\n" + content)


def problems(*arguments: str) -> tuple[str, ...]:
    start = time.process_time()
    found = check("quantize", QuantizeConfig, arguments).problems
    assert time.process_time() - start < 15
    require_readable(found)
    return found


@pytest.mark.parametrize(("content", "line"), FILES.values(), ids=FILES.keys())
def test_files(folder: Path, content: bytes, line: str) -> None:
    written(folder, content)
    (found,) = problems("--config-dir=conf", "experiment=mine")
    assert line in found


@pytest.mark.parametrize(("words", "line"), WORDS.values(), ids=WORDS.keys())
def test_words(words: str, line: str) -> None:
    arguments = [words] if "re: " in words else words.split()
    found = problems(*arguments)
    assert any(line in each for each in found), found


def test_files_are_checked_before_hydra_answers(folder: Path) -> None:
    written(folder, b"a: &x [*x]")
    (line,) = problems("--cfg=job", "--config-dir=conf", "experiment=mine")
    assert "mine.yaml:2:4: holds itself" in line


def test_texts_that_double_each_other_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.commands.preflight.bounded", partial(bounded, seconds=0.5))
    doubled = [f"s{number}: ${{s{number - 1}}}${{s{number - 1}}}" for number in range(1, 40)]
    written(folder, "\n".join(["s0: x", *doubled]).encode())
    (line,) = problems("--config-dir=conf", "experiment=mine")
    assert line == "configuration: takes more than 0.5 s or 1 GB to read; do values repeat each other?"


def test_trials_that_are_all_wrong_are_not_all_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_: object, **__: object) -> None:
        seen.append(1)
        raise InputError("no")

    seen: list[int] = []
    monkeypatch.setattr("flows.commands.preflight._ENOUGH", 3)
    monkeypatch.setattr("flows.commands.preflight.from_hydra", look)
    assert problems("-m", f"quantization.seed={','.join(map(str, range(30)))}") == ("no",)
    assert len(seen) == 3


@pytest.mark.parametrize("limits", [{"seconds": 0.3}, {"size": 2**26}])
def test_a_budget_ends_what_goes_on_after_errors(limits: dict[str, float]) -> None:
    held = []
    before = signal.getsignal(signal.SIGPROF)
    with pytest.raises(InputError, match="this: takes more than"), bounded("this", **limits):  # type: ignore[arg-type]
        for _ in range(10**8):
            with suppress(Exception):  # as libraries do
                held.append("x" * (1000 if "size" in limits else 0))
    assert signal.getsignal(signal.SIGPROF) == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)


@pytest.mark.parametrize("became", [AttributeError("'NoneType' object"), HydraException("x"), InputError("x")])
def test_an_interruption_that_became_another_error_is_one(monkeypatch: pytest.MonkeyPatch, became: Exception) -> None:
    """OmegaConf's clean-up fails behind KeyboardInterrupt, and its own error takes the place."""

    def interrupted(*_: object, **__: object) -> None:
        interruptions.INTERRUPTIONS.append(signal.SIGTERM)
        raise became

    monkeypatch.setattr(hydra_composing, "compose", interrupted)
    monkeypatch.setattr(interruptions, "INTERRUPTIONS", [])
    with pytest.raises(KeyboardInterrupt):
        check("quantize", QuantizeConfig, [])


def test_lines_of_an_error_stay_lines() -> None:
    problem = InputError("a: got 'x\ny'", f"b: {'v' * 10**7}; expected c", "d: \ud800\x1b[31m")
    assert problem.args[0] == r"a: got 'x\ny'"
    assert problem.args[1].startswith("b: vvv")
    assert problem.args[1].endswith("vvv; expected c")
    assert problem.args[2] == r"d: \ud800\x1b[31m"
    require_readable(problem.args)
    assert str(problem).splitlines() == list(problem.args)
    assert pickle.loads(pickle.dumps(problem)).args == problem.args
    assert readable("ü" * LONGEST_LINE) == "ü" * LONGEST_LINE
