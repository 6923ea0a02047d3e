"""The noise of a model's outputs beside what the float model gives: what trials of many variants are compared by."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.algorithms.inference import Sample, infer
from tasks.numerics.metrics import noise_energy, signal_energy


@dataclass(frozen=True)
class Wanted:
    """What the float model gives.

    Attributes:
        outputs: The real outputs of each sample, in order.
        energy: Energy of each output, (outputs,), float64.
    """

    outputs: tuple[list[NDArray[Any]], ...]
    energy: NDArray[np.float64]


def infer_wanted(compiled: ov.CompiledModel, samples: Sequence[Sample], advance: Callable[[], None]) -> Wanted:
    """What a model gives for some samples, all of it in memory.

    Args:
        compiled: The float model.
        samples: The samples, at least one.
        advance: Called after each inference.
    """
    found: dict[int, list[NDArray[Any]]] = {}

    def keep(number: int, outputs: list[NDArray[Any]]) -> None:
        found[number] = [output.copy() for output in _real(outputs)]
        advance()

    infer(compiled, samples, keep)
    wanted = tuple(found[number] for number in range(len(samples)))
    return Wanted(wanted, np.sum([[signal_energy(output) for output in outputs] for outputs in wanted], axis=0))


def relative_noise(
    compiled: ov.CompiledModel, samples: Iterable[Sample], wanted: Wanted, advance: Callable[[], None]
) -> NDArray[np.float64]:
    """The energy of the error of each output over its own, (outputs,); inf for another shape, as of other selections.

    Outputs without energy are left out: relative to nothing no error is small.

    Args:
        compiled: The other model, with the same outputs.
        samples: The samples of ``wanted``.
        wanted: What the float model gives.
        advance: Called after each inference.
    """
    noise = np.zeros((len(wanted.outputs), len(wanted.energy)))

    def compare(number: int, outputs: list[NDArray[Any]]) -> None:
        pairs = zip(wanted.outputs[number], _real(outputs), strict=True)
        noise[number] = [noise_energy(*pair) if pair[0].shape == pair[1].shape else np.inf for pair in pairs]
        advance()

    infer(compiled, samples, compare)
    counted = wanted.energy > 0
    return np.asarray(noise.sum(axis=0)[counted] / wanted.energy[counted])


def _real(outputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    return [output for output in outputs if np.issubdtype(output.dtype, np.floating)]
