"""Step: the quantizers of an INT8 model as they are, and the error of its weights channel by channel."""

from dataclasses import dataclass

from tasks.algorithms.analysis import channel_errors, quantiles_of_errors
from tasks.algorithms.quantizers import Quantizer, describe_quantizers
from tasks.caching import step
from tasks.graph.placement import QuantizerSetup
from tasks.records import ArraysRef, ModelRef, Runtime
from tasks.shards import open_statistics
from tasks.store import Store

__all__ = ["Description", "Quantizer", "describe_model"]


@dataclass(frozen=True)
class Description:
    """The quantizers, and of each layer quantiles over its output channels of the relative error of weights."""

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
    """Describe an INT8 model beside the float model it was made of and the statistics (see ``tasks.shards``)."""
    store = Store(runtime.home)
    before, after = store.open_model(model), store.open_model(quantized)
    errors = quantiles_of_errors(channel_errors(before, after))
    return Description(describe_quantizers(before, after, setup, open_statistics(store, statistics)), errors)
