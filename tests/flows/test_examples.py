"""Every command that a page or a docstring shows is one that works: read from the text, then checked or run."""

import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from flows.commands import compare, pot, schedule, ui
from flows.commands.preflight import check, settings
from tasks.config.schema import EvaluateConfig, QuantizeConfig
from tests.conftest import GUARD
from tests.flows.conftest import QUICK, SCRIPTS, Commands
from tests.pot.conftest import CORPUS, SHAPES
from tests.shapes.render import write_voc

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), ROOT / ".github" / "CONTRIBUTING.md"]
    + [page for room in ("flows", "conf", "tasks", "docker", "tests") for page in (ROOT / room).rglob("*.md")]
)
MODULES = sorted(file for room in ("tasks", "flows") for file in (ROOT / room).rglob("*.py"))
# Pictures in words, and code: tests/test_contributing.py builds that.
OTHER_BLOCK = re.compile(r"^```(?:mermaid|python)\n.*?^```", re.M | re.S)
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.M | re.S)
# In running text a command has arguments, or is a target of make; the name of one alone is a name.
INLINE = re.compile(r"`((?:\S*ptq-\w+|make|pip|docker|dask|mlflow|export) [^`]+)`")
IN_DOCSTRING = re.compile(r"^ {4}(ptq-\w+ .+)$", re.M)
# What a run prints, and the flow in words: no commands.
PRINTED = re.compile(r"digits: float and INT8|[┏┃┡│└].*|[\w, ]+(\(.*?\))? +-> .*|\w+\(.*\), .*")


def shown(page: Path) -> Iterator[str]:
    """The lines of a page that are commands."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".py":
        yield from IN_DOCSTRING.findall(text)
        return
    text = OTHER_BLOCK.sub("", text)
    for block in BLOCK.findall(text):
        yield from (line for line in block.replace("\\\n", " ").splitlines() if not PRINTED.fullmatch(line))
    yield from INLINE.findall(BLOCK.sub("", text))


def single(line: str) -> Iterator[list[str]]:
    """The words of each command of a line, without settings of the environment in front, comments and ``...``."""
    for part in line.replace("$(id -u)", "10001").split(" && "):
        words = [word.strip("[]") if word.startswith("[") else word for word in shlex.split(part, comments=True)]
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if words:
            yield [word for word in words if word != "..."]


EXAMPLES = [(page.relative_to(ROOT), line) for page in (*PAGES, *MODULES) for line in shown(page)]
VARIABLES = {
    name: value for page in PAGES for name, value in re.findall(r'^([A-Z]+)="(.*)"$', page.read_text("utf-8"), re.M)
}


def composes(name: str, config_class: type[QuantizeConfig], words: Sequence[str]) -> None:
    given = " ".join(words)
    # Where "..." stands for the rest, the kind of data does so too.
    more = ["dataset=arrays"] if "dataset.path" in given and "dataset=" not in given else []
    words = [f"model.path={word[6:]}" if word.startswith("model=registry:") else word for word in words]
    assert check(name, config_class, [*more, *words]).problems == ()


quantizes = partial(composes, "quantize", QuantizeConfig)


def parses(module: object, words: Sequence[str]) -> None:
    """Of a command with flags of its own: those, and settings like those of ``ptq-quantize``."""
    arguments = module.parse(words)  # type: ignore[attr-defined]
    settings(arguments.overrides)


def is_a_target(words: Sequence[str]) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
    assert set(words) <= set(targets)


def names_files(words: Sequence[str]) -> None:
    """Files that a command of others reads are there, and extras of ours that it installs."""
    files = [words[place + 1] for place, word in enumerate(words) if word in ("-r", "-f")]
    assert all((ROOT / file).is_file() for file in files)
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.M)
    assert {name for word in words for name in re.findall(r"^\.\[(\w+)\]$", word)} <= set(extras)


def runs_an_image(words: Sequence[str]) -> None:
    names_files(words)
    if "run" in words:
        image = next(place for place, word in enumerate(words) if word in ("ptq", "quantize"))
        quantizes(words[image + 1 :])


def is_installed(words: Sequence[str], *, program: str) -> None:
    assert (SCRIPTS / program).is_file()


def is_a_module(words: Sequence[str]) -> None:
    if words[:1] == ["-m"] and words[1].startswith("tests."):
        assert (ROOT / words[1].replace(".", "/") / "__main__.py").is_file()


def is_known(words: Sequence[str]) -> None:
    """Nothing of ours: another program's, whose use is seen at a glance."""


Rule = Callable[[Sequence[str]], None]
RULES: dict[str, Rule] = {
    "ptq-quantize": quantizes,
    "ptq-plan": quantizes,
    "ptq-evaluate": partial(composes, "evaluate", EvaluateConfig),
    "ptq-pot": partial(parses, pot),
    "ptq-compare": partial(parses, compare),
    "ptq-schedule": partial(parses, schedule),
    "ptq-ui": partial(parses, ui),
    "make": is_a_target,
    "pip": names_files,
    "docker": runs_an_image,
    "python": is_a_module,
    "python3": is_a_module,
    **{name: partial(is_installed, program=name) for name in ("ruff", "mypy", "pytest", "mlflow")},
    **dict.fromkeys(("curl", "dask", "export", "."), is_known),
}


