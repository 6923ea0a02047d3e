"""Rows of samples that an earlier run collected: a shard that begins with the same samples does not infer them again.

The step of a shard caches its result as a whole. But the last shard of a subset is rarely full: it grows or shrinks
with the subset. So each shard also leaves a record, found by what was collected (``key``) and by its first sample. The
record says which samples the shard holds and where its arrays are.
"""

import json
import os
import tempfile
from collections import ChainMap
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tasks.engine.artifact_store import Store
from tasks.engine.atomic_folders import make_folder, remove
from tasks.numerics.statistics import StackedStatistics, Statistics, to_arrays
from tasks.records import ArraysRef

Arrays = dict[str, NDArray[Any]]


def complete_shard(store: Store, key: str, digests: tuple[str, ...], collect: Callable[[int], Arrays]) -> ArraysRef:
    """The stored arrays of a shard, one row a sample; the same bytes whatever was collected before.

    Args:
        store: The artifact store.
        key: Identifies what is collected.
        digests: The samples, in order.
        collect: Infers the samples from this place on, which no earlier shard has, and returns their rows.
    """
    folder = store.root / "shards" / key / digests[0]
    known, count = _longest(store, folder, digests)
    rows = known
    if count < len(digests):
        fresh = collect(count)
        rows = to_arrays(StackedStatistics([known, fresh])) if count else fresh
    ref = store.put_arrays(rows)
    _note(folder, digests, ref)
    return ref


def open_statistics(store: Store, groups: Sequence[Sequence[ArraysRef]]) -> Statistics:
    """The statistics in the shards of all groups of tensors; a tensor is read when it is asked for.

    Args:
        store: The artifact store.
        groups: For each group of tensors its shards, in order. If groups share a tensor, the last one counts.
    """
    stacked: Any = (StackedStatistics([store.read_arrays(ref) for ref in shards]) for shards in reversed(groups))
    return ChainMap(*stacked)


def _longest(store: Store, folder: Path, digests: tuple[str, ...]) -> tuple[Arrays, int]:
    """The rows of the shard that shares most leading samples, cut to these, and their number."""
    notes = sorted(_notes(folder, digests), key=lambda note: -note[0])
    for count, ref in notes:
        if count and store.is_intact(ref):
            arrays = store.open_arrays(ref)
            if all(len(rows) >= count for rows in arrays.values()):
                return {name: rows[:count] for name, rows in arrays.items()}, count
    return {}, 0


def _notes(folder: Path, digests: tuple[str, ...]) -> Iterator[tuple[int, ArraysRef]]:
    for file in folder.glob("*.json"):
        try:
            samples = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            samples = None
        if not isinstance(samples, list):
            remove(file)  # damaged: nothing is known of what was collected
            continue
        same = takewhile(lambda pair: pair[0] == pair[1], zip(samples, digests, strict=False))
        yield sum(1 for _ in same), ArraysRef(file.stem)


def _note(folder: Path, digests: tuple[str, ...], ref: ArraysRef) -> None:
    for named_by_digest in (folder.parent, folder):
        if not named_by_digest.is_dir():
            remove(named_by_digest)
    make_folder(folder)
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".incomplete", delete=False, encoding="utf-8") as file:
        json.dump(digests, file)
    os.replace(file.name, folder / f"{ref.digest}.json")  # noqa: PTH105 - whole or not there at all
