"""Samples from the files that an annotation lists: read, preprocessed and chosen as Accuracy Checker does it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from tasks.data.annotations import Annotations
from tasks.data.boxed import CocoDetection, VocDetection, convert_coco, convert_voc
from tasks.data.callables import callable_file
from tasks.data.classified import (
    Cifar,
    Csv,
    Files,
    ImageNet,
    Mnist,
    convert_cifar,
    convert_csv,
    convert_files,
    convert_imagenet,
    convert_mnist,
    referenced_files,
)
from tasks.data.operations import CallOnImage, Operation, Sizes, apply_operations, check_operations
from tasks.data.readers import OpenCVReader, Reader, like_read, read_array
from tasks.data.samples import Labels, Sample, files_outside, require_finite
from tasks.errors import InputError, listing, unknown_message

Listing = ImageNet | Cifar | Mnist | Csv | VocDetection | CocoDetection
Converter = Files | Listing
DEFAULT_SEED = 666  # as in Accuracy Checker


@dataclass(frozen=True, kw_only=True)
class AnnotatedFiles:
    """A data set of Accuracy Checker.

    Attributes:
        annotation: Lists the files and what is known of them; None takes all files of the folder, without annotations.
        data_source: The folder with the files.
        reader: Decodes the files; None stands for OpenCV.
        preprocessing: Operations on the decoded arrays, in order.
        layout: Order of the axes of an image, without a batch axis.
        image_info: Name of an input that takes height, width and channels of the image that another one takes.
        subsample_size: How many samples to take, or their share, like ``10%``; None takes all.
        subsample_seed: Seed for drawing them.
        shuffle: Whether they are drawn; if not, they are the first.
    """

    annotation: Converter | None = None
    data_source: Path | None = None
    reader: Reader | None = None
    preprocessing: tuple[Operation, ...] = ()
    layout: Literal["nchw", "nhwc"] = "nchw"
    image_info: str | None = None
    subsample_size: int | str | None = None
    subsample_seed: int = DEFAULT_SEED
    shuffle: bool = True
    kind: Literal["annotated_files"] = "annotated_files"


@dataclass(frozen=True, eq=False)
class AnnotatedSamples:
    """Files that are read when they are asked for.

    Attributes:
        spec: The data set.
        annotations: What is known of the chosen samples.
        sizes: Sizes of the image of each sample that was loaded, by its index.
    """

    spec: AnnotatedFiles
    annotations: Annotations
    sizes: dict[int, Sizes] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The files, relative to the data source."""
        return self.annotations.names

    @property
    def labels(self) -> Labels | None:
        """The class of every sample, (samples,), int64; None if the annotation has no classes."""
        return self.annotations.labels

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.annotations)

    def load(self, index: int, inputs: Sequence[str]) -> Sample:
        """Sample ``index`` for the only input of a model, and that of ``image_info``; float64 becomes float32.

        Args:
            index: Number of the sample.
            inputs: Names of the model's inputs, exactly one beside ``image_info``.

        Raises:
            InputError: The model has other inputs, the file cannot be read, or an operation fails.
        """
        info = self.spec.image_info
        if info is not None and info not in inputs:
            raise InputError(f"image_info: {unknown_message('input', info, inputs)}")
        fed = [name for name in inputs if name != info]
        if len(fed) != 1:
            raise InputError(
                f"{self.spec.data_source}: annotated files feed models with one input, and one for image_info;"
                f" this one has {len(inputs)}: {listing(inputs)}."
            )
        reader = _reader(self.spec)
        if self.annotations.images is not None:
            image = like_read(self.annotations.images[index], reader)
        else:
            image = read_array(self._bytes(index), self._file(index), reader)
        try:
            array, self.sizes[index] = apply_operations(image, self.spec.preprocessing)
        except InputError as error:
            raise InputError(f"{self.names[index]}: {error}") from error
        if array.ndim == 2 and reader.type != "numpy_reader":
            array = array[:, :, None]
        if info is not None and array.ndim != 3:
            raise InputError(f"{self.names[index]}: image_info needs an image of three axes, got {list(array.shape)}.")
        sizes = {} if info is None else {info: np.array(array.shape, np.int64)}
        if array.ndim == 3 and self.spec.layout == "nchw":
            array = array.transpose(2, 0, 1)
        require_finite(array, self.names[index])
        values = np.array(array, np.float32 if array.dtype == np.float64 else array.dtype, order="C")
        return Sample(str(self._file(index)), {fed[0]: values, **sizes})

    def digest(self, index: int) -> str:
        """The sha256, in hex, of the file's bytes and of all options that make an array of it.

        Args:
            index: Number of the sample.
        """
        operations = [asdict(operation) for operation in self.spec.preprocessing]
        options = [operations, asdict(_reader(self.spec)), self.spec.layout]
        options += [self.spec.image_info] if self.spec.image_info else []
        digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode() + b"\n")
        for operation in self.spec.preprocessing:
            if isinstance(operation, CallOnImage) and (code := callable_file(operation.path)):
                digest.update(hashlib.sha256(code.read_bytes()).digest())
        image = None if self.annotations.images is None else self.annotations.images[index]
        digest.update(self._bytes(index) if image is None else image.tobytes())
        return digest.hexdigest()

    def _file(self, index: int) -> Path:
        return (self.spec.data_source or Path()) / self.names[index]

    def _bytes(self, index: int) -> bytes:
        try:
            return self._file(index).read_bytes()
        except OSError as error:
            raise InputError(f"{self._file(index)}: cannot be read ({error.strerror}).") from error


