"""Samples from NumPy files: one array per model input, samples along axis 0."""

import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tasks.data.samples import Array, Labels, Sample, digest_arrays, require_finite
from tasks.errors import InputError, did_you_mean, listing, require_memory, shortened


@dataclass(frozen=True)
class Arrays:
    """A ``.npz`` archive or a ``.npy`` file.

    Attributes:
        path: The file. A ``.npy`` file counts as an archive with the single array ``x`` and is memory-mapped; archives
            are read once, when they are opened.
        samples: The array for a model with one input. None takes ``x``, else the array with the input's name, else the
            only one. A model with several inputs reads one array per input name.
        labels: The array of class indices, if there is one of that name; None says that there is none.
    """

    path: Path
    samples: str | None = None
    labels: str | None = "y"
    kind: Literal["arrays"] = "arrays"


@dataclass(frozen=True, eq=False)
class ArraySamples:
    """Arrays in memory or memory-mapped.

    Attributes:
        origin: Names the arrays in messages.
        arrays: Arrays by name, without the labels.
        names: The number of each sample.
        labels: Class of each sample, (samples,), int64.
    """

    origin: str
    arrays: Mapping[str, Array]
    names: tuple[str, ...]
    labels: Labels | None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.names)

    def load(self, index: int, inputs: Sequence[str]) -> Sample:
        """Sample ``index``: for each input the row of its array, with the array's dtype and ``shape[1:]``.

        Args:
            index: Number of the sample.
            inputs: Names of the model's inputs.

        Raises:
            InputError: An input has no array, or the sample holds NaN or infinity.
        """
        sample = Sample(f"{self.origin}: sample {self.names[index]}", {})
        for name in inputs:
            key = self._array_for(name, alone=len(inputs) == 1)
            sample[name] = _row(self.arrays[key], index)
            require_finite(sample[name], f"{self.origin}: array {key!r}, sample {self.names[index]}")
        return sample

    def digest(self, index: int) -> str:
        """The sha256, in hex, of the sample's rows in all arrays.

        Args:
            index: Number of the sample.
        """
        return digest_arrays({name: _row(array, index) for name, array in self.arrays.items()})

    def _array_for(self, name: str, alone: bool) -> str:
        if alone:
            if "x" in self.arrays:
                return "x"
            if len(self.arrays) == 1:
                return next(iter(self.arrays))
        if name in self.arrays:
            return name
        expected = f"an array 'x' or {name!r}" if alone else f"one array per model input, here {name!r}"
        raise InputError(
            f"{self.origin}: expected {expected}; there is {listing(sorted(self.arrays))}."
            + did_you_mean(name, self.arrays)
        )


def open_arrays(spec: Arrays) -> ArraySamples:
    """The samples in a NumPy file.

    Args:
        spec: The file and the names of arrays.

    Raises:
        InputError: The file is missing, of another format or damaged, has no samples, arrays of something other than
            numbers or of different lengths, or labels that are no class indices.
    """
    origin = str(spec.path)
    arrays = _read(spec.path)
    labels = None
    if spec.labels in arrays:
        labels = arrays.pop(spec.labels)
    elif spec.labels not in (None, "y"):
        raise _no_such_array(origin, "labels", str(spec.labels), arrays)
    if spec.samples is not None:
        if spec.samples not in arrays:
            raise _no_such_array(origin, "samples", spec.samples, arrays)
        arrays = {spec.samples: arrays[spec.samples]}
    count = _count(origin, arrays)
    return ArraySamples(
        origin=origin,
        arrays=arrays,
        names=tuple(str(index) for index in range(count)),
        labels=None if labels is None else check_labels(f"{origin}: array {spec.labels!r}", labels, count),
    )


def check_labels(what: str, labels: Array, count: int) -> Labels:
    """The class indices as int64.

    Args:
        what: Begins the message.
        labels: Class indices, any shape and dtype.
        count: How many there have to be.

    Raises:
        InputError: They are not ``count`` integers >= 0.
    """
    if labels.dtype.kind not in "iu":
        raise InputError(f"{what} holds labels of type {labels.dtype}; expected integers.")
    if labels.shape != (count,):
        raise InputError(f"{what} holds labels of shape {labels.shape}; expected ({count},), one per sample.")
    largest = np.iinfo(np.int64).max
    bad = np.flatnonzero((labels < 0) | (labels > largest))
    if bad.size:
        raise InputError(f"{what}: label {labels[bad[0]]} of sample {bad[0]}; expected a class index, 0 or more.")
    return labels.astype(np.int64)


def _read(path: Path) -> dict[str, Array]:
    if path.suffix not in (".npz", ".npy"):
        raise InputError(f"{path}: suffix {path.suffix!r}; expected '.npz' or '.npy'.{_near_file(path)}")
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path}: {found}; expected a {path.suffix} file.{_near_file(path)}")
    try:
        # numpy warns of headers that Python 2 wrote, and of sizes that overflow before it refuses them.
        with warnings.catch_warnings(action="ignore"):
            return _read_archive(path) if path.suffix == ".npz" else {"x": np.lib.format.open_memmap(path, mode="r")}
    except InputError:
        raise
    except Exception as error:  # numpy parses a header as Python and passes on whatever that raises
        if "bject" in str(error):  # numpy: "Object arrays cannot be loaded ...", "... Python objects in dtype."
            message = "holds Python objects; expected numbers (unpickling objects could run foreign code)."
        else:
            message = f"is not a readable {path.suffix} file ({shortened(str(error)) or type(error).__name__})."
        raise InputError(f"{path}: {message}") from error


def _read_archive(path: Path) -> dict[str, Array]:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("not a zip archive, or cut off")
    with np.load(path, allow_pickle=False) as archive:
        unpacked = sum(entry.file_size for entry in archive.zip.infolist())
        require_memory(f"{path}: the arrays, which are unpacked at once (a .npy file is not),", unpacked)
        arrays = {name: archive[name] for name in archive.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"its entry {shortened(name)!r} is not an array")
    return arrays


def _near_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f" The folder {path.parent} does not exist either."
    return did_you_mean(path.name, (file.name for file in path.parent.iterdir()))


def _no_such_array(origin: str, option: str, name: str, arrays: Mapping[str, Array]) -> InputError:
    hint = did_you_mean(name, arrays)
    return InputError(f"{origin}: {option} is {name!r}; expected one of the arrays {listing(sorted(arrays))}.{hint}")


def _count(origin: str, arrays: Mapping[str, Array]) -> int:
    if not arrays:
        raise InputError(f"{origin}: holds no array of samples; expected an array 'x' or one per model input.")
    for name, array in arrays.items():
        called = f"{origin}: array {shortened(name)!r}"
        if array.dtype.kind not in "biuf":
            raise InputError(f"{called} is of type {shortened(str(array.dtype))}; expected real numbers.")
        if not array.shape:
            raise InputError(f"{called} is a single number; expected samples on axis 0.")
        if 0 in array.shape:
            raise InputError(f"{called} of shape {array.shape} is empty; expected at least one sample on axis 0.")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        pairs = shortened(", ".join(f"{name!r} {length}" for name, length in sorted(lengths.items())))
        raise InputError(
            f"{origin}: arrays of different lengths ({pairs}); expected the same number of samples in each."
        )
    return next(iter(lengths.values()))


def _row(array: Array, index: int) -> Array:
    # A copy: rows of a memory-mapped file are read-only and may be of foreign byte order.
    return np.array(array[index], dtype=array.dtype.newbyteorder("="), order="C")
