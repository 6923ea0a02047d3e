"""Files of POT and of Accuracy Checker gone wrong, and the annotations that they name."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import yaml

from flows.commands.ending import judge
from flows.commands.pot import parse
from flows.commands.pot_configurations import all_checked, translations_of
from tasks.data.annotated_files import AnnotatedFiles
from tasks.data.source import annotations_of, open_source
from tasks.errors import InputError
from tasks.pot.document import without_comments
from tests.pot.conftest import CORPUS
from tests.support.mutations import in_bounded_time, mutated_bytes, mutated_tree, require_readable

CASES = 300
FILES = sorted(file for file in CORPUS.iterdir() if file.suffix in (".json", ".yaml", ".yml"))
USERS = {file: file.with_name(f"with_{file.stem}.json") for file in FILES if file.suffix == ".yml"}
RUNS = [file for file in FILES if file not in USERS] + [file for file, user in USERS.items() if user.exists()]
ANNOTATIONS = {
    "with_coco.json": "coco/*.json",
    "with_csv.json": "arrays/table.csv",
    "with_voc.json": "voc/**/*",
    "with_imagenet.json": "labels.txt",
    "with_cifar.json": "cifar/data_batch",
    "with_mnist.json": "mnist/*.gz",
}


@pytest.fixture
def place(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all files, to change."""
    shutil.copytree(workspace, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def mutated(random: Random, content: bytes, suffix: str) -> bytes:
    """A file with changes of its text, or of its values."""
    if random.random() < 0.5:
        return mutated_bytes(random, content)
    try:
        text = content.decode()
        tree = json.loads(without_comments(text)) if suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return mutated_bytes(random, content)
    changed = mutated_tree(random, tree)
    dumped = json.dumps(changed) if suffix == ".json" else yaml.dump(changed, allow_unicode=True)
    return dumped.encode("utf-8", "surrogatepass")


def run(name: str, *flags: str) -> Iterator[str]:
    """What ``ptq-pot`` would say about the file before it infers anything."""
    arguments = parse(["-c", name, *flags])
    try:
        with in_bounded_time():
            for each in all_checked(translations_of(arguments), arguments):
                yield from each.translation.notices
                if isinstance(each.config.dataset, AnnotatedFiles):
                    samples = open_source(each.config.dataset)
                    annotations_of(samples)
                    for index in range(min(2, len(samples))):
                        samples.load(index, ["image"])
    except (InputError, OSError) as failure:
        code, line = judge(failure)
        assert code == 2, failure
        assert line is not None
        yield from line.split("\n")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(CASES))
def test_configurations(place: Path, seed: int) -> None:
    random = Random(seed)
    file = random.choice(RUNS)
    target = place / file.name
    target.write_bytes(mutated(random, target.read_bytes(), file.suffix))
    flags = random.choice(((), ("-e",), ("--lenient",)))
    require_readable(list(run(USERS.get(file, file).name, *flags)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(CASES))
def test_annotations(place: Path, seed: int) -> None:
    random = Random(seed)
    user = random.choice(list(ANNOTATIONS))
    files = sorted(file for file in place.glob(ANNOTATIONS[user]) if file.is_file() and file.suffix != ".png")
    target = random.choice([*files, place / "meta.json"])
    target.write_bytes(mutated(random, target.read_bytes(), target.suffix))
    require_readable(list(run(user)))
