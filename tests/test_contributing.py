"""The worked examples of CONTRIBUTING.md are built as it says, and run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILE = re.compile(r"^(?:[^\n]* )?`([\w/]+\.py)`[^`\n]*:\n\n```python\n(.*?)```", re.M | re.S)
LINE = re.compile(r"^In `([\w/]+\.py)`, with its import, below `([^`\n]+)`:\n\n```python\n(.*?)```", re.M | re.S)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the product with the files and lines of the page."""
    folder = tmp_path_factory.mktemp("clone")
    for room in ("flows", "tasks", "conf"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    files = FILE.findall(PAGE)
    for name, code in files:
        (folder / name).write_text(code, encoding="utf-8")
    made = {Path(name).stem: ".".join(Path(name).with_suffix("").parts) for name, _ in files}
    for name, anchor, line in LINE.findall(PAGE):
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count(f"{anchor}\n") == 1, f"{name} has no line '{anchor}'"
        [used] = [stem for stem in made if stem in line]
        first = re.search(r"^from ", text, re.M)
        assert first
        text = text.replace(f"{anchor}\n", f"{anchor}\n{line}")
        added = f"from {made[used]} import {used}\n"
        (folder / name).write_text(text[: first.start()] + added + text[first.start() :], encoding="utf-8")
    return folder


def run(clone: Path, code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stdout.strip()


def test_the_page_has_what_it_says() -> None:
    assert len(FILE.findall(PAGE)) == 4
    assert len(LINE.findall(PAGE)) == 2


def test_an_estimator_is_a_file_and_a_line(clone: Path) -> None:
    code = (
        "import numpy as np\n"
        "from tasks.config.options import QuantizationOptions\n"
        "from tasks.numerics.aggregators import Aggregator, aggregate\n"
        "from pydantic import TypeAdapter\n"
        "estimator = {'activations': {'range_estimator': {'max': {'aggregator': 'trimmed_mean'}}}}\n"
        "options = TypeAdapter(QuantizationOptions).validate_python(estimator)\n"
        "chosen = options.activations.range_estimator.max.aggregator\n"
        "print(aggregate(np.float32([[0], [1], [3], [100]]), chosen).tolist())\n"
    )
    assert run(clone, code) == "[2.0]"


def test_a_step_is_a_file_and_a_line(clone: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "import flows.quantize\n"
        "from tasks.engine.caching import code_digest\n"
        "from tasks.records import Runtime\n"
        "from tasks.steps.count_operations import count_operations\n"
        "from tasks.steps.load_model import find_model, load_model\n"
        "runtime = Runtime(Path('home'))\n"
        "path, identity = find_model('pkg://tasks.digits/digits.xml')\n"
        "model = load_model.fn(path, identity, runtime)\n"
        "assert flows.quantize.count_operations is count_operations\n"
        "assert len(code_digest('tasks.steps.count_operations')) == 64\n"
        "print(count_operations.fn(model, runtime)['Convolution'])\n"
    )
    assert int(run(clone, code)) > 0


def test_a_metric_and_a_source_need_no_change(clone: Path) -> None:
    code = (
        "import numpy as np\n"
        "from tasks.data.annotations import Annotations\n"
        "from tasks.data.custom import Custom, open_custom\n"
        "from tasks.metrics.scoring import CallMetric, Scoring, score\n"
        "samples = open_custom(Custom(path='my_data.make_samples', arguments={'count': 3}))\n"
        "assert samples.labels.tolist() == [0, 1, 2]\n"
        "assert samples.load(0, ('x',))['x'].shape == (1, 8, 8)\n"
        "scoring = Scoring(metrics=(CallMetric(path='my_metrics.within_one'),))\n"
        "rows = [{'y': np.eye(10, dtype=np.float32)[[each]]} for each in (0, 2, 9)]\n"
        "found = score(scoring, rows, samples.annotations, [None] * 3)\n"
        "print({name: round(value, 2) for name, value in found.items()})\n"
    )
    assert "0.67" in run(clone, code)
