"""Step: bias correction in closed form, from the means in the statistics."""

from dataclasses import dataclass

from tasks.algorithms import bias_correction
from tasks.algorithms.bias_correction import Correction
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.engine.partial_statistics import open_statistics
from tasks.records import ArraysRef, ModelRef, Runtime


@dataclass(frozen=True)
class CorrectedModel:
    """The quantized model, and what became of the bias of each layer."""

    model: ModelRef
    layers: tuple[Correction, ...]

    @property
    def corrected(self) -> tuple[str, ...]:
        """The layers of which some channel was corrected."""
        return tuple(layer.layer for layer in self.layers if layer.corrected)

    @property
    def pooled(self) -> tuple[str, ...]:
        """The layers in front of which all samples lose something alike, whether it was given back or not."""
        return tuple(layer.layer for layer in self.layers if layer.pooled)

    @property
    def skipped(self) -> tuple[str, ...]:
        """The layers that were not, or not wholly, corrected, each with the reason."""
        return tuple(f"{layer.layer}: {layer.reason}" for layer in self.layers if layer.reason)


@step
def correct_biases(
    model: ModelRef,
    quantized: ModelRef,
    statistics: tuple[tuple[ArraysRef, ...], ...],
    left_out: tuple[int, ...],
    threshold: float | None,
    runtime: Runtime,
    *,
    pooled: tuple[str, ...] = (),
    layers: tuple[str, ...] | None = None,
) -> CorrectedModel:
    """The quantized model with corrected biases, without inference (POT: FastBiasCorrection).

    Args:
        model: The float model.
        quantized: The quantized model made of it.
        statistics: The shards, in order, of each group of tensors (see `open_statistics`).
        left_out: Rows of samples that do not count.
        threshold: A channel whose bias would change by this times its value or more keeps it; None corrects all.
        runtime: How the run works; it changes no result.
        pooled: Names of the layers to give back what all samples lose alike in the activations in front of them.
        layers: Names of the layers to correct; None for all.
    """
    store = Store(runtime.home)
    corrected = store.open_model(quantized)
    corrections = bias_correction.correct_biases(
        store.open_model(model),
        corrected,
        open_statistics(store, statistics),
        left_out=left_out,
        threshold=threshold,
        pooled=pooled,
        only=layers,
    )
    return CorrectedModel(store.put_model(corrected, quantized.name), corrections)
