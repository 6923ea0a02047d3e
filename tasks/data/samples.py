"""The protocol of an opened source of samples, and the checks that sources share."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.errors import InputError

Array = NDArray[Any]
Labels = NDArray[np.int64]
LARGEST_LABEL = 2**31 - 1  # above any number of classes; keeps labels within int64


class Sample(dict[str, Array]):
    """The arrays of one sample by the names of inputs, and its name in messages."""

    def __init__(self, name: str, arrays: Mapping[str, Array]) -> None:
        super().__init__(arrays)
        self.name = name


class Samples(Protocol):
    """An opened source: a fixed sequence of samples, read one at a time."""

    @property
    def names(self) -> tuple[str, ...]:
        """One name per sample: a file, or the sample's number in its source."""
        ...

    @property
    def labels(self) -> Labels | None:
        """The class of every sample, (samples,), int64, not negative; None if the source has no classes."""
        ...

    def __len__(self) -> int:
        """Return the number of samples, at least 1."""
        ...

    def load(self, index: int, inputs: Sequence[str]) -> Sample:
        """The arrays of one sample, one per input, without the batch axis.

        They are the caller's own, C-contiguous, of native byte order and finite. A source of one array gives it to
        whichever single input is asked for.

        Args:
            index: Number of the sample.
            inputs: Names of the model's inputs.

        Raises:
            InputError: The source cannot feed these inputs, or the sample cannot be used.
        """
        ...

    def digest(self, index: int) -> str:
        """The sha256, in hex, of what :meth:`load` would read.

        It depends on content (values, dtype, shape; for an image its file and the preprocessing), not on names or
        times, so that a moved data set is recognised. The label is no part of it.

        Args:
            index: Number of the sample.
        """
        ...


def files_outside(folder: Path, names: Iterable[str]) -> list[Path]:
    """The files among ``names`` that a walk through the folder does not reach: outside of it, or behind a link.

    Args:
        folder: The folder.
        names: Files, relative to the folder or absolute.
    """
    files, root = [folder / name for name in names], folder.resolve()
    walked = {
        parent
        for parent in {file.parent for file in files}
        if parent.is_relative_to(folder) and parent.resolve() == root / parent.relative_to(folder)
    }
    return [file for file in files if file.parent not in walked]


def require_finite(array: Array, what: str) -> None:
    """Check that an array is finite.

    Args:
        array: Any shape and dtype.
        what: Begins the message.

    Raises:
        InputError: It holds NaN or infinity.
    """
    if array.dtype.kind != "f":
        return
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise InputError(f"{what}: {bad} of {array.size} values are NaN or infinite; expected finite numbers.")


def digest_arrays(arrays: Mapping[str, Array]) -> str:
    """The sha256, in hex, of the names, dtypes, shapes and bytes of arrays, whatever their order in the mapping.

    Args:
        arrays: Arrays by name, any shape and dtype.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        # The header ends in a newline and fixes the number of bytes after it: no two contents give the same stream.
        digest.update(f"{name!r} {array.dtype.str} {arrays[name].shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
