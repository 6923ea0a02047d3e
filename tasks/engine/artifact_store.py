"""Content-addressed files: models and arrays named by the sha256 of their bytes, complete or absent."""

import errno
import hashlib
import json
import os
import re
import resource
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tasks.engine.atomic_folders import abandoned, make_folder, remove, staged
from tasks.records import ArraysRef, ModelRef

_ARRAYS = "arrays.safetensors"
# The entry of a file that lists its arrays: the format keeps them in an order of its own.
_ORDER = "order"
# Its names of element types.
_TYPES = {"BOOL": "?", "F16": "<f2", "F32": "<f4", "F64": "<f8"} | {
    f"{sign}{8 * size}": f"<{kind}{size}" for sign, kind in (("I", "i"), ("U", "u")) for size in (1, 2, 4, 8)
}
_TEMPORARY = ".incomplete-"
# Machines that share the store may not see each other's locks.
_ABANDONED_SECONDS = 3600


@dataclass(frozen=True)
class Store:
    """The artifacts below ``root``. Equal content has one digest, so two processes may store it at the same time."""

    root: Path

    def put_model(self, model: ov.Model, name: str) -> ModelRef:
        """The reference to a model, saved as IR. Weights keep their precision (nothing is compressed to f16).

        Args:
            model: The model.
            name: What people call it; no part of the digest.
        """
        with self._temporary("models") as folder:
            ov.save_model(model, folder / "model.xml", compress_to_fp16=False)
            ref = ModelRef(name, _digest(*_model_files(folder)))
            self._publish(folder, ref)
        return ref

    def model_folder(self, ref: ModelRef) -> Path:
        """The folder with ``model.xml`` and ``model.bin``.

        Args:
            ref: A model in the store.
        """
        return self._folder(ref)

    def open_model(self, ref: ModelRef) -> ov.Model:
        """A model from the store; the caller may change it.

        Args:
            ref: A model in the store.

        Raises:
            OSError: Its files are gone or damaged.
        """
        folder = self.model_folder(ref)
        try:
            return ov.Core().read_model(folder / "model.xml")
        except RuntimeError as failure:
            for file in _model_files(folder):
                file.open("rb").close()  # OSError tells why not
            if self.is_intact(ref):
                raise
            raise OSError(errno.EIO, "damaged; the next run makes it again", str(folder)) from failure

    def put_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> ArraysRef:
        """The reference to named arrays, saved as safetensors.

        Args:
            arrays: Arrays of numbers by name, any shape.

        Raises:
            ValueError: An array holds something other than numbers.
        """
        for name, array in arrays.items():
            if array.dtype.kind not in "biuf":
                raise ValueError(f"array {name!r} is of type {array.dtype}: only numbers can be stored")
        with self._temporary("arrays") as folder:
            path = folder / _ARRAYS
            whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
            save_file(whole, path, {_ORDER: json.dumps(list(arrays))})
            ref = ArraysRef(_digest(path))
            self._publish(folder, ref)
        return ref

    def open_arrays(self, ref: ArraysRef) -> dict[str, NDArray[Any]]:
        """All arrays of a file, in the order in which they were stored.

        Args:
            ref: Arrays in the store.
        """
        return dict(self.read_arrays(ref))

    def arrays_file(self, ref: ArraysRef) -> Path:
        """The ``.safetensors`` file.

        Args:
            ref: Arrays in the store.
        """
        return self._folder(ref) / _ARRAYS

    def read_arrays(self, ref: ArraysRef) -> Mapping[str, NDArray[Any]]:
        """The arrays of a file; each is read whenever it is asked for.

        Args:
            ref: Arrays in the store.
        """
        return _StoredArrays(self.arrays_file(ref))

    def is_intact(self, ref: ModelRef | ArraysRef) -> bool:
        """Whether the files can be read and still have the digest under which they were stored.

        Args:
            ref: An artifact.
        """
        folder = self._folder(ref)
        files = _model_files(folder) if isinstance(ref, ModelRef) else (folder / _ARRAYS,)
        try:
            return all(file.is_file() for file in files) and _digest(*files) == ref.digest
        except OSError:
            return False

    def discard(self, ref: ModelRef | ArraysRef) -> None:
        """Remove what is left of a damaged artifact, so that its step can make it again.

        Args:
            ref: An artifact.
        """
        remove(self._folder(ref))

    def _folder(self, ref: ModelRef | ArraysRef) -> Path:
        return self.root / ("models" if isinstance(ref, ModelRef) else "arrays") / ref.digest

    @contextmanager
    def _temporary(self, kind: str) -> Iterator[Path]:
        parent = make_folder(self.root / kind)
        for left in abandoned(parent, _TEMPORARY, _ABANDONED_SECONDS):
            remove(left)
        with _told_by_python(parent), staged(parent, _TEMPORARY) as folder:
            yield folder

    def _publish(self, folder: Path, ref: ModelRef | ArraysRef) -> None:
        final = self._folder(ref)
        try:
            folder.replace(final)
        except OSError:
            # Another process published the same content first, or what lies there is damaged.
            if not self.is_intact(ref):
                self.discard(ref)
                folder.replace(final)


