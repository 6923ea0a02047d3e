"""Step: what MLflow needs to serve a model: inputs, outputs, and a sample as example."""

from dataclasses import asdict, dataclass
from typing import Any

from tasks.algorithms.inference import input_names, sample_inputs
from tasks.data.source import open_source
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.graph.naming import output_names
from tasks.records import ArraysRef, DatasetRef, ModelRef, Runtime

# MLflow keeps an example as text, 20 bytes per number.
MOST_EXAMPLE_NUMBERS = 2_000_000


@dataclass(frozen=True)
class Tensor:
    """An input or an output.

    Attributes:
        name: Its name.
        type: numpy's name of the element type.
        shape: Its shape, -1 for dynamic axes; None if their number is not known either.
    """

    name: str
    type: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Package:
    """The interface of a model.

    Attributes:
        inputs: The inputs.
        outputs: The outputs.
        example: An array for each input; None if it would be too large.
        notes: What MLflow's model lacks, each with the reason.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    example: ArraysRef | None
    notes: tuple[str, ...] = ()


@step
def package_model(model: ModelRef, sample: DatasetRef, runtime: Runtime) -> Package:
    """The interface of a model, with the first sample as example; it has the batch axis that the model wants.

    Args:
        model: The model.
        sample: Samples, of which the first is the example.
        runtime: How the run works; it changes no result.
    """
    store = Store(runtime.home)
    opened = store.open_model(model)
    names = input_names(opened)
    values = open_source(sample.source).load(sample.indices[0], names)
    fitted = sample_inputs(opened.inputs, values, sample.indices[0])
    ports = zip(names, opened.inputs, strict=True)
    inputs = tuple(_tensor(name, port, fitted[place].ndim) for place, (name, port) in enumerate(ports))
    outputs = tuple(_tensor(name, port, None) for name, port in zip(output_names(opened), opened.outputs, strict=True))
    numbers = sum(array.size for array in fitted.values())
    small = numbers <= MOST_EXAMPLE_NUMBERS
    example = store.put_arrays({name: fitted[place] for place, name in enumerate(names)}) if small else None
    notes = [] if small else [f"input example: a sample has {numbers:,} numbers, more than {MOST_EXAMPLE_NUMBERS:,}"]
    for role, tensors in (("inputs", inputs), ("outputs", outputs)):
        free = [tensor.name for tensor in tensors if tensor.shape is None]
        if free:
            notes.append(f"signature of its {role}: of {', '.join(free)} not even the number of axes is known")
    return Package(inputs, outputs, example, tuple(f"MLflow's model has no {note}" for note in notes))


def package_files(model: ModelRef, package: Package, runtime: Runtime) -> dict[str, Any]:
    """The interface as plain values, with the paths of files.

    Args:
        model: The model.
        package: Its interface.
        runtime: How the run works.
    """
    store = Store(runtime.home.resolve())
    return {
        "inputs": [asdict(tensor) for tensor in package.inputs],
        "outputs": [asdict(tensor) for tensor in package.outputs],
        "name": model.name,
        "digest": model.digest,
        "folder": str(store.model_folder(model)),
        "example": str(store.arrays_file(package.example)) if package.example else None,
    }


def _tensor(name: str, port: Any, rank: int | None) -> Tensor:
    shape, kind = port.get_partial_shape(), str(port.get_element_type().to_dtype())
    if shape.rank.is_dynamic:
        return Tensor(name, kind, None if rank is None else (-1,) * rank)
    return Tensor(name, kind, tuple(axis.get_length() if axis.is_static else -1 for axis in shape))
