"""Annotations with one class or value per sample, in the formats of Accuracy Checker's converters or as a csv table."""

import csv
import gzip
import io
import math
import operator
import pickle
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from tasks.data.annotations import BACKGROUND, Annotations, read_classes, read_text, require_file
from tasks.data.image_folder import SUFFIXES
from tasks.data.readers import NumpyReader, read_array
from tasks.data.samples import LARGEST_LABEL, Array
from tasks.errors import InputError, did_you_mean

_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files without annotations: those of the data source, sorted by name.

    ``pattern`` is a glob that they match, ``images_only`` keeps what OpenCV can read. ``list_file`` names the files
    instead, one per line.
    """

    converter: Literal["files"] = "files"
    pattern: str = "*"
    images_only: bool = False
    list_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ImageNet:
    """Lines ``file label``; folders before the name of a file are dropped, as in Accuracy Checker."""

    annotation_file: Path
    converter: Literal["imagenet"] = "imagenet"
    labels_file: Path | None = None
    has_background: bool = False
    dataset_meta_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Cifar:
    """A batch of CIFAR-10 or CIFAR-100 as published for Python, which holds its images itself."""

    data_batch_file: Path
    converter: Literal["cifar"] = "cifar"
    has_background: bool = False
    num_classes: int = 10
    dataset_meta_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Mnist:
    """Gzipped labels and images in the format of MNIST, which holds its images itself."""

    labels_file: Path
    images_file: Path
    converter: Literal["mnist"] = "mnist"
    dataset_meta_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Csv:
    """A table with a header, a column ``file``, and annotations of each file in the other columns.

    These are ``label`` (a class index), ``reference`` (a ``.npy`` file, relative to the table, with the array to be
    predicted) or any columns of numbers, which together are the vector to be predicted.
    """

    annotation_file: Path
    converter: Literal["csv"] = "csv"
    dataset_meta_file: Path | None = None


def convert_files(spec: Files, source: Path) -> Annotations:
    """The files. Raises InputError if there are none, or a listed one is missing."""
    if spec.list_file is not None:
        lines = read_text(spec.list_file, "list_file").splitlines()
        names = tuple(line.strip() for line in lines if line.strip())
        if missing := [name for name in names if not (source / name).is_file()]:
            raise InputError(
                f"{spec.list_file}: {len(missing)} of {len(names)} files are missing, first {missing[0]!r}."
            )
        return Annotations(names)
    names = _matching(spec, source)
    if spec.images_only:
        names = tuple(name for name in names if cv2.haveImageReader(str(source / name)))
    if not names:
        what = "image" if spec.images_only else "file"
        raise InputError(f"{source}: no {what} fits the pattern {spec.pattern!r}.")
    return Annotations(names)


def unreadable_images(spec: Files, source: Path) -> tuple[str, ...]:
    """The files that ``images_only`` leaves out although they have the suffix of an image."""
    images = (name for name in _matching(spec, source) if Path(name).suffix.lower() in SUFFIXES)
    return tuple(name for name in images if not cv2.haveImageReader(str(source / name)))


def _matching(spec: Files, source: Path) -> tuple[str, ...]:
    try:
        found = sorted(str(file.relative_to(source)) for file in source.glob(spec.pattern))
    except (ValueError, NotImplementedError) as failure:
        raise InputError(f"pattern {spec.pattern!r}: expected a glob below data_source, like **/*.png.") from failure
    return tuple(name for name in found if (source / name).is_file() and not Path(name).name.startswith("."))


def convert_imagenet(spec: ImageNet) -> Annotations:
    """The class of each listed file. Raises InputError, with the line number, if a line is malformed."""
    names, labels = [], []
    for number, line in enumerate(read_text(spec.annotation_file, "annotation_file").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            raise InputError(f"{spec.annotation_file}:{number}: {line.strip()[:80]!r}; expected 'file label'.")
        names.append(Path(words[0]).name.rpartition("@")[2])
        labels.append(_label(words[1], f"{spec.annotation_file}:{number}") + spec.has_background)
    classes = read_classes(spec.dataset_meta_file, background=spec.has_background)
    if not classes and spec.labels_file is not None:
        lines = read_text(spec.labels_file, "labels_file").splitlines()
        classes = {
            index + spec.has_background: line.strip().partition(" ")[2] or line.strip()
            for index, line in enumerate(lines)
        }
    return _classified(tuple(names), labels, classes, background=spec.has_background)


def convert_cifar(spec: Cifar) -> Annotations:
    """The images of a batch and their classes. Only arrays, numbers and texts are unpickled.

    Raises InputError if the file is no such batch.
    """
    batch = _unpickle(spec.data_batch_file)
    key = "fine_labels" if spec.num_classes == 100 else "labels"
    if not isinstance(batch, dict) or key not in batch or not isinstance(batch.get("data"), np.ndarray):
        raise InputError(f"{spec.data_batch_file}: expected a CIFAR batch with 'data' and {key!r}.")
    data = batch["data"]
    if data.dtype.kind not in "iu" or data.size % (3 * 32 * 32):
        found = f"{data.dtype} of shape {data.shape}"
        raise InputError(f"{spec.data_batch_file}: 'data' is {found}; expected rows of 3 x 32 x 32 integers.")
    images = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.uint8)
    try:
        labels = [operator.index(label) for label in batch[key]]
    except TypeError as failure:
        raise InputError(f"{spec.data_batch_file}: {key!r}: {failure}; expected a list of integers.") from failure
    if len(labels) != len(images):
        raise InputError(f"{spec.data_batch_file}: {len(images)} images and {len(labels)} labels.")
    if wrong := [label for label in labels if not 0 <= label <= LARGEST_LABEL]:
        raise InputError(f"{spec.data_batch_file}: label {wrong[0]}; expected a class index, an integer >= 0.")
    classes = read_classes(spec.dataset_meta_file, background=spec.has_background)
    if not classes and spec.num_classes == len(_CIFAR10):
        classes = {index + spec.has_background: name for index, name in enumerate(_CIFAR10)}
    names = batch.get("filenames", list(range(len(images))))
    if not isinstance(names, list) or len(names) != len(images):
        raise InputError(f"{spec.data_batch_file}: 'filenames': expected a list of {len(images)} names, as of images.")
    labels = [label + spec.has_background for label in labels]
    return _classified(tuple(map(str, names)), labels, classes, background=spec.has_background, images=images)


def convert_mnist(spec: Mnist) -> Annotations:
    """The images and their classes. Raises InputError if a file is damaged or the two do not belong together."""
    labels = _gunzip(spec.labels_file, "labels_file", 8)
    pixels = _gunzip(spec.images_file, "images_file", 16)
    if len(pixels) != len(labels) * 28 * 28:
        raise InputError(f"{spec.images_file}: {len(pixels)} pixels; expected {len(labels)} images of 28x28.")
    classes = read_classes(spec.dataset_meta_file, background=False) or {index: str(index) for index in range(10)}
    names = tuple(f"{index}.png" for index in range(len(labels)))
    return _classified(names, [int(label) for label in labels], classes, images=pixels.reshape(-1, 28, 28))


def referenced_files(spec: Csv) -> tuple[Path, ...]:
    """The arrays that a table names. Raises InputError if the table cannot be read."""
    return tuple(spec.annotation_file.parent / row["reference"] for row in _rows(spec) if row.get("reference"))


def convert_csv(spec: Csv) -> Annotations:
    """The classes or values of a table. Raises InputError, with the line, if something is missing or no number."""
    rows = _rows(spec)
    columns = list(rows[0]) if rows else []
    if "file" not in columns or len(columns) < 2:
        raise InputError(f"{spec.annotation_file}: expected a header with 'file' and more, got {', '.join(columns)}.")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise InputError(f"{spec.annotation_file}:{number}: expected {len(columns)} columns, as in the header.")
    names = tuple(row["file"] for row in rows)
    classes = read_classes(spec.dataset_meta_file, background=False)
    if "label" in columns:
        labels = [_label(row["label"], f"{spec.annotation_file}:{number}") for number, row in enumerate(rows, start=2)]
        return _classified(names, labels, classes)
    if "reference" in columns:
        files = [spec.annotation_file.parent / row["reference"] for row in rows]
        return Annotations(names, targets=tuple(_reference(file) for file in files))
    others = [column for column in columns if column != "file"]
    targets = []
    for number, row in enumerate(rows, start=2):
        try:
            targets.append(np.array([_number(row[column]) for column in others]))
        except ValueError as failure:
            raise InputError(f"{spec.annotation_file}:{number}: {failure}; expected numbers.") from failure
    return Annotations(names, targets=tuple(targets))


def _rows(spec: Csv) -> list[dict[str, str]]:
    table = csv.DictReader(io.StringIO(read_text(spec.annotation_file, "annotation_file")))
    try:
        columns, rows = table.fieldnames or (), list(table)
    except csv.Error as failure:
        raise InputError(f"{spec.annotation_file}: no table: {failure}; is a quote left open?") from failure
    if twice := [name for place, name in enumerate(columns) if name in columns[:place]]:
        raise InputError(f"{spec.annotation_file}:1: the column {twice[0]!r} stands here a second time.")
    return rows


def _number(text: str) -> float:
    number = float(text)
    if "_" in text or not math.isfinite(number):  # only Python reads grouped digits, 1_000
        raise ValueError(f"{text!r} is no finite number")
    return number


def _classified(
    names: tuple[str, ...],
    labels: list[int],
    classes: dict[int, str],
    *,
    background: bool = False,
    images: Array | None = None,
) -> Annotations:
    if background:
        classes = {BACKGROUND: "background"} | classes
    return Annotations(
        names,
        labels=np.array(labels, np.int64),
        classes=classes,
        background=BACKGROUND if background else None,
        images=images,
    )


def _label(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= LARGEST_LABEL):
        raise InputError(f"{where}: label {text[:80]!r}; expected a class index, an integer >= 0.")
    return int(text)


def _reference(file: Path) -> Array:
    require_file(file, "reference")
    return read_array(file.read_bytes(), file, NumpyReader())


def _gunzip(path: Path, what: str, header: int) -> Array:
    require_file(path, what)
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as failure:
        raise InputError(f"{path}: {what} is no whole gzip file ({failure}).") from failure
    return np.frombuffer(data, np.uint8, offset=min(header, len(data)))


class _PlainUnpickler(pickle.Unpickler):
    """Loads only arrays, numbers and texts: any other name in a pickle could run foreign code."""

    _allowed = frozenset(
        {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
        | {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"it names {module}.{name}{did_you_mean(name, ['ndarray'])}")
        return super().find_class(module, name)


def _unpickle(path: Path) -> Any:
    require_file(path, "data_batch_file")
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="latin1").load()
    except Exception as failure:  # damaged bytes may raise anything
        raise InputError(f"{path}: expected a CIFAR batch; {failure}.") from failure
