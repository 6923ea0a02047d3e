"""Step: biases make up for the error of quantized weights, from the means that the statistics hold."""

from dataclasses import dataclass

from tasks.algorithms import bias_correction
from tasks.algorithms.bias_correction import Correction
from tasks.caching import step
from tasks.records import ArraysRef, ModelRef, Runtime
from tasks.shards import open_statistics
from tasks.store import Store


@dataclass(frozen=True)
class CorrectedModel:
    """The INT8 model, and what became of the bias of each layer."""

    model: ModelRef
    layers: tuple[Correction, ...]

    @property
    def skipped(self) -> tuple[str, ...]:
        """The layers not or not wholly corrected, each with the reason."""
        return tuple(f"{layer.layer}: {layer.reason}" for layer in self.layers if layer.reason)


@step
def correct_biases(
    model: ModelRef,
    quantized: ModelRef,
    statistics: tuple[tuple[ArraysRef, ...], ...],
    left_out: tuple[int, ...],
    threshold: float | None,
    runtime: Runtime,
) -> CorrectedModel:
    """Correct biases in closed form; nothing is inferred.

    ``statistics`` are the shards, in order, of each group of tensors (see :func:`~tasks.shards.open_statistics`);
    samples ``left_out`` do not count.
    """
    store = Store(runtime.home)
    corrected = store.open_model(quantized)
    layers = bias_correction.correct_biases(
        store.open_model(model), corrected, open_statistics(store, statistics), left_out=left_out, threshold=threshold
    )
    return CorrectedModel(store.put_model(corrected, quantized.name), layers)
