"""Running a model over samples: compiled once, in float32, asynchronously, with results in the order of the samples.

Every stream has one thread, so that no sum is split among threads: the numbers do not depend on how many there are.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.errors import InputError, reason_of
from tasks.graph.naming import input_name
from tasks.graph.traversal import find_output, is_constant, nodes_by_name

Sample = Mapping[str, NDArray[Any]]

_last_used: list[Any] = []


def input_names(model: Any) -> tuple[str, ...]:
    """Names of the inputs of a model or a compiled model, in its order."""
    return tuple(input_name(port) for port in model.inputs)


def compile_for_samples(
    model: ov.Model,
    threads: int | None = None,
    *,
    as_deployed: bool = False,
    snippets: bool = True,
    integers: bool = True,
) -> ov.CompiledModel:
    """Compile for throughput on the CPU, one stream a thread, float32 whatever the CPU would prefer.

    Without ``integers`` a quantized model is computed as its graph says: in floats, FakeQuantize by FakeQuantize.

    A model with attention or Select goes without the code that OpenVINO generates for them (snippets), unless it is to
    run ``as_deployed``: some graphs that hold them twice, float and quantized, crash there (OpenVINO 2026.4;
    ``tests/flows/test_calibrate.py`` analyses one). Others need it: without snippets INT8 convolutions that have no
    bias, but several readers, compute zeros (``tests/algorithms/test_analysis.py``). Without ``snippets`` none has it:
    a graph of float weights that compares perceptrons crashes with it (``tests/algorithms/test_caution.py``).

    A model whose int8 weights OpenVINO has to unpack gets one stream of all threads: several streams unpack them at
    once when the model is compiled, and then some read weights without their scales, in about 1 of 100 compilations
    (OpenVINO 2026.4; ``tests/algorithms/test_gna.py`` shows it).
    """
    count = threads or len(os.sched_getaffinity(0))
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": count,
        "NUM_STREAMS": count,
    }
    if not snippets or (not as_deployed and any(map(_crashes_in_snippets, model.get_ops()))):
        settings["SNIPPETS_MODE"] = "DISABLE"
    if not integers:
        settings |= {"LP_TRANSFORMS_MODE": "NO", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    compiled = compile_on_cpu(model, settings)
    if count > 1 and _unpacks_weights(compiled):
        return compile_on_cpu(model, settings | {"NUM_STREAMS": 1})
    return compiled


def _crashes_in_snippets(node: ov.Node) -> bool:
    if node.get_type_name() == "MatMul":  # weights mostly are its second operand
        return not any(is_constant(node.input_value(port)) for port in (1, 0))
    return node.get_type_name() in ("ScaledDotProductAttention", "Select")


def _unpacks_weights(compiled: ov.CompiledModel) -> bool:
    """Whether weights are converted by operations of the compiled model, instead of before or inside of a kernel."""

    def is_kind(node: ov.Node, kind: str) -> bool:
        return bool(node.get_rt_info()["layerType"].astype(str) == kind)

    nodes = compiled.get_runtime_model().get_ordered_ops()
    return any(is_kind(node, "Convert") and is_kind(node.input_value(0).get_node(), "Const") for node in nodes)


def compile_on_cpu(model: ov.Model, settings: Mapping[str, Any]) -> ov.CompiledModel:
    """Compile; raises InputError for a model that the CPU plugin refuses."""
    try:
        return ov.Core().compile_model(model, "CPU", dict(settings))
    except RuntimeError as failure:
        raise InputError(f"OpenVINO cannot run the model on a CPU: {reason_of(failure)}") from failure


def infer(
    compiled: ov.CompiledModel,
    samples: Iterable[Sample],
    receive: Callable[[int, list[NDArray[Any]]], None],
    *,
    batch: int = 1,
    spare: int = 0,
) -> int:
    """Run every sample, ``batch`` of them a request; ``receive`` gets the request's number and all outputs.

    ``spare`` requests more than the CPU works on are under way: none of its streams waits for Python to fill one.

    The outputs are OpenVINO's own memory and hold until ``receive`` returns: it copies what it keeps.

    Requests finish in any order; the last one is filled up with copies of its last sample. Returns the number of
    samples. Memory holds the samples under way only. A model with state starts each request anew. Raises InputError for
    samples that do not fit, be it that the model finds out in its midst.
    """
    queue = ov.AsyncInferQueue(compiled, compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") + spare)
    failures: list[Exception] = []
    receivers = [receive]

    def finished(request: ov.InferRequest, number: int) -> None:
        try:
            receivers[0](number, [tensor.data for tensor in request.output_tensors])
        except Exception as failure:  # noqa: BLE001 - an exception in a callback would be lost
            failures.append(failure)

    queue.set_callback(finished)
    count = 0
    try:
        for number, group in enumerate(_groups(samples, batch)):
            request = queue[queue.get_idle_request_id()]
            for state in request.query_state():
                state.reset()
            fitted = [
                sample_inputs(compiled.inputs, sample, count + place, batch) for place, sample in enumerate(group)
            ]
            queue.start_async(_joined(fitted, batch), number)
            count += len(group)
            if failures:
                break
    except RuntimeError as failure:
        failures.append(_not_inferred(failure))
    finally:
        # A queue that is freed while requests run waits for their callbacks, which wait for Python's lock: for ever.
        try:
            queue.wait_all()
        except RuntimeError as failure:
            failures.append(_not_inferred(failure))
        receivers.clear()
        _outlive(compiled, queue)
    if failures:
        raise failures[0]
    return count


def _not_inferred(failure: RuntimeError) -> InputError:
    error = InputError(f"OpenVINO cannot infer the samples: {reason_of(failure)}")
    error.__cause__ = failure
    return error


def _outlive(compiled: ov.CompiledModel, queue: ov.AsyncInferQueue) -> None:
    """Keep what ran last until something else has run.

    When all requests are done, OpenVINO's threads may still be on their way out of the last one and hold the model.
    If we let go of it first, such a thread destroys it, waits for itself and ends the process.
    """
    _last_used[:] = [compiled, queue]


def _groups(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    waiting = iter(samples)
    while group := list(islice(waiting, size)):
        yield group


def _joined(fitted: list[dict[int, NDArray[Any]]], batch: int) -> dict[int, NDArray[Any]]:
    if batch == 1:
        return fitted[0]
    filled = fitted + fitted[-1:] * (batch - len(fitted))
    return {position: np.concatenate([each[position] for each in filled]) for position in fitted[0]}


def sample_inputs(inputs: list[Any], sample: Sample, index: int, batch: int = 1) -> dict[int, NDArray[Any]]:
    """The arrays of one sample as the model wants them: a batch axis of one, the model's element types.

    ``batch`` is the length of that axis in the model, where it is not one. Raises InputError when an input is missing,
    or when a shape or an element type cannot fit; it calls the sample by its ``name``, or by ``index`` if it has none.
    """
    return {position: _fit(port, sample, index, batch) for position, port in enumerate(inputs)}


def _fit(port: Any, sample: Sample, index: int, batch: int) -> NDArray[Any]:
    name, called = input_name(port), getattr(sample, "name", f"sample {index}")
    if name not in sample:
        msg = f"{called}: no array for the model's input '{name}'; the sample has {', '.join(sample)}"
        raise InputError(msg)
    values, shape, wanted = sample[name], port.get_partial_shape(), port.get_element_type().to_dtype()
    if not np.can_cast(values.dtype, wanted, "same_kind"):
        msg = f"{called}: input '{name}' is {wanted}, the data are {values.dtype}"
        raise InputError(msg)
    if shape.rank.is_static and values.ndim == shape.rank.get_length() - 1:
        values = values[None]
    if batch > 1:
        shape[0] = 1
    if not shape.compatible(ov.PartialShape(list(values.shape))):
        expected = str(shape).replace("?", "any")
        msg = f"{called}: input '{name}' has shape {expected}, the sample has {list(sample[name].shape)}"
        raise InputError(msg)
    with np.errstate(over="ignore"):
        fitted = np.asarray(values, dtype=wanted, order="C")
    if values.dtype.kind == "f" and values.dtype.itemsize > fitted.itemsize and not np.isfinite(fitted).all():
        raise InputError(f"{called}: input '{name}' is {wanted}, which does not hold {np.abs(values).max():.3g}")
    return fitted


def whole_inputs(model: Any, sample: Sample) -> tuple[str, ...]:
    """Inputs without a batch axis: a sample has all their axes, and more than one row on the first."""
    ranks = {input_name(port): port.get_partial_shape().rank for port in model.inputs}
    shapes = {name: sample[name].shape for name, rank in ranks.items() if name in sample and rank.is_static}
    return tuple(
        name for name, shape in shapes.items() if len(shape) == ranks[name].get_length() and shape and shape[0] > 1
    )


def one_sample_at_a_time(model: ov.Model, whole: tuple[str, ...] = ()) -> ov.Model:
    """A copy of the model with batch axes of 1, where it has any (see :func:`samples_at_a_time`).

    A static shape runs quicker than a free one. A model that fixes its batch deep inside keeps its own shapes.
    """
    try:
        return samples_at_a_time(model, 1, whole)
    except InputError:
        return model.clone()


def sample_bytes(model: ov.Model, tensors: tuple[str, ...]) -> tuple[int, ...]:
    """Bytes of each tensor for one sample; 0 for a shape that is not known beforehand."""
    nodes = nodes_by_name(one_sample_at_a_time(model))
    outputs = [find_output(nodes, tensor) for tensor in tensors]
    return tuple(
        int(np.prod(output.get_shape())) * output.get_element_type().size if output.get_partial_shape().is_static else 0
        for output in outputs
    )


def samples_at_a_time(model: ov.Model, batch: int, whole: tuple[str, ...] = ()) -> ov.Model:
    """A copy of the model with batch axes of length ``batch``, with the same operations under the same names.

    A batch axis is axis 0 of an input of rank 2 or more that is free, or that all such inputs fix to the same length;
    not of one that is ``whole`` (see :func:`whole_inputs`).
    Raises InputError for a model that cannot be given another length so.
    """
    copy = model.clone()
    shapes = {parameter: parameter.get_partial_shape() for parameter in copy.get_parameters()}
    batched = {
        each: shape
        for each, shape in shapes.items()
        if shape.rank.is_static and shape.rank.get_length() > 1 and input_name(each.output(0)) not in whole
    }
    lengths = {str(shape[0]) for shape in batched.values()}
    chosen = {each: shape for each, shape in batched.items() if shape[0].is_dynamic or len(lengths) == 1}
    fixed = {str(shape[0]) for shape in chosen.values() if shape[0].is_static} - {str(batch)}
    refused = f"quantization.stat_batch_size: the model cannot take {batch} samples at a time; set stat_batch_size=1"
    if batch > 1 and len(chosen) < len(shapes):
        raise InputError(refused)
    for parameter, shape in chosen.items():
        shape[0] = batch
        parameter.set_partial_shape(shape)
    try:
        # Not Model.reshape, which may exchange operations: taps find them by name.
        copy.validate_nodes_and_infer_types()
    except RuntimeError as failure:
        raise InputError(refused) from failure
    outputs = [port.get_partial_shape() for port in copy.outputs]
    if fixed and any(shape.rank.is_static and shape.rank.get_length() and str(shape[0]) in fixed for shape in outputs):
        # A length written into the model: shapes fit, but rows of different samples are mixed up.
        raise InputError(refused)
    return copy
