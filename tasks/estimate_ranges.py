"""Step: statistics become the limits of every FakeQuantize."""

from tasks.algorithms.ranges import estimate_parameters, to_arrays
from tasks.caching import step
from tasks.graph.placement import QuantizerSetup
from tasks.graph.presets import Preset
from tasks.graph.saturation import SaturationFix, halved_operations
from tasks.numerics.statistics import concatenate, from_arrays
from tasks.records import ArraysRef, ModelRef, Runtime
from tasks.store import Store


@step
def estimate_ranges(
    model: ModelRef,
    setup: QuantizerSetup,
    statistics: tuple[ArraysRef, ...],
    preset: Preset,
    saturation_fix: SaturationFix,
    target_device: str,
    runtime: Runtime,
) -> ArraysRef:
    """Estimate the range of every point from the shards of statistics, in order, and from the weights."""
    store = Store(runtime.home)
    float_model = store.open_model(model)
    rows = concatenate([from_arrays(store.open_arrays(shard)) for shard in statistics])
    halved = halved_operations(float_model, saturation_fix, target_device)
    return store.put_arrays(to_arrays(estimate_parameters(float_model, setup, rows, preset, halved)))
