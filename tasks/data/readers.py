"""From the bytes of a file to an array, as Accuracy Checker's readers did it."""

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
# What the decoders raise for damaged files.
_UNREADABLE = (
    *(OSError, ValueError, EOFError, SyntaxError, RuntimeError, MemoryError),
    *(cv2.error, Image.DecompressionBombError, zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
_FLAGS = {"color": cv2.IMREAD_COLOR, "gray": cv2.IMREAD_GRAYSCALE, "unchanged": cv2.IMREAD_UNCHANGED}


@dataclass(frozen=True, kw_only=True)
class OpenCVReader:
    """(height, width, 3) in BGR, turned as EXIF says; ``gray``: (height, width)."""

    type: Literal["opencv_imread"] = "opencv_imread"
    reading_flag: Literal["color", "gray", "unchanged"] = "color"


@dataclass(frozen=True, kw_only=True)
class PillowReader:
    """(height, width, 3) in RGB, as stored; without ``to_rgb`` whatever channels the file has."""

    type: Literal["pillow_imread"] = "pillow_imread"
    to_rgb: bool = True


@dataclass(frozen=True, kw_only=True)
class NumpyReader:
    """The array of a ``.npy`` file or the first one of a ``.npz``."""

    type: Literal["numpy_reader"] = "numpy_reader"


Reader = OpenCVReader | PillowReader | NumpyReader


def read_array(data: bytes, file: Path | str, reader: Reader) -> Array:
    """Decode the content of a file. Raises InputError, naming the file, if it is not what the reader reads."""
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
    """What a reader would read of a file with this image: (height, width, 3) in RGB or (height, width), uint8."""
    if isinstance(reader, PillowReader):
        return np.stack([image] * 3, axis=-1) if image.ndim == 2 and reader.to_rgb else image
    if isinstance(reader, OpenCVReader) and reader.reading_flag == "color":
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
    if isinstance(reader, OpenCVReader) and image.ndim == 3:
        # Decoders have a luma of their own, so it has to come from one.
        _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        return read_array(encoded.tobytes(), "image", reader)
    return image


def _numpy_array(data: bytes) -> Array | None:
    content = np.load(io.BytesIO(data), allow_pickle=False)
    array = content[content.files[0]] if isinstance(content, np.lib.npyio.NpzFile) and content.files else content
    return array if isinstance(array, np.ndarray) and array.dtype.kind in "biuf" else None
