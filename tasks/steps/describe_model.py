"""Step: the quantizers of a finished model, and the errors of its weights channel by channel."""

from dataclasses import dataclass

from tasks.algorithms.analysis import channel_errors, quantiles_of_errors
from tasks.algorithms.quantizers import Quantizer, describe_quantizers
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.engine.partial_statistics import open_statistics
from tasks.graph.placement import QuantizerSetup
from tasks.records import ArraysRef, ModelRef, Runtime

__all__ = ["Description", "Quantizer", "describe_model"]


@dataclass(frozen=True)
class Description:
    """The quantizers, and by layer quantiles over its output channels of the relative error of the weights."""

    quantizers: tuple[Quantizer, ...]
    weight_errors: dict[str, tuple[float, ...]]


@step
def describe_model(
    model: ModelRef,
    quantized: ModelRef,
    setup: QuantizerSetup,
    statistics: tuple[tuple[ArraysRef, ...], ...],
    runtime: Runtime,
) -> Description:
    """The description of a quantized model, for people to review.

    Args:
        model: The float model.
        quantized: The quantized model made of it.
        setup: Its quantizers.
        statistics: The shards, in order, of each group of tensors (see `open_statistics`).
        runtime: How the run works; it changes no result.
    """
    store = Store(runtime.home)
    before, after = store.open_model(model), store.open_model(quantized)
    errors = quantiles_of_errors(channel_errors(before, after))
    return Description(describe_quantizers(before, after, setup, open_statistics(store, statistics)), errors)
