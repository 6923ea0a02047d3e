"""Running a model over samples: compiled once, in float32, asynchronously, with results in the order of the samples.

Every stream has one thread, so that no sum is split among threads: the numbers do not depend on how many there are.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.errors import InputError
from tasks.graph.naming import input_name

Sample = Mapping[str, NDArray[Any]]


def input_names(model: Any) -> tuple[str, ...]:
    """Names of the inputs of a model or a compiled model, in its order."""
    return tuple(input_name(port) for port in model.inputs)


def compile_for_samples(model: ov.Model, threads: int | None = None) -> ov.CompiledModel:
    """Compile for throughput on the CPU, one stream a thread, float32 whatever the CPU would prefer."""
    count = threads or os.cpu_count() or 1
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": count,
        "NUM_STREAMS": count,
    }
    return ov.Core().compile_model(model, "CPU", settings)


def infer(
    compiled: ov.CompiledModel,
    samples: Iterable[Sample],
    receive: Callable[[int, list[NDArray[Any]]], None],
) -> int:
    """Run every sample; ``receive`` gets its index and copies of all outputs, in the order of completion.

    Returns the number of samples. Memory holds the samples under way only. A model with state starts each sample anew.
    """
    queue = ov.AsyncInferQueue(compiled)
    failures: list[Exception] = []

    def finished(request: ov.InferRequest, index: int) -> None:
        try:
            receive(index, [np.array(tensor.data) for tensor in request.output_tensors])
        except Exception as failure:  # noqa: BLE001 - an exception in a callback would be lost
            failures.append(failure)

    queue.set_callback(finished)
    count = 0
    for index, sample in enumerate(samples):
        request = queue[queue.get_idle_request_id()]
        for state in request.query_state():
            state.reset()
        queue.start_async(sample_inputs(compiled.inputs, sample, index), index)
        count += 1
        if failures:
            break
    queue.wait_all()
    if failures:
        raise failures[0]
    return count


def sample_inputs(inputs: list[Any], sample: Sample, index: int) -> dict[int, NDArray[Any]]:
    """The arrays of one sample as the model wants them: a batch axis of one, the model's element types.

    Raises InputError when an input is missing, or when a shape or an element type cannot fit.
    """
    return {position: _fit(port, sample, index) for position, port in enumerate(inputs)}


def _fit(port: Any, sample: Sample, index: int) -> NDArray[Any]:
    name = input_name(port)
    if name not in sample:
        msg = f"sample {index}: no array for the model's input '{name}'; the sample has {', '.join(sample)}"
        raise InputError(msg)
    values, shape, wanted = sample[name], port.get_partial_shape(), port.get_element_type().to_dtype()
    if not np.can_cast(values.dtype, wanted, "same_kind"):
        msg = f"sample {index}: input '{name}' is {wanted}, the data are {values.dtype}"
        raise InputError(msg)
    if shape.rank.is_static and values.ndim == shape.rank.get_length() - 1:
        values = values[None]
    if not shape.compatible(ov.PartialShape(list(values.shape))):
        expected = str(shape).replace("?", "any")
        msg = f"sample {index}: input '{name}' has shape {expected}, the sample has {list(sample[name].shape)}"
        raise InputError(msg)
    return np.ascontiguousarray(values, dtype=wanted)


def one_sample_at_a_time(model: ov.Model) -> ov.Model:
    """A copy of the model whose batch axes (axis 0 of inputs of rank 2 and more) are 1 where they were free or larger.

    A static shape runs quicker than a free one. A model that fixes its batch deep inside keeps its own shapes.
    """
    copy = model.clone()
    shapes = {}
    for port in copy.inputs:
        shape = port.get_partial_shape()
        if shape.rank.is_static and shape.rank.get_length() > 1 and shape[0] != 1:
            shape[0] = 1
            shapes[port] = shape
    if not shapes:
        return copy
    try:
        copy.reshape(shapes)
    except RuntimeError:
        return model.clone()
    return copy
