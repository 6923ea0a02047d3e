"""From a model file to a model that can be quantized, or to one readable reason why not."""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import openvino as ov
from openvino._offline_transformations import apply_fused_names_cleanup, apply_moc_transformations

from tasks.errors import InputError, did_you_mean, reason_of, require_memory, shortened
from tasks.graph.naming import input_name, kinds_by_name, name_nodes, name_outputs

PACKAGED = "pkg://"
SUFFIXES = (".xml", ".onnx", ".tflite", ".pb", ".pdmodel", ".json")
# What OpenVINO's converter replaces wherever it stands.
_UNFUSED = {"BatchNormInference", "Identity"}
_LOW_PRECISION = {"i8", "u8", "i4", "u4", "u1", "u2", "u3", "u6", "nf4", "f8e4m3", "f8e5m2", "f4e2m1"}


def locate(path: str, key: str = "model.path") -> Path:
    """The file a user means: a path, or ``pkg://package/file`` for one that is installed with a package.

    Raises InputError, naming the nearest file of the folder, when there is none.
    """
    found = _packaged(path) if path.startswith(PACKAGED) else Path(path).expanduser()
    if found.exists():
        return found
    siblings = [entry.name for entry in found.parent.iterdir()] if found.parent.is_dir() else []
    msg = f"{key}: there is no file '{path}'.{did_you_mean(found.name, siblings)}"
    raise InputError(msg)


def _packaged(path: str) -> Path:
    package, _, file = path.removeprefix(PACKAGED).partition("/")
    try:
        return Path(str(files(package).joinpath(file)))
    except (ImportError, TypeError, ValueError) as failure:
        msg = f"model.path: '{path}' names the package '{package}', which is not installed"
        raise InputError(msg) from failure


def model_files(path: Path) -> tuple[Path, ...]:
    """The files a model consists of: itself, those of its stem, and neighbours that it mentions by name.

    ONNX keeps weights beyond 2 GiB in files of any name beside it. Raises InputError for what cannot be read.
    """
    if path.is_dir():
        return (path,)
    try:
        neighbours = [file for file in sorted(path.parent.iterdir()) if file.is_file() and file != path]
        with path.open("rb") as file:
            text = file.read() if path.suffix == ".onnx" else b""
    except OSError as failure:
        raise InputError(f"model.path: '{failure.filename}' cannot be read: {failure.strerror}") from failure
    # Beside a model of another format, an IR of its name is what an earlier run wrote.
    foreign = () if path.suffix == ".xml" else (".xml", ".bin")
    mates = [file for file in neighbours if file.stem == path.stem and file.suffix not in foreign]
    return (path, *mates, *(file for file in neighbours if file not in mates and file.name.encode() in text))


def read_model(path: Path, weights: Path | None = None) -> ov.Model:
    """Read any format OpenVINO reads; names are made unique and stable. ``weights`` is an IR's .bin file elsewhere.

    Other formats than IR are fused like by OpenVINO's converter, which writes IR: batch normalization becomes part of a
    layer, and what stands for one activation or normalization becomes one operation instead of several that each have
    their FakeQuantize. So is an IR that was written without, as operations tell that the converter leaves nowhere.

    Raises InputError when the file is broken, its weights are missing or cut off, or the format is not known.
    """
    is_ir = path.suffix == ".xml"
    if is_ir and not weights and not path.with_suffix(".bin").is_file():
        msg = f"model.path: '{path}' has no weights: '{path.with_suffix('.bin').name}' is missing beside it"
        raise InputError(msg)
    try:
        return _named(path, weights)
    except UnicodeError as failure:
        raise InputError(f"model.path: OpenVINO cannot read '{path}': a name in it is not UTF-8") from failure


def _named(path: Path, weights: Path | None) -> ov.Model:
    is_ir = path.suffix == ".xml"
    # Names that OpenVINO counts up are other ones when it reads the file again; an IR has its own.
    known = None if is_ir else kinds_by_name(_read(path))
    model = _read(path, weights)
    lasting = {name: kind for name, kind in kinds_by_name(model).items() if known is None or name in known}
    if not is_ir or not _UNFUSED.isdisjoint(lasting.values()):
        apply_moc_transformations(model, cf=False, smart_reshape=False)
        name_nodes(model, lasting)
        apply_fused_names_cleanup(model)
    else:
        name_nodes(model)
    name_outputs(model)
    return model


def _read(path: Path, weights: Path | None = None) -> ov.Model:
    try:
        with _silenced():
            return ov.Core().read_model(path, weights) if weights else ov.Core().read_model(path)
    except RuntimeError as failure:
        hint = "" if path.is_dir() or path.suffix in SUFFIXES else f" Known suffixes: {', '.join(SUFFIXES)}."
        reason = shortened(reason_of(failure))
        if reason.startswith("Unable to read the model"):
            reason = "it is of no format that OpenVINO knows, or damaged"
        msg = f"model.path: OpenVINO cannot read '{path}': {reason}.{hint}"
        raise InputError(msg) from failure


def require_room(model: ov.Model) -> None:
    """Raise InputError for an input of which one sample alone is larger than the memory of this machine."""
    for port in model.inputs:
        shape = port.get_partial_shape()
        lengths = [max(axis.get_min_length(), 1) for axis in shape] if shape.rank.is_static else []
        size = math.prod(lengths) * port.get_element_type().size
        require_memory(f"model.path: a sample of input '{input_name(port)}' of shape {shape}", size)


def require_float(model: ov.Model, path: Path) -> None:
    """Raise InputError for a model that is quantized or has compressed integer weights already."""
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        integer_weights = (
            kind == "Convert"
            and node.input_value(0).get_node().get_type_name() == "Constant"
            and node.get_input_element_type(0).get_type_name() in _LOW_PRECISION
            and node.get_output_element_type(0).is_real()
        )
        if kind == "FakeQuantize" or integer_weights:
            what = "FakeQuantize operation" if kind == "FakeQuantize" else "integer weights in"
            msg = (
                f"model.path: '{path}' is quantized already ({what} '{node.get_friendly_name()}'); give the float model"
            )
            raise InputError(msg)


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep from the terminal what libraries write there while each looks whether a file is of its format."""
    with Path(os.devnull).open("wb") as nowhere:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