@contextmanager
def _told_by_python(folder: Path) -> Iterator[None]:
    """Raise OSError where OpenVINO or safetensors fail to write with an error of their own."""
    try:
        yield
    except (RuntimeError, SafetensorError) as failure:
        number = re.search(r"os error (\d+)", str(failure))
        if not number and "iostream error" not in str(failure):
            raise
        code = int(number[1]) if number else _why_not_written(folder)
        raise OSError(code, os.strerror(code), str(folder)) from failure


def _why_not_written(folder: Path) -> int:
    """The errno: EFBIG if a limit of file sizes (ulimit -f) is below the free space of the disk, else ENOSPC."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    limited = limit != resource.RLIM_INFINITY and shutil.disk_usage(folder).free > limit
    return errno.EFBIG if limited else errno.ENOSPC


class _StoredArrays(Mapping[str, NDArray[Any]]):
    """The arrays of a file, read one by one.

    The library's own reader maps the whole file, and the mapping counts as memory of the process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            # A length in 8 bytes, so many bytes of JSON, then the arrays (the page of the format).
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        self._start = 8 + length
        self._entries = {name: header[name] for name in json.loads(header["__metadata__"][_ORDER])}

    def __getitem__(self, name: str) -> NDArray[Any]:
        entry = self._entries[name]
        end = entry["data_offsets"][1]
        array = np.empty(entry["shape"], _TYPES[entry["dtype"]])
        left = array.reshape(-1).view(np.uint8)
        # Rows of a tensor are a few thousand bytes: a file object would take longer than what it reads.
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            while left.size:
                count = os.preadv(descriptor, [left.data], self._start + end - left.size)
                if not count:
                    raise OSError(f"{self._path} ends in the midst of {name!r}")
                left = left[count:]
        finally:
            os.close(descriptor)
        return array

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def referenced(value: Any) -> Iterator[ModelRef | ArraysRef]:
    """Every reference inside a value.

    Args:
        value: Dataclasses, tuples, lists and dictionaries, nested.
    """
    if isinstance(value, ModelRef | ArraysRef):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from referenced(getattr(value, field.name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from referenced(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from referenced(item)


def file_identity(*paths: Path) -> str:
    """A text that changes when files or folders change, found without reading them: paths, sizes and times.

    Args:
        *paths: Files or folders.
    """
    hasher = hashlib.sha256()
    for path in paths:
        hasher.update(os.fsencode(path.resolve()))
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            stat = file.stat()
            hasher.update(os.fsencode(file.relative_to(path)))
            hasher.update(f"|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}|{stat.st_ino}\n".encode())
    return hasher.hexdigest()


def _model_files(folder: Path) -> tuple[Path, Path]:
    return folder / "model.xml", folder / "model.bin"


def _digest(*files: Path) -> str:
    hasher = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            hasher.update(hashlib.file_digest(stream, "sha256").digest())
    return hasher.hexdigest()
