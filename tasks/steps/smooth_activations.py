"""Step: a float model whose outliers of activations moved into weights (SmoothQuant), and which computes the same."""

from dataclasses import dataclass

from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.engine.partial_statistics import open_statistics
from tasks.graph.smoothing import find_smooth_points, read_weights, smooth
from tasks.graph.traversal import nodes_by_name
from tasks.numerics.smoothing import LevelsPerSide, smoothing_factors
from tasks.records import ArraysRef, ModelRef, Runtime

__all__ = ["LevelsPerSide", "SmoothedModel", "smooth_activations"]


@dataclass(frozen=True)
class SmoothedModel:
    """The model, and the names of the tensors whose features were smoothed; without any, the model that came in."""

    model: ModelRef
    tensors: tuple[str, ...] = ()


@step
def smooth_activations(
    model: ModelRef, statistics: tuple[tuple[ArraysRef, ...], ...], steps: LevelsPerSide, runtime: Runtime
) -> SmoothedModel:
    """The float model, with every tensor smoothed where that lowers the expected error of the products that read it.

    Args:
        model: The float model.
        statistics: The shards, in order, of each group of tensors, with the peaks of the tensors to smooth.
        steps: Number of levels of activations and of weights on a side of zero.
        runtime: How the run works; it changes no result.
    """
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
