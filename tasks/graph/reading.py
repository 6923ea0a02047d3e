"""From a model file to a model that can be quantized, or to an error of one line."""

import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import openvino as ov
from openvino._offline_transformations import apply_fused_names_cleanup, apply_moc_transformations

from tasks.errors import InputError, did_you_mean, reason_of, require_memory, shortened
from tasks.graph.naming import input_name, kinds_by_name, name_nodes, name_outputs

PACKAGED = "pkg://"
SUFFIXES = (".xml", ".onnx", ".tflite", ".pb", ".pdmodel", ".json")
# Operations that OpenVINO's converter always replaces.
_UNFUSED = {"BatchNormInference", "Identity"}
# What C++ says of text that is no number: the name of its function alone.
_CONVERSIONS = {"stoi", "stol", "stoll", "stoul", "stoull", "stof", "stod"}
_NUMBERS = {"id", "offset", "size", "from-layer", "from-port", "to-layer", "to-port"}
_LOW_PRECISION = {"i8", "u8", "i4", "u4", "u1", "u2", "u3", "u6", "nf4", "f8e4m3", "f8e5m2", "f4e2m1"}


def locate(path: str, key: str = "model.path") -> Path:
    """The file that a user means: a path, or ``pkg://package/file`` for a file of an installed package.

    Args:
        path: What the user gave.
        key: Configuration key, for the message.

    Raises:
        InputError: There is no such file, or no such package; the message names the nearest file of the folder.
    """
    found = _packaged(path) if path.startswith(PACKAGED) else Path(path).expanduser()
    if found.exists():
        return found
    siblings = [entry.name for entry in found.parent.iterdir()] if found.parent.is_dir() else []
    msg = f"{key}: there is no file '{path}'.{did_you_mean(found.name, siblings)}"
    raise InputError(msg)


def _packaged(path: str) -> Path:
    """The path of a file of an installed package."""
    package, _, file = path.removeprefix(PACKAGED).partition("/")
    try:
        return Path(str(files(package).joinpath(file)))
    except (ImportError, TypeError, ValueError) as failure:
        msg = f"model.path: '{path}' names the package '{package}', which is not installed"
        raise InputError(msg) from failure


def model_files(path: Path) -> tuple[Path, ...]:
    """The files that make up a model: itself, those of its stem, and neighbours that it mentions by name.

    An ONNX model keeps weights beyond 2 GiB in files of any name beside it.

    Args:
        path: The model file, or the folder of a TensorFlow model.

    Raises:
        InputError: A file cannot be read.
    """
    if path.is_dir():
        return (path,)
    try:
        neighbours = [file for file in sorted(path.parent.iterdir()) if file.is_file() and file != path]
        with path.open("rb") as file:
            text = file.read() if path.suffix == ".onnx" else b""
    except OSError as failure:
        raise InputError(f"model.path: '{failure.filename}' cannot be read: {failure.strerror}") from failure
    # An IR beside a model of another format and of its name is the output of an earlier run.
    foreign = () if path.suffix == ".xml" else (".xml", ".bin")
    mates = [file for file in neighbours if file.stem == path.stem and file.suffix not in foreign]
    return (path, *mates, *(file for file in neighbours if file not in mates and file.name.encode() in text))


def read_model(path: Path, weights: Path | None = None) -> ov.Model:
    """The model in a file of any format that OpenVINO reads; its names are unique and last (see :func:`name_nodes`).

    Formats other than IR are fused as OpenVINO's converter does: batch normalization becomes part of a layer, and an
    activation or normalization written as several operations becomes one, with one FakeQuantize instead of several. An
    IR that was written without these fusions is fused too; it is known by operations that the converter always
    replaces.

    Args:
        path: The model file, or the folder of a TensorFlow model.
        weights: The .bin file of an IR, if it does not lie beside it.

    Raises:
        InputError: The file is damaged, its weights are missing or cut off, or its format is not known.

    Example:
        >>> import tempfile
        >>> from openvino import opset13 as ops
        >>> data = ops.parameter([1, 4], name="data")
        >>> model = ov.Model([ops.relu(data, name="activation")], [data])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ov.save_model(model, f"{folder}/tiny.xml")
        ...     found = read_model(Path(folder, "tiny.xml"))
        >>> [node.get_friendly_name() for node in found.get_ordered_ops()][:2]
        ['data', 'activation']
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
    # Names from a counter change when OpenVINO reads the file again; those of an IR are in the file.
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
        msg = f"model.path: OpenVINO cannot read '{path}': {why_unreadable(failure, path)}.{hint}"
        raise InputError(msg) from failure


def why_unreadable(failure: RuntimeError, path: Path) -> str:
    """What of a model's file OpenVINO could not read, in a few words.

    Args:
        failure: What OpenVINO raised.
        path: The file.
    """
    reason = shortened(reason_of(failure))
    if reason.startswith("Unable to read the model"):
        return "it is of no format that OpenVINO knows, or damaged"
    if reason in _CONVERSIONS:
        return _broken_number(path) or f"one of its numbers is none, or beyond 64 bits (C++: {reason})"
    return reason


def _broken_number(path: Path) -> str:
    """Where an IR has something else than a whole number; empty where that cannot be found."""
    try:
        root = ElementTree.fromstring(path.read_bytes())  # noqa: S314 - expat refuses entities that grow
    except (ElementTree.ParseError, ValueError, LookupError, OSError):
        return ""
    layer = ""
    for node in root.iter():
        layer = f" of the layer '{node.get('name')}'" if node.tag == "layer" else layer
        found = {name: value for name, value in node.items() if name in _NUMBERS}
        found |= {"dim": node.text or ""} if node.tag == "dim" else {}
        for name, value in found.items():
            number = re.match(r"\s*[-+]?\d{1,20}(?!\d)", value)  # as much as C++ asks for
            if not number or abs(int(number[0])) >= 2**63:
                inside = layer if node.tag != "edge" else ""
                return f"{name} of <{node.tag}>{inside} is {shortened(value, 40)!r}; expected a whole number"
    return ""


def require_room(model: ov.Model) -> None:
    """Raise InputError for an input of which one sample alone is larger than the memory of this machine.

    Args:
        model: The model as it was read.
    """
    for port in model.inputs:
        shape = port.get_partial_shape()
        lengths = [max(axis.get_min_length(), 1) for axis in shape] if shape.rank.is_static else []
        size = math.prod(lengths) * port.get_element_type().size
        require_memory(f"model.path: a sample of input '{input_name(port)}' of shape {shape}", size)


def require_float(model: ov.Model, path: Path) -> None:
    """Check that a model is float.

    Args:
        model: The model.
        path: The file that it was read from, for the message.

    Raises:
        InputError: The model has a FakeQuantize, or integer weights behind a Convert.
    """
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
    """Keep the terminal free of what libraries write while they try whether a file has their format."""
    with Path(os.devnull).open("wb") as nowhere:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
