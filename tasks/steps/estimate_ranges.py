"""Step: from statistics and weights to the FakeQuantize parameters of every quantizer."""

from tasks.algorithms.ranges import estimate_parameters, to_arrays, wanted_quantiles, wants_values
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.engine.partial_statistics import open_statistics
from tasks.graph.placement import QuantizerSetup
from tasks.graph.presets import Scheme
from tasks.graph.saturation import SaturationFix, halved_operations, resolve, smallest_scale
from tasks.records import ArraysRef, ModelRef, Runtime

__all__ = [
    "SaturationFix",
    "Scheme",
    "estimate_ranges",
    "resolve",
    "smallest_scale",
    "wanted_quantiles",
    "wants_values",
]


@step
def estimate_ranges(
    model: ModelRef,
    setup: QuantizerSetup,
    statistics: tuple[tuple[ArraysRef, ...], ...],
    scheme: Scheme,
    saturation_fix: SaturationFix,
    least_scale: float | None,
    target_device: str,
    aligned: tuple[str, ...],
    runtime: Runtime,
    *,
    clipping_weight: float = 1.0,
) -> ArraysRef:
    """The FakeQuantize parameters, (channels,) or (1,) each, float32.

    Args:
        model: The float model.
        setup: Its quantizers.
        statistics: The shards, in order, of each group of tensors (see `open_statistics`).
        scheme: How it is quantized.
        saturation_fix: Operations whose weights use half of their levels, not ``auto``.
        least_scale: Least scale of weights; None for POT's floor of small channels.
        target_device: Name of the target device.
        aligned: Names of operations that read aligned channels; their weights get the saturation fix too.
        runtime: How the run works; it changes no result.
        clipping_weight: Clipping weight of activation ranges with the least error.
    """
    store = Store(runtime.home)
    opened = store.open_model(model)
    rows = open_statistics(store, statistics)
    halved = halved_operations(opened, saturation_fix, target_device, aligned=frozenset(aligned))
    parameters = estimate_parameters(opened, setup, rows, scheme, halved, least_scale, clipping_weight, target_device)
    return store.put_arrays(to_arrays(parameters))
