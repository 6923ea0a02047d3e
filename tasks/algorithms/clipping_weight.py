"""The clipping weight of activation ranges, chosen by the error of the model's output on samples that did not set them.

Ranges of least error weigh rounding against clipping (:mod:`tasks.numerics.minimal_error`). For the output of a model
the two differ: rounding errors are independent and average out in the layers behind; clipping errors have one sign, and
are rare, so that few samples lose most. How much more they count depends on the network. So the samples are parted into
two folds: ranges from the statistics of one fold are tried on the other, with each clipping weight.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, log10

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.inference import Sample, compile_for_samples, infer, one_sample_at_a_time, whole_inputs
from tasks.algorithms.ranges import estimate_parameters
from tasks.errors import InputError
from tasks.graph.edits import insert_quantizers
from tasks.graph.joining import share_inputs
from tasks.graph.parts import show_parts
from tasks.graph.placement import QuantizerSetup, Role
from tasks.graph.presets import Scheme
from tasks.numerics.statistics import Statistics, TensorStatistic

CLIPPING_WEIGHTS = (1.0, 4.0, 16.0, 64.0)
FOLDS = 2
# Most values of all sketches of a tensor that an estimate uses here; all trials use the same ones.
_MOST_VALUES = 65_536


@dataclass(frozen=True)
class ClippingWeight:
    """The clipping weight, and how it was chosen.

    Attributes:
        factor: The clipping weight: how much more clipping errors count than rounding errors.
        sqnr_db: SQNR of the output in dB with each of CLIPPING_WEIGHTS; () if none was tried. Only activations are
            quantized for it. Of several outputs, the ratios of noise to signal are averaged.
    """

    factor: float
    sqnr_db: tuple[float, ...] = ()


def choose_clipping_weight(
    model: ov.Model,
    setup: QuantizerSetup,
    statistics: Statistics,
    scheme: Scheme,
    places: Sequence[int],
    samples: Mapping[int, Sample],
    *,
    threads: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> ClippingWeight:
    """The clipping weight with which the outputs of a model with quantized activations are nearest to float.

    It is 1 for a model with a state, for fewer than two samples, and if the models select different numbers of things.

    Args:
        model: The float model.
        setup: Its quantizers.
        statistics: The statistics of its tensors.
        scheme: How it is quantized.
        places: Rows of the statistics that may set ranges.
        samples: Some of the samples, by row.
        threads: Number of threads; None for all that the process may use.
        advance: Called after each sample.
    """
    points = tuple(point for point in setup.points if point.role == Role.ACTIVATIONS)
    if model.get_sinks() or len(places) < FOLDS or not samples:
        return ClippingWeight(CLIPPING_WEIGHTS[0])
    noise: list[NDArray[np.float64]] = []
    for fold in range(FOLDS):
        others = [place for number, place in enumerate(places) if number % FOLDS != fold]
        tried = [samples[place] for place in places[fold::FOLDS] if place in samples]
        if tried:
            rows = _Rows(statistics, others)
            try:
                noise += _energies(model, replace(setup, points=points), rows, scheme, tried, threads, advance)
            except InputError:
                # Each model runs alone, but they select different numbers of things, such as detections.
                return ClippingWeight(CLIPPING_WEIGHTS[0])
    energies = np.array([each for each in noise if np.isfinite(each).all()])
    if not energies.size:
        return ClippingWeight(CLIPPING_WEIGHTS[0])
    # (outputs, 1 + weights): the signal, then the error with each clipping weight. Silent outputs do not count.
    signal, *lost = (total := energies.sum(axis=0))[total[:, 0] > 0].T
    if not signal.size:
        return ClippingWeight(CLIPPING_WEIGHTS[0])
    ratios = [float(np.mean(each / signal)) for each in lost]
    return ClippingWeight(
        CLIPPING_WEIGHTS[int(np.argmin(ratios))], tuple(-10 * log10(ratio) if ratio else inf for ratio in ratios)
    )


class _Rows(Mapping[str, TensorStatistic]):
    """The statistics of some of the samples; a tensor is read when it is asked for."""

    def __init__(self, statistics: Statistics, places: Sequence[int]) -> None:
        self._statistics, self._places = statistics, places

    def __getitem__(self, tensor: str) -> TensorStatistic:
        return self._statistics[tensor].take(self._places, _MOST_VALUES)

    def __iter__(self) -> Iterator[str]:
        return iter(self._statistics)

    def __len__(self) -> int:
        return len(self._statistics)


def _energies(
    model: ov.Model,
    setup: QuantizerSetup,
    statistics: Statistics,
    scheme: Scheme,
    samples: Sequence[Sample],
    threads: int | None,
    advance: Callable[[], None],
) -> list[NDArray[np.float64]]:
    """For each sample the energy of every output, and of its error with each clipping weight: (outputs, 1 + tries)."""
    tried = []
    for clipping_weight in CLIPPING_WEIGHTS:
        quantized = model.clone()
        parameters = estimate_parameters(
            quantized, setup, statistics, scheme, frozenset(), clipping_weight=clipping_weight
        )
        insert_quantizers(quantized, setup.points, parameters)
        tried.append(quantized)
    compiled = compile_for_samples(_compared(model, tried, whole_inputs(model, samples[0])), threads, snippets=False)
    rows: dict[int, NDArray[np.float64]] = {}

    def receive(number: int, outputs: list[NDArray[np.float32]]) -> None:
        energies = np.square(np.array(outputs, np.float64))
        rows[number] = energies.reshape(1 + len(CLIPPING_WEIGHTS), -1).T
        advance()

    return [rows[number] for number in range(infer(compiled, samples, receive))]


def _compared(model: ov.Model, others: Sequence[ov.Model], whole: tuple[str, ...]) -> ov.Model:
    """One model that gives the norm of each real output of ``model``, then of the errors of the others' outputs."""
    first, *rest = (show_parts(one_sample_at_a_time(each, whole)) for each in (model, *others))
    real = [place for place, output in enumerate(first.outputs) if output.get_element_type().is_real()]
    signals = [first.get_results()[place].input_value(0) for place in real]
    parts = list(signals)
    for other in rest:
        share_inputs(first, other)
        found = [other.get_results()[place].input_value(0) for place in real]
        parts += [ops.subtract(ours, theirs).output(0) for ours, theirs in zip(found, signals, strict=True)]
    norms = [ops.reduce_l2(part, np.arange(part.get_partial_shape().rank.get_length())) for part in parts]
    return ov.Model(norms, first.get_parameters(), "cautions")