def open_annotated_files(spec: AnnotatedFiles) -> AnnotatedSamples:
    """The samples of a data set: the annotation is read now, the files themselves later.

    Args:
        spec: The data set.

    Raises:
        InputError: An option is out of range, the annotation cannot be used, or files are missing.
    """
    check_operations(spec.preprocessing)
    annotations = _convert(spec)
    if not len(annotations):
        raise InputError(f"annotation ({_annotation(spec).converter}): lists no file.")
    chosen = annotations.take(_subsample(spec, len(annotations)))
    if chosen.images is None:
        folder = spec.data_source or Path()
        if missing := [name for name in chosen.names if not (folder / name).is_file()]:
            raise InputError(
                f"annotation ({_annotation(spec).converter}): {len(missing)} of {len(chosen)} files are not in"
                f" data_source {folder}: {listing(missing, shown=3)}."
            )
    return AnnotatedSamples(spec, chosen)


def annotated_paths(spec: AnnotatedFiles) -> tuple[Path, ...]:
    """The files and folders that the data set reads.

    Args:
        spec: The data set.
    """
    annotation = _annotation(spec)
    paths = [value for value in vars(annotation).values() if isinstance(value, Path)]
    paths += (
        referenced_files(annotation) if isinstance(annotation, Csv) and annotation.annotation_file.is_file() else ()
    )
    code = [callable_file(each.path) for each in spec.preprocessing if isinstance(each, CallOnImage)]
    return tuple(path for path in (*paths, *code, *_elsewhere(spec), spec.data_source) if path is not None)


def _elsewhere(spec: AnnotatedFiles) -> list[Path]:
    """The listed files that do not lie in the folder itself."""
    try:
        annotations = _convert(spec)
    except (InputError, OSError):  # reported when it is opened
        return []
    return [] if annotations.images is not None else files_outside(spec.data_source or Path(), annotations.names)


def _annotation(spec: AnnotatedFiles) -> Converter:
    return spec.annotation or Files()


def _reader(spec: AnnotatedFiles) -> Reader:
    return spec.reader or OpenCVReader()


def _require_source(spec: AnnotatedFiles) -> None:
    annotation, folder = _annotation(spec), spec.data_source
    if isinstance(annotation, Cifar | Mnist):
        return  # they hold their images themselves
    if folder is None:
        raise InputError(f"data_source: {annotation.converter} needs the folder with the files.")
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder}: data_source {found}; expected a folder.")


def _stamp(annotation: Listing) -> tuple[tuple[str, int, int], ...]:
    """Path, time of change and size of each file of an annotation: they tell whether it changed."""
    paths = [value for value in vars(annotation).values() if isinstance(value, Path)]
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path]) if file.is_file()]
    return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)


# Every shard of samples opens its source anew.
@lru_cache(maxsize=4)
def _converted(annotation: Listing, stamp: tuple[tuple[str, int, int], ...]) -> Annotations:
    del stamp  # a part of the cache's key, no more
    match annotation:
        case ImageNet():
            return convert_imagenet(annotation)
        case Cifar():
            return convert_cifar(annotation)
        case Mnist():
            return convert_mnist(annotation)
        case Csv():
            return convert_csv(annotation)
        case VocDetection():
            return convert_voc(annotation)
        case CocoDetection():
            return convert_coco(annotation)


def _convert(spec: AnnotatedFiles) -> Annotations:
    _require_source(spec)
    annotation = _annotation(spec)
    if isinstance(annotation, Files):
        return convert_files(annotation, spec.data_source or Path())
    return _converted(annotation, _stamp(annotation))


def _subsample(spec: AnnotatedFiles, count: int) -> list[int]:
    """The indices that Accuracy Checker draws, by NumPy's old generator."""
    asked = spec.subsample_size
    if asked is None:
        return list(range(count))
    if not 0 <= spec.subsample_seed < 2**32:
        raise InputError(f"subsample_seed {spec.subsample_seed}: expected an integer from 0 to {2**32 - 1}.")
    try:
        share = float(asked[:-1]) if isinstance(asked, str) and asked.endswith("%") else None
        size = int(asked) if share is None else int(share * count / 100) or int(share > 0)
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise InputError(
            f"subsample_size {asked!r}: expected a number of samples of at least 1, or a share like '10%'."
        )
    if size > count:
        return list(range(count))
    if not spec.shuffle:
        return list(range(size))
    return [int(index) for index in np.random.RandomState(spec.subsample_seed).choice(count, size, replace=False)]
