"""Whether OpenVINO computes a quantized model as its own graph says, and whether that comes near the float model.

Three models answer the same samples: the float one, the quantized one as it is deployed, and the graph of that computed
in floats: OpenVINO without its transformations to low precision. What quantization costs is what the graph loses; what
is lost beyond it is due to integer kernels. Roundings that fall the other way, where sums differ in their last digit,
cost less than quantization does; so more than that is suspicious, and a kernel that gives something else than the
graph for the same inputs is at fault (see :mod:`tasks.algorithms.faulty`).

The outputs of a few samples are a cheap sign of it (:func:`doubtful_outputs`): only the graph has to be computed for
it. What is in doubt is verified on all samples and by the tensors that decide (:func:`verify`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.evaluation import Outputs, collect_rows, stack
from tasks.algorithms.inference import (
    Sample,
    compile_for_samples,
    infer,
    one_sample_at_a_time,
    whole_inputs,
)
from tasks.graph.judging import judged_tensors
from tasks.graph.traversal import find_output, nodes_by_name
from tasks.numerics.metrics import decibels

Values = NDArray[Any]
# Of the signal's energy: integer kernels that work leave less than 1e-12.
WRONG = 1e-4
# Times the energy that quantization costs. Two models whose roundings all fall differently lie 2 times as far apart.
_BEYOND_ROUNDING = 4.0
# The root mean square of an output that counts as zero: what is left of it is rounding.
_NOTHING = 1e-6
# Samples whose values are held at once.
_PART = 4


@dataclass(frozen=True)
class Agreement:
    """How a tensor by which ``output`` is judged fared over all samples: energies, where all three models are finite.

    ``lost`` is the deployed model's error, ``costs`` that of its graph, ``deviation`` the distance between these two.
    Of ``numbers``, so many are not finite in the float model, and in the other two where the float model's are.
    """

    output: str
    tensor: str
    numbers: int = 0
    signal: float = 0.0
    lost: float = 0.0
    costs: float = 0.0
    deviation: float = 0.0
    float_undefined: int = 0
    undefined: int = 0
    graph_undefined: int = 0

    @property
    def nothing(self) -> bool:
        """Whether the float model computes zeros, of which no ratio can be told."""
        return self.signal <= max(self.numbers, 1) * _NOTHING**2

    @property
    def below_noise(self) -> bool:
        """Whether the deployed model's error has more energy than the signal."""
        return not self.nothing and self.lost >= self.signal

    @property
    def deviates(self) -> bool:
        """Whether integer kernels cost more than quantization does."""
        return not self.nothing and self.deviation > max(self.costs, WRONG * self.signal)

    @property
    def deviates_beyond_rounding(self) -> bool:
        """Whether no roundings can have done that."""
        return self.deviates and self.deviation > _BEYOND_ROUNDING * self.costs

    @property
    def doubtful(self) -> bool:
        """Whether more has to be found out."""
        return self.undefined > 0 or self.below_noise or self.deviates

    @property
    def sqnr_db(self) -> float:
        """Of the deployed model."""
        return decibels(self.signal, self.lost)

    @property
    def graph_sqnr_db(self) -> float:
        """Of its graph."""
        return decibels(self.signal, self.costs)


def compile_graph(model: ov.Model, threads: int | None = None) -> ov.CompiledModel:
    """Compile a quantized model to be computed in floats: the reference for its integer kernels.

    Args:
        model: The quantized model.
        threads: Number of threads; None for all that the process may use.
    """
    return compile_for_samples(model, threads, snippets=False, integers=False)


def watched(model: ov.Model, tensors: Sequence[str], whole: tuple[str, ...]) -> ov.Model:
    """A copy for one sample a request whose outputs are these tensors.

    Args:
        model: The model.
        tensors: Names of the tensors, ``"<producer>:<output port>"``.
        whole: Names of inputs without a batch axis.
    """
    alone = one_sample_at_a_time(model, whole)
    nodes = nodes_by_name(alone)
    results = [ops.result(find_output(nodes, tensor)) for tensor in tensors]
    return ov.Model(results, alone.get_sinks(), alone.get_parameters(), "watched")


