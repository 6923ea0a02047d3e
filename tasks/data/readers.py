"""Readers: from the bytes of a file to an array, as in Accuracy Checker."""

import io
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.errors import InputError

Array = NDArray[Any]
# Raised by the decoders for damaged files.
_UNREADABLE = (
    *(OSError, ValueError, EOFError, SyntaxError, RuntimeError, MemoryError),
    *(cv2.error, Image.DecompressionBombError, zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
_FLAGS = {"color": cv2.IMREAD_COLOR, "gray": cv2.IMREAD_GRAYSCALE, "unchanged": cv2.IMREAD_UNCHANGED}


@dataclass(frozen=True, kw_only=True)
class OpenCVReader:
    """Reads (height, width, 3) in BGR, oriented as EXIF says; with ``gray`` (height, width)."""

    type: Literal["opencv_imread"] = "opencv_imread"
    reading_flag: Literal["color", "gray", "unchanged"] = "color"


@dataclass(frozen=True, kw_only=True)
class PillowReader:
    """Reads (height, width, 3) in RGB, as stored; without ``to_rgb`` the channels that the file has."""

    type: Literal["pillow_imread"] = "pillow_imread"
    to_rgb: bool = True


@dataclass(frozen=True, kw_only=True)
class NumpyReader:
    """Reads the array of a ``.npy`` file or the first one of a ``.npz`` file."""

    type: Literal["numpy_reader"] = "numpy_reader"


Reader = OpenCVReader | PillowReader | NumpyReader


def read_array(data: bytes, file: Path | str, reader: Reader) -> Array:
    """The array in a file: an image of uint8, or any numbers for NumpyReader.

    Args:
        data: The content of the file.
        file: Its name in messages.
        reader: How to decode it.

    Raises:
        InputError: The reader cannot decode it; the message names the file.
    """
    try:
        match reader:
            case OpenCVReader(reading_flag=flag):
                array = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS[flag]) if data else None
            case PillowReader(to_rgb=to_rgb):
                image = Image.open(io.BytesIO(data))
                array = np.array(image.convert("RGB") if to_rgb else image)
            case NumpyReader():
                array = _numpy_array(data)
    except _UNREADABLE:
        array = None
    if array is None:
        expected = "a .npy or .npz file of numbers" if isinstance(reader, NumpyReader) else "an image"
        raise InputError(
            f"{file}: expected {expected} ({reader.type}); it is damaged, cut off or of an unknown format."
        )
    return array


def like_read(image: Array, reader: Reader) -> Array:
    """The array that a reader would give for a file with this image.

    Args:
        image: (height, width, 3) in RGB or (height, width), uint8.
        reader: The reader to imitate.
    """
    if isinstance(reader, PillowReader):
        return np.stack([image] * 3, axis=-1) if image.ndim == 2 and reader.to_rgb else image
    if isinstance(reader, OpenCVReader) and reader.reading_flag == "color":
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
    if isinstance(reader, OpenCVReader) and image.ndim == 3:
        # Every decoder computes luma its own way, so encode and decode the image.
        _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        return read_array(encoded.tobytes(), "image", reader)
    return image


def _numpy_array(data: bytes) -> Array | None:
    content = np.load(io.BytesIO(data), allow_pickle=False)
    array = content[content.files[0]] if isinstance(content, np.lib.npyio.NpzFile) and content.files else content
    return array if isinstance(array, np.ndarray) and array.dtype.kind in "biuf" else None