@pytest.mark.parametrize(("page", "line"), EXAMPLES, ids=[f"{page}: {line}"[:80] for page, line in EXAMPLES])
def test_example(page: Path, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PTQ_ASSETS", str(tmp_path))
    for name, value in VARIABLES.items():
        line = line.replace(f"${name} ", f"{value} ")
    for words in single(line.replace("/shared/", f"{tmp_path}/")):
        program = words[0].rpartition("/")[2] or words[0]
        assert program in RULES, f"{page} shows a command that no rule of this test covers: {line}"
        RULES[program](words[1:])


def test_commands_are_found() -> None:
    """So that a page that changes its form does not pass unread."""
    programs = [words[0].rpartition("/")[2] for _, line in EXAMPLES for words in single(line)]
    assert len(programs) > 45
    assert {name for name in RULES if name.startswith("ptq-")} - {"ptq-ui"} <= set(programs)
    assert {page.name for page, _ in EXAMPLES} >= {"README.md", "LAYERWISE_TUNING.md", "custom.py", "scoring.py"}


def test_a_line_without_a_rule_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in ("ptq-forgotten model.path=M.xml", "rm -rf outputs"):
        with pytest.raises(AssertionError, match="no rule"):
            test_example(Path("README.md"), line, tmp_path, monkeypatch)
    for line in ("ptq-quantize quantization.prest=mixed", "make everything", "pip install -e '.[fast]'"):
        with pytest.raises(AssertionError):
            test_example(Path("README.md"), line, tmp_path, monkeypatch)


# --- those that a default run has the time for, and all of the rest that needs nothing of others


def test_the_function_of_the_docstring_is_called_with_its_arguments(commands: Commands, tmp_path: Path) -> None:
    text = (ROOT / "tasks" / "data" / "custom.py").read_text(encoding="utf-8")
    function = re.findall(r"^ {4}(def make_samples.*\n(?: {8}.*\n)+)", text, re.M)[0].replace("\n    ", "\n")
    (tmp_path / "my_data.py").write_text(f"import pathlib\nimport numpy as np\n{function}", encoding="utf-8")
    samples = np.random.default_rng(0).random((12, 1, 8, 8), np.float32)
    for number, sample in enumerate(samples):
        (tmp_path / "data").mkdir(exist_ok=True)
        np.save(tmp_path / "data" / f"{number:02}-{number % 10}.npy", sample)
    (line,) = (line for page, line in EXAMPLES if page.name == "custom.py")
    words = next(single(line.replace("=/data", "=data")))
    environment = commands.environment | {"PYTHONPATH": f"{tmp_path}:{GUARD}"}
    quick = ("evaluation.analyze=false", "evaluation.page=false", "runtime.progress=false")
    done = replace(commands, environment=environment, folder=tmp_path).run(*words, *quick)
    assert done.code == 0, done.err
    assert (tmp_path / "outputs" / "model.xml").is_file()


# What these need is not everywhere: photos, Dask; or they run until they are stopped, as other tests have them do.
NOT_RUN = re.compile(
    r"efficientnet_lite0|\$B|runtime=dask|ptq-schedule|ptq-ui|^ptq-\w+ \.\.\. (dataset=callable|evalu)|NAME@"
)
SHORTER = {
    "experiment=search": ("hydra.sweeper.n_trials=2",),
    "release.name": ("release.min_speedup=null", "release.max_drop=100"),
    "-m": ("evaluation.subset_size=20",),
}


def named_model() -> ov.Model:
    """With the names that the examples have."""
    rng = np.random.default_rng(0)
    x = found = ops.parameter([-1, 1, 8, 8], np.float32, name="x")
    for name, shape, stride in (("conv1", (8, 1, 3, 3), 2), ("conv2", (8, 8, 3, 3), 1)):
        weights = rng.standard_normal(shape).astype(np.float32)
        found = ops.convolution(found, weights, [stride, stride], [1, 1], [1, 1], [1, 1], name=name)
        found = ops.relu(found)
    found = ops.reshape(found, [0, -1], special_zero=True)
    found = ops.matmul(found, rng.standard_normal((128, 10)).astype(np.float32), False, False, name="head/fc")
    return ov.Model([found], [x], "M")


@pytest.mark.slow
def test_all_that_can_run_anywhere_runs(commands: Commands, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    ov.save_model(named_model(), tmp_path / "M.xml", compress_to_fp16=False)
    for name in ("calib", "val"):
        samples = rng.random((150, 1, 8, 8), np.float32)
        np.savez(tmp_path / f"{name}.npz", x=samples, y=np.arange(150) % 10)
    (tmp_path / "PHOTOS").mkdir()
    for number in range(10):
        cv2.imwrite(str(tmp_path / "PHOTOS" / f"{number}.png"), rng.integers(0, 256, (8, 8), np.uint8))
    shutil.copy(CORPUS / "inline.json", tmp_path / "config.json")
    shutil.copy(SHAPES, tmp_path / "model.xml")
    shutil.copy(SHAPES.with_suffix(".bin"), tmp_path / "model.bin")
    write_voc(tmp_path / "voc", range(12))
    (tmp_path / "labels.txt").write_text("".join(f"{number:06}.png {number % 3}\n" for number in range(12)))
    here = replace(commands, folder=tmp_path, home=tmp_path / "home")
    ran = 0
    for _, line in EXAMPLES:
        if NOT_RUN.search(line) or "ptq-" not in line or "docker" in line or "--help" in line:
            continue
        text = line.replace("M.xml ...", "M.xml dataset=arrays dataset.path=calib.npz").replace(
            "RUN RUN", "first first"
        )
        for command, *words in single(text):
            more = [word for part, each in SHORTER.items() if part in words or part in text for word in each]
            if not ran:
                more.append("tracking.run_name=first")
            # As a user would: what stands twice is said once.
            more = [word for word in (*more, *QUICK) if word not in words] if "-c" not in words else []
            done = here.run(command.rpartition("/")[2], *words, *(more if command != "ptq-compare" else []))
            assert done.code == 0, f"{line}\n{done.err}"
            ran += 1
    assert ran > 15