def verify(
    model: ov.Model,
    quantized: ov.Model,
    samples: Iterable[Sample],
    advance: Callable[[], None] = lambda: None,
    threads: int | None = None,
) -> tuple[Agreement, ...]:
    """How each tensor that tells of an output of real numbers agrees, float ``model`` beside ``quantized``.

    Args:
        model: The float model.
        quantized: The quantized model.
        samples: Samples to infer.
        advance: Called after each sample.
        threads: Number of threads; None for all that the process may use.
    """
    waiting = iter(samples)
    part = list(islice(waiting, _PART))
    judged = judged_tensors(model), judged_tensors(quantized)
    if not part or not judged[0] or len(judged[0]) != len(judged[1]):
        return ()
    whole = whole_inputs(model, part[0])
    before, after = (
        watched(each, [one.tensor for one in some], whole)
        for each, some in zip((model, quantized), judged, strict=True)
    )
    compiled = (
        compile_for_samples(before, threads),
        compile_for_samples(after, threads, as_deployed=True),
        compile_graph(after, threads),
    )
    found = [Agreement(one.output, one.tensor) for one in judged[1]]
    while part:
        rows = zip(*(answers(each, part) for each in compiled), strict=True)
        for row in rows:
            for place, values in enumerate(zip(*row, strict=True)):
                found[place] = _with_sample(found[place], judged[1][place].axis, *values)
            advance()
        part = list(islice(waiting, _PART))
    return tuple(found)


def graph_outputs(
    quantized: ov.Model, samples: Sequence[Sample], compiled: Callable[[tuple[str, ...]], ov.CompiledModel]
) -> Outputs:
    """The outputs of a quantized model as its graph says, stacked like those of an evaluation.

    Args:
        quantized: The quantized model.
        samples: Samples to infer.
        compiled: Makes :func:`compile_graph_alone` of the model, given the inputs without a batch axis.
    """
    return stack(collect_rows(quantized, samples, lambda: None, compiled))[0]


def compile_graph_alone(quantized: ov.Model, whole: tuple[str, ...], threads: int | None = None) -> ov.CompiledModel:
    """The graph, compiled for one sample a request.

    Args:
        quantized: The quantized model.
        whole: Names of inputs without a batch axis.
        threads: Number of threads; None for all that the process may use.
    """
    return compile_graph(one_sample_at_a_time(quantized, whole), threads)


def doubtful_outputs(
    wanted: Mapping[str, Values], found: Mapping[str, Values], graph: Mapping[str, Values]
) -> tuple[str, ...]:
    """The outputs of real numbers, (samples, ...), whose deployed values are to be verified.

    They are not finite where the ``wanted`` ones are, have more noise than signal, or lie farther from those of the
    ``graph``, which are there for the first samples, than quantization accounts for.

    Args:
        wanted: Outputs of the float model by name, (samples, ...).
        found: Those of the quantized model as deployed.
        graph: Those of its graph computed in floats, for the first samples.
    """
    doubtful = []
    for name, values in wanted.items():
        given = found.get(name)
        if values.dtype.kind != "f" or given is None:
            continue
        if values.shape != given.shape:
            bad = bool(np.isfinite(values).all() and not np.isfinite(given).all())
        else:
            bad = _with_sample(Agreement(name, name), None, values, given, given).doubtful
            said = graph.get(name)
            first = values[: 0 if said is None else len(said)]
            if said is not None and said.shape == first.shape:
                bad |= _with_sample(Agreement(name, name), None, first, given[: len(said)], said).deviates
        if bad:
            doubtful.append(name)
    return tuple(doubtful)


def answers(compiled: ov.CompiledModel, samples: Sequence[Sample]) -> list[list[Values]]:
    """All outputs of each sample, in order.

    Args:
        compiled: The compiled model.
        samples: Samples to infer.
    """
    rows: dict[int, list[Values]] = {}

    def receive(number: int, outputs: list[Values]) -> None:
        rows[number] = [np.array(output) for output in outputs]

    count = infer(compiled, samples, receive)
    return [rows[number] for number in range(count)]


def _with_sample(so_far: Agreement, axis: int | None, exact: Values, found: Values, graph: Values) -> Agreement:
    if exact.shape != found.shape or exact.shape != graph.shape:
        return so_far
    finite = [np.isfinite(each) for each in (exact, found, graph)]
    everywhere = np.logical_and.reduce(finite)
    wanted, given, said = (each.astype(np.float64) for each in (exact, found, graph))
    if axis is not None and everywhere.all():
        wanted, given, said = (each - each.mean(axis=axis, keepdims=True) for each in (wanted, given, said))
    wanted, given, said = (each[everywhere] for each in (wanted, given, said))
    return Agreement(
        so_far.output,
        so_far.tensor,
        so_far.numbers + exact.size,
        so_far.signal + energy(wanted),
        so_far.lost + energy(given - wanted),
        so_far.costs + energy(said - wanted),
        so_far.deviation + energy(given - said),
        so_far.float_undefined + int((~finite[0]).sum()),
        so_far.undefined + int((finite[0] & ~finite[1]).sum()),
        so_far.graph_undefined + int((finite[0] & ~finite[2]).sum()),
    )


def energy(values: Values) -> float:
    """The sum of squares.

    Args:
        values: Numbers of any shape.
    """
    return float(np.square(values.astype(np.float64)).sum())
