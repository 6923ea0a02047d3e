"""Rows that an earlier run collected: used where they are sound, collected again where they or their notes are not."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.engine.artifact_store import Store
from tasks.engine.partial_statistics import Arrays, complete_shard
from tests.support.privileges import like_anybody

DIGESTS = tuple("abcdef")
ROWS = np.arange(12, dtype=np.float32).reshape(6, 2)


class Collecting:
    """Collects the rows of the samples, and remembers from which on it was asked for."""

    def __init__(self) -> None:
        self.starts: list[int] = []

    def __call__(self, start: int) -> Arrays:
        self.starts.append(start)
        return {"relu:0::maximum": ROWS[start:]}


def collected(store: Store) -> list[int]:
    """What was collected anew for the shard; its rows are the right ones, whatever was known."""
    collecting = Collecting()
    ref = complete_shard(store, "step", DIGESTS, collecting)
    np.testing.assert_array_equal(store.open_arrays(ref)["relu:0::maximum"], ROWS)
    return collecting.starts


def note(store: Store) -> Path:
    (file,) = (store.root / "shards").glob("*/*/*.json")
    return file


def test_what_an_earlier_shard_has_is_not_collected_again(store: Store) -> None:
    complete_shard(store, "step", DIGESTS[:4], lambda start: {"relu:0::maximum": ROWS[start:4]})
    assert collected(store) == [4]
    assert collected(store) == []


def as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def as_link(file: Path, target: str) -> None:
    file.unlink()
    file.symlink_to(target)


def away(folder: Path) -> Path:
    folder.rename(folder.with_name("moved"))
    return folder


def as_loop(path: Path) -> None:
    path.symlink_to(path.name)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "null": lambda file: file.write_text("null"),
    "a number": lambda file: file.write_text("7"),
    "an object": lambda file: file.write_text('{"a": 1}'),
    "a text": lambda file: file.write_text('"abcdef"'),
    "empty": lambda file: file.write_text(""),
    "cut off": lambda file: file.write_text(file.read_text()[:-1]),
    "no Unicode": lambda file: file.write_bytes(b"\xff\xfe\x00"),
    "nested": lambda file: file.write_text("[" * 100_000 + "]" * 100_000),
    "other samples": lambda file: file.write_text('["x"]'),
    "lists of lists": lambda file: file.write_text('[["a"], null, {}]'),
    "a folder": as_folder,
    "a loop": lambda file: as_link(file, file.name),
    "a link to nowhere": lambda file: as_link(file, "nowhere/at/all"),
    "forbidden": lambda file: file.chmod(0),
    "a file for its folder": lambda file: away(file.parent).write_text("x"),
    "a loop for its folder": lambda file: as_loop(away(file.parent)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_note_costs_one_collection_and_heals(store: Store, damage: Callable[[Path], object]) -> None:
    assert collected(store) == [0]
    damage(note(store))
    with like_anybody():
        assert collected(store) == [0]
        assert collected(store) == []


def test_a_note_of_more_samples_than_its_arrays_hold_is_not_believed(store: Store) -> None:
    complete_shard(store, "step", DIGESTS[:2], lambda _: {"relu:0::maximum": ROWS[:2]})
    note(store).write_text(json.dumps(DIGESTS))
    assert collected(store) == [0]
