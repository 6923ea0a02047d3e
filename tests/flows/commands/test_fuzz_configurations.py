"""Configurations and command lines gone wrong: always a configuration, or readable lines, in bounded time."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from flows.commands.preflight import Checked, check
from tasks.config.schema import EvaluateConfig, QuantizeConfig
from tests.flows.conftest import Commands
from tests.support.mutations import VALUES, in_bounded_time, mutated_bytes, mutated_tree, require_readable

CONF = Path(__file__).parents[3] / "conf"
FILES = sorted(file for file in CONF.rglob("*.yaml") if file.parent != CONF)
CASES = 300
WORDS = (
    *("quantization.preset=mixed", "quantization.stat_subset_size=10", "quantization.ignored.scope=[a,{re: b}]"),
    *("dataset=arrays", "dataset.path=x.npz", "model.path=m.xml", "output_dir=out", "~experiment", "+x=1", "-m"),
    *("quantization.seed=1,2", "quantization.stat_subset_size=range(1,10)", "quantization=cnn", "runtime.threads=2"),
    *(
        "evaluation.metrics=[{type: map}]",
        "dataset=annotated_files",
        "dataset.annotation={converter: csv}",
        "--cfg=job",
    ),
    *(
        "hydra.sweep.dir=x",
        "evaluation=detection",
        "experiment=search",
        "tracking.uri=sqlite:///x.db",
        "validation=digits",
    ),
)
ODD_VALUES = (
    *("null", "", "-0", "1e400", "nan", "'a\nb'", "'a\\0b'", "{a:1}", "[[]]", "${x}", "${", "range(1,1000000000)"),
    *(
        "range(0,1,1e-300)",
        "range(5,1)",
        "range(1,2,0)",
        "shuffle(range(1,1000000000))",
        "glob(*)",
        "choice()",
        "a,b",
        "int(x)",
    ),
    *("interval(1,2)", "extend_list(1)", "v" * 3000, "9" * 5000, "[" * 1000, "\ud800", "a\0b", "\x1b[31m"),
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PTQ_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def as_yaml(random: Random, text: bytes) -> bytes:
    """A file of ours with changes of its text, or of its values."""
    if random.random() < 0.5:
        return mutated_bytes(random, text)
    head = b"".join(line for line in text.splitlines(keepends=True) if line.startswith(b"# @"))
    tree = mutated_tree(random, yaml.safe_load(text))
    return head + str(yaml.dump(tree, allow_unicode=True)).encode("utf-8", "surrogatepass")


def mutated_file(random: Random, folder: Path) -> list[str]:
    """A user's file, and the arguments that have it read."""
    file = random.choice(FILES)
    target = folder / "conf" / file.parent.relative_to(CONF) / "mine.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(as_yaml(random, file.read_bytes()))
    if random.random() < 0.1:
        return ["--config-path=conf", f"--config-name={target.relative_to(folder / 'conf').with_suffix('')}"]
    return ["--config-dir=conf", f"{file.parent.relative_to(CONF)}=mine"]


def mutated_words(random: Random) -> list[str]:
    """Words of a command line, some of them odd."""
    words = random.sample(WORDS, random.randint(1, 4))
    place = random.randrange(len(words))
    key, _, value = words[place].partition("=")
    match random.randint(0, 3):
        case 0:
            words[place] = f"{key}={random.choice(ODD_VALUES)}"
        case 1:
            words[place] = mutated_bytes(random, words[place].encode()).decode("utf-8", "surrogateescape")
        case 2:
            words[place] = (
                random.choice(("+", "++", "~", "-", "")) + f"{key}{random.choice(('s', '.a', '@b', '.0', ''))}={value}"
            )
        case _:
            words[place] = f"{key}={random.choice(VALUES)}"
    return words


def checked(arguments: list[str], config_class: type[Any] = QuantizeConfig) -> Checked[Any] | None:
    """What the command would say before it runs; None where it is about flags alone, which end the process."""
    try:
        with in_bounded_time():
            found = check("quantize" if config_class is QuantizeConfig else "evaluate", config_class, arguments)
    except SystemExit as end:
        assert end.code == 2
        return None
    require_readable(found.problems)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(CASES))
def test_files(folder: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    random = Random(seed)
    checked(mutated_file(random, folder), random.choice((QuantizeConfig, EvaluateConfig)))
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(CASES))
def test_words(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    checked(mutated_words(Random(seed)))
    require_readable(capsys.readouterr().err.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_the_command_itself(commands: Commands, folder: Path, seed: int) -> None:
    random = Random(1000 + seed)
    words = [word for word in mutated_words(random) if "\0" not in word and not word.startswith("-")]
    arguments = mutated_file(random, folder)
    outcome = Commands(commands.environment, folder, folder / "home").run("ptq-plan", *arguments, *words)
    assert outcome.code in (0, 1, 2), outcome
    require_readable([line for line in outcome.err.splitlines() if line])
    assert "Traceback" not in outcome.out
