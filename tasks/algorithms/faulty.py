"""Which operations are at fault where a quantized model gives something wrong."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from math import prod
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.inference import Sample, compile_for_samples, one_sample_at_a_time, whole_inputs
from tasks.algorithms.verification import WRONG, Agreement, answers, compile_graph, energy, watched
from tasks.errors import InputError
from tasks.graph.layers import PRODUCTS
from tasks.graph.operations import Operation, Source, is_float, read_operations, shape_of
from tasks.graph.selections import find_selections
from tasks.graph.traversal import STATEFUL_TYPES, nodes_by_name

Values = NDArray[Any]
_ENDS = STATEFUL_TYPES | {"Parameter", "Result", "Assign"}
# Of the signal's energy: more than roundings that fall otherwise in layers before may leave.
_FAR = 0.1
# Numbers of one sample that are watched at once.
_MOST_NUMBERS = 1 << 25
# Operations that are watched one by one where watching all of them hides the fault.
_MOST_ALONE = 64


@dataclass(frozen=True)
class Verdict:
    """What is wrong with an INT8 model, a text for each output; the operations at fault; what is no fault, yet odd.

    ``executed``: OpenVINO computes the operations, be they known or not, otherwise than the model's own graph says.
    """

    faults: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    executed: bool = False
    notes: tuple[str, ...] = ()


def find_faults(
    model: ov.Model,
    quantized: ov.Model,
    found: Sequence[Agreement],
    samples: Sequence[Sample],
    threads: int | None = None,
) -> Verdict:
    """The verdict on a quantized model, of which ``verify`` ``found`` so much; ``samples`` tell what is at fault.

    Args:
        model: The float model.
        quantized: The quantized model.
        found: What `verify` found of its outputs.
        samples: Samples that tell what is at fault; at least one.
        threads: Number of threads; None for all that the process may use.
    """
    notes = tuple(
        f"output '{each.output}': the float model itself computes {each.float_undefined} of {each.numbers} numbers that"
        " are not finite; only the others were compared"
        for each in found
        if each.float_undefined
    )
    doubtful = [each for each in found if each.doubtful]
    if not doubtful:
        return Verdict(notes=notes)
    kernels = wrong_kernels(quantized, samples, threads)
    guilty = [
        each for each in doubtful if each.undefined or each.below_noise or kernels or each.deviates_beyond_rounding
    ]
    if not guilty:
        return Verdict(notes=notes)
    executed = bool(kernels) or any(each.deviates_beyond_rounding for each in guilty)
    operations = kernels or (
        _only_layer(quantized) if executed else where_it_breaks(model, quantized, samples, threads)
    )
    return Verdict(tuple(map(_text, guilty)), operations, executed, notes)


def _only_layer(quantized: ov.Model) -> tuple[str, ...]:
    """The one layer of a model, which it must be: what is watched may hide a fault. None where there are several."""
    layers = tuple(operation.name for operation in _computing(quantized) if operation.type in PRODUCTS)
    return layers if len(layers) == 1 else ()


def _text(agreement: Agreement) -> str:
    output = f"output '{agreement.output}'"
    if agreement.tensor.rpartition(":")[0] != agreement.output:
        output += f", judged by '{agreement.tensor}',"
    if agreement.undefined:
        return f"{output} is not finite in {agreement.undefined} of {agreement.numbers} numbers"
    text = f"{output} has an SQNR of {agreement.sqnr_db:.1f} dB"
    if agreement.deviates:
        text += f" where the model's own graph has {agreement.graph_sqnr_db:.1f} dB"
    return text


def wrong_kernels(quantized: ov.Model, samples: Sequence[Sample], threads: int | None = None) -> tuple[str, ...]:
    """The operations that OpenVINO computes otherwise than in floats from the same inputs, in topological order.

    All operations are watched at once; what is read in between may change how OpenVINO joins them, so where nothing is
    found each is watched alone, if they are not too many.

    Args:
        quantized: The quantized model.
        samples: Samples to infer; at least one.
        threads: Number of threads; None for all that the process may use.
    """
    candidates = [operation for operation in _computing(quantized) if operation.type != "FakeQuantize"]
    found = _wrong(quantized, list(_groups(candidates)), samples, threads)
    if not found and len(candidates) <= _MOST_ALONE:
        found = _wrong(quantized, [[operation] for operation in candidates], samples, threads)
    return tuple(found) or _first_apart(quantized, candidates, samples, threads)


def _first_apart(
    quantized: ov.Model, candidates: Sequence[Operation], samples: Sequence[Sample], threads: int | None
) -> tuple[str, ...]:
    """The first operations that lie far from the graph, of those whose inputs nobody watches."""
    whole, apart = whole_inputs(quantized, samples[0]), set[str]()
    for group in _groups(candidates):
        model = watched(quantized, [f"{operation.name}:0" for operation in group], whole)
        found = answers(compile_for_samples(model, threads, as_deployed=True), samples)
        rows = list(zip(answers(compile_graph(model, threads), samples), found, strict=True))
        for place, operation in enumerate(group):
            if _differ(((wanted[place], given[place]) for wanted, given in rows), _FAR):
                apart.add(operation.name)
    return tuple(each.name for each in candidates if each.name in apart and not _reads(each, apart))


def where_it_breaks(
    model: ov.Model, quantized: ov.Model, samples: Sequence[Sample], threads: int | None = None
) -> tuple[str, ...]:
    """The first operations that a quantized graph computes worse than zeros, or not finite, in topological order.

    First: what they read is sound. Behind a selection nothing is compared.

    Args:
        model: The float model.
        quantized: The quantized model.
        samples: Samples to infer; at least one.
        threads: Number of threads; None for all that the process may use.
    """
    left_out = {operation.name for operation in find_selections(read_operations(model))}
    both = nodes_by_name(quantized).keys() - left_out
    operations = [operation for operation in _computing(model) if operation.name in both]
    whole = whole_inputs(model, samples[0])
    unsound: set[str] = set()
    for group in _groups(operations):
        tensors = [f"{operation.name}:0" for operation in group]
        exact = compile_for_samples(watched(model, tensors, whole), threads)
        graph = compile_graph(watched(quantized, tensors, whole), threads)
        rows = list(zip(answers(exact, samples), answers(graph, samples), strict=True))
        for place, operation in enumerate(group):
            if _differ(((wanted[place], found[place]) for wanted, found in rows), 1.0):
                unsound.add(operation.name)
    return tuple(each.name for each in operations if each.name in unsound and not _reads(each, unsound))


def _computing(model: ov.Model) -> list[Operation]:
    """The operations that compute real numbers from the model's input."""
    return [
        operation
        for operation in read_operations(model)
        if not operation.known and operation.type not in _ENDS and operation.consumers and _is_real(operation)
    ]


