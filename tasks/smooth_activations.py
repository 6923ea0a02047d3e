"""Step: outliers of activations move into the weights that read them; the model computes the same."""

from dataclasses import dataclass

from tasks.caching import step
from tasks.graph.smoothing import find_smooth_points, read_weights, smooth
from tasks.graph.traversal import nodes_by_name
from tasks.numerics.smoothing import Steps, smoothing_factors
from tasks.records import ArraysRef, ModelRef, Runtime
from tasks.shards import open_statistics
from tasks.store import Store

__all__ = ["SmoothedModel", "Steps", "smooth_activations"]


@dataclass(frozen=True)
class SmoothedModel:
    """The model, and the tensors whose features were divided."""

    model: ModelRef
    tensors: tuple[str, ...] = ()


@step
def smooth_activations(
    model: ModelRef, statistics: tuple[tuple[ArraysRef, ...], ...], steps: Steps, runtime: Runtime
) -> SmoothedModel:
    """Smooth every tensor that products read and whose peaks ``statistics`` hold, where that lowers the error."""
    store = Store(runtime.home)
    smoothed, found = store.open_model(model), open_statistics(store, statistics)
    nodes, tensors = nodes_by_name(smoothed), []
    for point in find_smooth_points(smoothed):
        peaks = found[point.tensor].peaks.get(point.axis) if point.tensor in found else None
        if peaks is None:
            continue
        factors = smoothing_factors(peaks, read_weights(nodes, point), steps)
        if (factors != 1).any():
            smooth(nodes, point, factors)
            tensors.append(point.tensor)
    return SmoothedModel(store.put_model(smoothed, model.name), tuple(tensors)) if tensors else SmoothedModel(model)
