"""Samples from image files in a folder, with class indices from a label file."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np

from tasks.data.preprocessing import Preprocessing, check_preprocessing, decode, preprocess
from tasks.data.samples import LARGEST_LABEL, Labels, Sample, files_outside
from tasks.errors import InputError, did_you_mean, listing

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class ImageFolder(Preprocessing):
    """Images in a folder and how to preprocess them.

    Attributes:
        path: The folder.
        labels: A text file with a line ``name index`` per image, the name relative to the folder: these are the
            samples, in this order. None takes all images of the folder itself, sorted by name, without labels.
    """

    path: Path
    labels: Path | None = None
    kind: Literal["image_folder"] = "image_folder"


@dataclass(frozen=True, eq=False)
class ImageSamples:
    """Image files that are read when they are asked for."""

    spec: ImageFolder
    names: tuple[str, ...]
    labels: Labels | None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    def load(self, index: int, inputs: Sequence[str]) -> Sample:
        """Image ``index`` for the only input of a model: float32, (channels, height, width) or as ``layout`` says.

        Args:
            index: Number of the image.
            inputs: Names of the model's inputs, exactly one.

        Raises:
            InputError: The model has several inputs, the file is no image, or the image is smaller than ``crop``.
        """
        if len(inputs) != 1:
            raise InputError(
                f"{self.spec.path}: a folder of images feeds models with one input;"
                f" this one has {len(inputs)}: {listing(inputs)}."
            )
        file = self.spec.path / self.names[index]
        image = decode(_read(file))
        if image is None:
            raise InputError(f"{file}: expected an image; it is damaged, cut off or of an unknown format.")
        try:
            return Sample(str(file), {inputs[0]: preprocess(image, self.spec)})
        except InputError as error:
            raise InputError(f"{file}: {error}") from error

    def digest(self, index: int) -> str:
        """The sha256, in hex, of the file's bytes and the preprocessing options.

        Args:
            index: Number of the image.
        """
        options = {field.name: getattr(self.spec, field.name) for field in fields(Preprocessing)}
        digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode() + b"\n")
        digest.update(_read(self.spec.path / self.names[index]))
        return digest.hexdigest()


def open_image_folder(spec: ImageFolder) -> ImageSamples:
    """The images of a folder: names and labels are read now, the images themselves later.

    Args:
        spec: The folder, its labels and the preprocessing.

    Raises:
        InputError: Options contradict each other, the folder is missing or empty, or the label file is malformed or
            names images that are not there.
    """
    try:
        check_preprocessing(spec)
    except InputError as error:
        raise InputError(f"{spec.path}: {error}") from error
    if not spec.path.is_dir():
        found = "is a file" if spec.path.exists() else "does not exist"
        raise InputError(f"{spec.path}: {found}; expected a folder of images.")
    if spec.labels is None:
        return ImageSamples(spec, _images(spec.path), labels=None)
    labelled = read_labels(spec.labels)
    _check_present(spec.path, spec.labels, tuple(labelled))
    return ImageSamples(spec, tuple(labelled), np.array(list(labelled.values()), np.int64))


def image_paths(spec: ImageFolder) -> tuple[Path, ...]:
    """The files and folders that the source reads.

    Args:
        spec: The folder and its labels.
    """
    if spec.labels is None:
        return (spec.path,)
    try:
        return (spec.path, spec.labels, *files_outside(spec.path, read_labels(spec.labels)))
    except InputError:  # reported when it is opened
        return (spec.path, spec.labels)


def read_labels(path: Path) -> dict[str, int]:
    """The class index of each name, from lines ``name index``, in their order.

    Blank lines are skipped; names may contain spaces.

    Args:
        path: The label file.

    Raises:
        InputError: A line is malformed, its index is no integer >= 0, or its name occurred before; the message has file
            and line.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path}: {found}; expected a label file with lines 'name index'.")
    try:
        lines = _read(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text at byte {error.start}; expected lines 'name index'.") from error
    labels: dict[str, int] = {}
    seen: set[Path] = set()
    for number, line in enumerate(lines, start=1):
        words = line.strip().rsplit(maxsplit=1)
        if not words:
            continue
        where = f"{path}:{number}"
        if len(words) != 2:
            raise InputError(f"{where}: {line.strip()[:80]!r}; expected 'name index', separated by a space.")
        name, index = words
        if not (index.isascii() and index.isdigit() and len(index) <= 10 and int(index) <= LARGEST_LABEL):
            raise InputError(f"{where}: label {index[:80]!r} of {name!r}; expected a class index, an integer >= 0.")
        if Path(name) in seen:
            raise InputError(f"{where}: {name!r} a second time; expected one line per image.")
        seen.add(Path(name))
        labels[name] = int(index)
    if not labels:
        raise InputError(f"{path}: no line in it; expected lines 'name index'.")
    return labels


def _read(file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}).") from error
    if not data:
        raise InputError(f"{file}: the file is empty.")
    return data


def _images(folder: Path) -> tuple[str, ...]:
    files = sorted(file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    images = tuple(name for name in files if Path(name).suffix.lower() in SUFFIXES)
    if not images:
        raise InputError(
            f"{folder}: no image in it (files: {listing(files, shown=3)}); expected files {', '.join(SUFFIXES)}."
        )
    return images


def _check_present(folder: Path, label_file: Path, names: tuple[str, ...]) -> None:
    missing = tuple(name for name in names if not (folder / name).is_file())
    if not missing:
        return
    entries = sorted(folder.iterdir())
    inside = [entry.name for entry in entries if (entry / missing[0]).is_file()]
    hint = f" There is {inside[0]}/{missing[0]}." if inside else did_you_mean(missing[0], (e.name for e in entries))
    raise InputError(
        f"{label_file}: {len(missing)} of {len(names)} images are not in {folder}: {listing(missing, shown=3)}.{hint}"
    )