def _is_real(operation: Operation) -> bool:
    return is_float(Source(operation, 0)) and all(
        is_float(source) for source in operation.sources if not source.operation.known
    )


def _groups(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    """Consecutive operations whose outputs are to be held together."""
    sizes = accumulate(prod(size or 1 for size in shape_of(Source(each, 0)) or ()) for each in operations)
    numbered = zip((size // _MOST_NUMBERS for size in sizes), operations, strict=True)
    for _, group in groupby(numbered, key=lambda pair: pair[0]):
        yield [operation for _, operation in group]


def _wrong(
    quantized: ov.Model, groups: Sequence[Sequence[Operation]], samples: Sequence[Sample], threads: int | None
) -> list[str]:
    whole = whole_inputs(quantized, samples[0])
    return [name for group in groups for name in _wrong_of(quantized, group, samples, whole, threads)]


def _wrong_of(
    quantized: ov.Model,
    group: Sequence[Operation],
    samples: Sequence[Sample],
    whole: tuple[str, ...],
    threads: int | None,
) -> list[str]:
    """Watched as deployed: what each operation reads and gives; then computed again in floats from what it has read."""
    given = [f"{operation.name}:0" for operation in group]
    read = list(dict.fromkeys(str(source) for each in group for source in each.sources if not source.operation.known))
    tensors = list(dict.fromkeys(given + read))
    try:
        rows = answers(compile_for_samples(watched(quantized, tensors, whole), threads, as_deployed=True), samples)
        again = compile_graph(_apart(one_sample_at_a_time(quantized, whole), group, read), threads)
        computed = answers(again, [{each: row[tensors.index(each)] for each in read} for row in rows])
    except (InputError, RuntimeError):
        return []  # OpenVINO does not run them so
    return [
        operation.name
        for place, operation in enumerate(group)
        if _differ(((each[place], row[place]) for row, each in zip(rows, computed, strict=True)), WRONG)
    ]


def _apart(model: ov.Model, group: Sequence[Operation], read: Sequence[str]) -> ov.Model:
    """Each operation of the group by itself, on inputs of its own; those come in the order of ``read``."""
    nodes = nodes_by_name(model)
    inputs: dict[str, ov.Node] = {}
    for operation in group:
        for port, source in enumerate(operation.sources):
            if str(source) in read and not source.operation.known:
                old = nodes[operation.name].input_value(port)
                if str(source) not in inputs:
                    inputs[str(source)] = ops.parameter(old.get_partial_shape(), old.get_element_type(), str(source))
                nodes[operation.name].input(port).replace_source_output(inputs[str(source)].output(0))
    results = [ops.result(nodes[operation.name].output(0)) for operation in group]
    return ov.Model(results, [inputs[tensor] for tensor in read], "apart")


def _differ(pairs: Iterable[tuple[Values, Values]], share: float) -> bool:
    """Whether what was found differs from what was wanted by that share of its energy, or is not finite there."""
    signal = noise = 0.0
    for wanted, found in pairs:
        finite = np.isfinite(wanted)
        if found.shape != wanted.shape or not np.isfinite(found[finite]).all():
            return True
        signal += energy(wanted[finite])
        noise += energy(found[finite].astype(np.float64) - wanted[finite])
    return noise > share * signal > 0


def _reads(operation: Operation, unsound: set[str]) -> bool:
    return any(source.operation.name in unsound for source in operation.sources)
