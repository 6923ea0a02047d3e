"""Inference of samples: one compiled model, float32, asynchronous requests; results do not depend on the threads."""

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
    """The names of the inputs, in the model's order.

    Args:
        model: A model or a compiled model.
    """
    return tuple(input_name(port) for port in model.inputs)


def compile_for_samples(
    model: ov.Model,
    threads: int | None = None,
    *,
    as_deployed: bool = False,
    snippets: bool = True,
    integers: bool = True,
) -> ov.CompiledModel:
    """The model, compiled for throughput on the CPU in float32: streams of one thread each, so that no sum is split.

    OpenVINO (2026.4) needs exceptions. Unless ``as_deployed``, attention and Select run without generated code
    (snippets), with which some graphs crash (``test_calibrate.py``), but without which INT8 convolutions may give zeros
    (``test_analysis.py``). One stream serves weights unpacked at run time: of several some lose scales
    (``test_gna.py``).

    Args:
        model: The model.
        threads: Number of threads; None for all that the process may use.
        as_deployed: Whether to compile as a user would.
        snippets: False for none: comparing perceptrons crashes with them (``test_clipping_weight.py``).
        integers: False computes a quantized model in floats, FakeQuantize by FakeQuantize, as its graph says.
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
    """Whether operations of the compiled model convert weights, instead of a kernel or the compilation."""

    def is_kind(node: ov.Node, kind: str) -> bool:
        return bool(node.get_rt_info()["layerType"].astype(str) == kind)

    nodes = compiled.get_runtime_model().get_ordered_ops()
    return any(is_kind(node, "Convert") and is_kind(node.input_value(0).get_node(), "Const") for node in nodes)


def compile_on_cpu(model: ov.Model, settings: Mapping[str, Any]) -> ov.CompiledModel:
    """The compiled model.

    Args:
        model: The model.
        settings: Properties of the CPU plugin.

    Raises:
        InputError: The plugin refuses the model.
    """
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
    """The number of samples, after all were inferred. A model with a state starts each request anew.

    Args:
        compiled: The compiled model.
        samples: The samples; memory holds only those under way.
        receive: Gets, in any order, each request's number and outputs, which hold until it returns: it copies them.
        batch: Samples per request; the last one is filled up with copies of its last sample.
        spare: Requests beyond those that the CPU works on, so that no stream waits for Python.

    Raises:
        InputError: A sample does not fit, also if the model finds out while it runs.
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
    count, started = 0, set[int]()
    try:
        for number, group in enumerate(_groups(samples, batch)):
            started.add(place := queue.get_idle_request_id())
            request = queue[place]
            for state in request.query_state():
                state.reset()
            fitted = [sample_inputs(compiled.inputs, sample, index, batch) for index, sample in enumerate(group, count)]
            queue.start_async(_joined(fitted, batch), number)
            count += len(group)
            if failures:
                break
    except RuntimeError as failure:
        failures.append(_not_inferred(failure))
    finally:
        # A queue that is freed while requests run waits for their callbacks, which wait for Python's lock, forever.
        try:
            queue.wait_all()
            for place in started:  # until its thread has let go of the callback as well
                queue[place].wait()
        except RuntimeError as failure:
            failures.append(_not_inferred(failure))
        receivers.clear()
        _outlive(compiled, queue)
    if failures:
        raise failures[0]
    return count


def _not_inferred(failure: RuntimeError) -> InputError:
    (error := InputError(f"OpenVINO cannot infer the samples: {reason_of(failure)}")).__cause__ = failure
    return error


def _outlive(compiled: ov.CompiledModel, queue: ov.AsyncInferQueue) -> None:
    """Keep what ran last: a thread of OpenVINO that lets go of a model last waits for itself and ends the process."""
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
    """The arrays of one sample by number of the input, as the model wants them: with a batch axis, of its types.

    Args:
        inputs: Inputs of the model.
        sample: The arrays, by name of the input.
        index: What to call the sample in a message if it has no ``name``.
        batch: Length of the batch axis in the model; in the result it is 1.

    Raises:
        InputError: An array is missing, or its shape, type or values do not fit.
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
    """The names of the inputs without a batch axis: a sample has all their axes, and more than one row on the first.

    Args:
        model: A model or a compiled model.
        sample: One sample.
    """
    ranks = {input_name(port): port.get_partial_shape().rank for port in model.inputs}
    shapes = {name: sample[name].shape for name, rank in ranks.items() if name in sample and rank.is_static}
    return tuple(
        name for name, shape in shapes.items() if len(shape) == ranks[name].get_length() and shape and shape[0] > 1
    )


def one_sample_at_a_time(model: ov.Model, whole: tuple[str, ...] = ()) -> ov.Model:
    """A copy of the model with batch axes of 1 (:func:`samples_at_a_time`), if it does not fix them deep inside.

    Args:
        model: The model.
        whole: Names of the inputs without a batch axis.
    """
    try:
        return samples_at_a_time(model, 1, whole)
    except InputError:
        return model.clone()


def sample_bytes(model: ov.Model, tensors: tuple[str, ...]) -> tuple[int, ...]:
    """The bytes of each tensor for one sample; 0 if its shape is dynamic.

    Args:
        model: The model.
        tensors: Names of the tensors.
    """
    nodes = nodes_by_name(one_sample_at_a_time(model))
    outputs = [find_output(nodes, tensor) for tensor in tensors]
    return tuple(
        int(np.prod(output.get_shape())) * output.get_element_type().size if output.get_partial_shape().is_static else 0
        for output in outputs
    )


def samples_at_a_time(model: ov.Model, batch: int, whole: tuple[str, ...] = ()) -> ov.Model:
    """A copy of the model with batch axes of length ``batch``, and the same operations and names.

    Args:
        model: The model.
        batch: Length of batch axes: axis 0 of inputs of rank 2 or more, if dynamic or of one length in all of them.
        whole: Names of the inputs without a batch axis.

    Raises:
        InputError: The model does not take this length.
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
        # Not Model.reshape, which may replace operations: observers find them by name.
        copy.validate_nodes_and_infer_types()
    except RuntimeError as failure:
        raise InputError(refused) from failure
    outputs = [port.get_partial_shape() for port in copy.outputs]
    if fixed and any(shape.rank.is_static and shape.rank.get_length() and str(shape[0]) in fixed for shape in outputs):
        # A length is written into the model: shapes fit, but rows of different samples are mixed up.
        raise InputError(refused)
    return copy
