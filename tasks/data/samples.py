"""What every source of samples offers, and the checks that the sources share."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.errors import InputError

Array = NDArray[Any]
Labels = NDArray[np.int64]
LARGEST_LABEL = 2**31 - 1  # far above any number of classes; keeps labels within int64


class Sample(dict[str, Array]):
    """The arrays of one sample by the name of their input, and what to call it in messages."""

    def __init__(self, name: str, arrays: Mapping[str, Array]) -> None:
        super().__init__(arrays)
        self.name = name


class Samples(Protocol):
    """An opened source: a fixed sequence of samples, read one at a time."""

    @property
    def names(self) -> tuple[str, ...]:
        """One identifier per sample: a file name, or the sample's number in its source."""
        ...

    @property
    def labels(self) -> Labels | None:
        """Class index of every sample, shape (samples,), int64, none negative; None where the source has none."""
        ...

    def __len__(self) -> int:
        """Return the number of samples, at least 1."""
        ...

    def load(self, index: int, inputs: Sequence[str]) -> Sample:
        """Read one sample.

        ``inputs`` are the names of the model's inputs. The answer has one array per name, without the batch
        axis; a source of one array gives it to whichever single name is asked for. The arrays are the caller's
        own, C-contiguous and of native byte order, and hold no NaN or infinity.

        Raises InputError for inputs that the source cannot feed and for a sample that cannot be used.
        """
        ...

    def digest(self, index: int) -> str:
        """Return the sha256, in hex, of what :meth:`load` would read.

        It follows content (values, dtype, shape; for an image its file and the preprocessing), never names or
        modification times, so that a moved data set is recognised. The label is not part of it.
        """
        ...


def listing(names: Sequence[str], shown: int = 5) -> str:
    """Return the first names, quoted, and how many more there are."""
    text = ", ".join(repr(name) for name in names[:shown])
    return f"{text} and {len(names) - shown} more" if len(names) > shown else text or "none"


def beyond(folder: Path, names: Iterable[str]) -> list[Path]:
    """Those of the named files that a walk through the folder does not come to: elsewhere, or behind a link."""
    files, root = [folder / name for name in names], folder.resolve()
    walked = {
        parent
        for parent in {file.parent for file in files}
        if parent.is_relative_to(folder) and parent.resolve() == root / parent.relative_to(folder)
    }
    return [file for file in files if file.parent not in walked]


def require_finite(array: Array, what: str) -> None:
    """Raise InputError, beginning with ``what``, if the array holds NaN or infinity."""
    if array.dtype.kind != "f":
        return
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise InputError(f"{what}: {bad} of {array.size} values are NaN or infinite; expected finite numbers.")


def digest_arrays(arrays: Mapping[str, Array]) -> str:
    """Return the sha256, in hex, of the arrays' names, dtypes, shapes and bytes, whatever the mapping's order."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        # The header ends in a newline and fixes the number of bytes after it: no two contents give the same stream.
        digest.update(f"{name!r} {array.dtype.str} {arrays[name].shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
