"""Annotations: the classes, boxes or values to be predicted of each sample, and the names of classes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.data.samples import Array, Labels, digest_arrays
from tasks.errors import InputError, did_you_mean

BACKGROUND = 0


@dataclass(frozen=True, eq=False)
class Boxes:
    """The objects in one image.

    Attributes:
        labels: Classes, (objects,), int64.
        corners: x_min, y_min, x_max, y_max in pixels of the stored image, (objects, 4), float64.
        ignored: Difficult objects and crowds, (objects,), bool: neither finding nor missing them counts.
    """

    labels: Labels
    corners: NDArray[np.float64]
    ignored: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Annotations:
    """The annotations of some samples, in their order; at most one of ``labels``, ``boxes`` and ``targets`` is given.

    Attributes:
        names: Files relative to the data source.
        labels: Class of each sample, (samples,), int64.
        boxes: Objects in each sample.
        targets: Array to be predicted for each sample.
        classes: Names of classes by index.
        background: The class that is no object.
        images: Images that the annotated file holds itself, (samples, height, width[, 3]), RGB, uint8.
    """

    names: tuple[str, ...]
    labels: Labels | None = None
    boxes: tuple[Boxes, ...] | None = None
    targets: tuple[Array, ...] | None = None
    classes: Mapping[int, str] = field(default_factory=dict)
    background: int | None = None
    images: Array | None = None

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: Sequence[int]) -> "Annotations":
        """The annotations of some of the samples, in the order asked for.

        Args:
            indices: Numbers of the samples.
        """
        places = list(indices)

        def some(values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
            return None if values is None else tuple(values[place] for place in places)

        return replace(
            self,
            names=some(self.names) or (),
            labels=None if self.labels is None else self.labels[places],
            boxes=some(self.boxes),
            targets=some(self.targets),
            images=None if self.images is None else self.images[places],
        )

    def digest(self) -> str | None:
        """The sha256, in hex, of what is to be predicted; None if nothing is."""
        arrays: dict[str, Array] = {}
        if self.labels is not None:
            arrays["labels"] = self.labels
        for place, boxes in enumerate(self.boxes or ()):
            arrays |= {f"{place}/{name}": getattr(boxes, name) for name in ("labels", "corners", "ignored")}
        for place, target in enumerate(self.targets or ()):
            arrays[f"{place}/target"] = target
        if not arrays:
            return None
        if self.classes:
            arrays["classes"] = np.array([f"{index} {name}" for index, name in self.classes.items()])
        return digest_arrays(arrays)


def read_classes(meta: Path | None, *, background: bool) -> dict[int, str]:
    """The names of classes by index, from the ``label_map`` or the list ``labels`` of a ``dataset_meta`` file.

    Args:
        meta: The JSON file, as Accuracy Checker has it; None gives no names.
        background: Whether a list begins at class 1.

    Raises:
        InputError: The file has neither, or cannot be read.
    """
    if meta is None:
        return {}
    content = read_json(meta, "dataset_meta")
    if isinstance(content, dict) and isinstance(content.get("label_map"), dict):
        return as_classes(content["label_map"], f"{meta}: label_map")
    if isinstance(content, dict) and isinstance(content.get("labels"), list):
        return {index + background: str(name) for index, name in enumerate(content["labels"])}
    raise InputError(f"{meta}: expected an object with 'label_map' or a list 'labels'.")


def as_classes(label_map: Mapping[Any, Any], what: str) -> dict[int, str]:
    """A label map with integer keys.

    Args:
        label_map: Names by class index, which may be text.
        what: The map's name in messages.

    Raises:
        InputError: A key is no integer.
    """
    try:
        return {int(key): str(name) for key, name in label_map.items()}
    except ValueError as failure:
        raise InputError(f"{what}: expected class indices as keys ({failure}).") from failure


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file.

    Args:
        path: The file.
        what: Its name in messages.

    Raises:
        InputError: The file cannot be read or is no JSON; the message has line and column.
    """
    text = read_text(path, what)
    try:
        return json.loads(text)
    except json.JSONDecodeError as failure:
        raise InputError(f"{path}:{failure.lineno}:{failure.colno}: no JSON: {failure.msg}.") from failure


def read_text(path: Path, what: str) -> str:
    """The text of a file.

    Args:
        path: The file.
        what: Its name in messages.

    Raises:
        InputError: The file is missing, empty or not UTF-8.
    """
    require_file(path, what)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as failure:
        raise InputError(f"{path}: {what} is not UTF-8 text at byte {failure.start}.") from failure
    except OSError as failure:
        raise InputError(f"{path}: {what} cannot be read ({failure.strerror}).") from failure
    if not text.strip():
        raise InputError(f"{path}: {what} is empty.")
    return text


def require_file(path: Path, what: str) -> None:
    """Check that a file exists.

    Args:
        path: The file.
        what: Its name in messages.

    Raises:
        InputError: It does not; the message has the nearest name.
    """
    if path.is_file():
        return
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    found = "is a folder" if path.is_dir() else "does not exist"
    nowhere = "" if path.parent.is_dir() else f" The folder {path.parent} does not exist either."
    raise InputError(f"{path}: {found}; expected a file ({what}).{did_you_mean(path.name, siblings)}{nowhere}")
