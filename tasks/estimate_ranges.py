"""Step: statistics become the limits of every FakeQuantize."""

from tasks.algorithms.ranges import estimate_parameters, to_arrays, wanted_quantiles, wants_values
from tasks.caching import step
from tasks.graph.placement import QuantizerSetup
from tasks.graph.presets import Scheme
from tasks.graph.saturation import SaturationFix, halved_operations, resolve, smallest_scale
from tasks.records import ArraysRef, ModelRef, Runtime
from tasks.shards import open_statistics
from tasks.store import Store

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
    caution: float = 1.0,
) -> ArraysRef:
    """Estimate the range of every point from the statistics and from the weights.

    ``statistics`` are the shards, in order, of each group of tensors (see :func:`~tasks.shards.open_statistics`).
    ``aligned`` are the operations behind aligned channels: their weights get the saturation fix too. ``least_scale`` is
    that of weights, None for POT's floor of small channels, ``caution`` what errors of values cut off count.
    """
    store = Store(runtime.home)
    opened = store.open_model(model)
    rows = open_statistics(store, statistics)
    halved = halved_operations(opened, saturation_fix, target_device, aligned=frozenset(aligned))
    parameters = estimate_parameters(opened, setup, rows, scheme, halved, least_scale, caution, target_device)
    return store.put_arrays(to_arrays(parameters))
