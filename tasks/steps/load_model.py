"""Step: from a model file to a model in the store."""

from pathlib import Path

from tasks.engine.artifact_store import Store, file_identity
from tasks.engine.caching import step
from tasks.graph.reading import locate, model_files, read_model, require_float, require_room
from tasks.records import ModelRef, Runtime

# Names of files that many models share: the model is named after the folder.
_NO_NAMES = ("model", "openvino_model", "saved_model", "inference", "best", "last")


def find_model(path: str, weights: str | None = None) -> tuple[Path, str]:
    """The model file, and a text that changes with the files of the model.

    Args:
        path: What the user gave: a path, or ``pkg://package/file``.
        weights: The .bin file of an IR, if it does not lie beside it.

    Raises:
        InputError: There is no such file.
    """
    file = locate(path)
    return file, file_identity(*input_files(file, weights))


def input_files(path: Path, weights: str | None = None) -> tuple[Path, ...]:
    """The files that the model is read from.

    Args:
        path: The model file.
        weights: The .bin file of an IR, if it does not lie beside it.
    """
    return (*model_files(path), *((locate(weights, "model.weights"),) if weights else ()))


@step
def load_model(
    path: Path,
    identity: str,
    runtime: Runtime,
    *,
    quantized: bool = False,
    weights: str | None = None,
    name: str | None = None,
) -> ModelRef:
    """The model as IR in the store, its nodes with names that last.

    Args:
        path: The model file, of any format that OpenVINO reads.
        identity: Changes with the files of the model (:func:`find_model`).
        runtime: How the run works; it changes no result.
        quantized: Whether the model may be quantized already.
        weights: The .bin file of an IR, if it does not lie beside it.
        name: Name of the model; None for that of its file.

    Raises:
        InputError: The file cannot be read, no memory holds an input, or the model is quantized and must not be.
    """
    model = read_model(path, locate(weights, "model.weights") if weights else None)
    require_room(model)
    if not quantized:
        require_float(model, path)
    return Store(runtime.home).put_model(model, name or _name(path))


def _name(path: Path) -> str:
    """The name of the model: that of its file, or of its folder if many files have this name."""
    return path.resolve().parent.name if path.stem in _NO_NAMES and path.resolve().parent.name else path.stem
