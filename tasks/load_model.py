"""Step: a model file becomes a model of the store."""

from pathlib import Path

from tasks.caching import step
from tasks.graph.reading import locate, model_files, read_model, require_float, require_room
from tasks.records import ModelRef, Runtime
from tasks.store import Store, file_identity

# Files of this name are told apart by the folders they lie in.
_NO_NAMES = ("model", "openvino_model", "saved_model", "inference", "best", "last")


def find_model(path: str, weights: str | None = None) -> tuple[Path, str]:
    """The file that ``model.path`` names and what tells whether it changed; InputError when there is none."""
    file = locate(path)
    return file, file_identity(*input_files(file, weights))


def input_files(path: Path, weights: str | None = None) -> tuple[Path, ...]:
    """The files that the model is read from."""
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
    """Read the model of any format, name its nodes and store it as IR.

    ``weights`` is an IR's .bin file that does not lie beside it, ``name`` what the model is called, if not like its
    file. ``identity`` tells whether the files changed since (see :func:`find_model`). Unless ``quantized`` is true,
    InputError is raised for a model that is quantized already. So it is for inputs that no memory holds.
    """
    model = read_model(path, locate(weights, "model.weights") if weights else None)
    require_room(model)
    if not quantized:
        require_float(model, path)
    return Store(runtime.home).put_model(model, name or _name(path))


def _name(path: Path) -> str:
    """What to call the model: its file, or its folder where every file is called the same."""
    return path.resolve().parent.name if path.stem in _NO_NAMES and path.resolve().parent.name else path.stem
