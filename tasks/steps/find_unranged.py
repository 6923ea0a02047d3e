"""Step: the tensors that cannot be quantized, because no sample tells a range."""

from dataclasses import dataclass

from tasks.algorithms.ranges import without_range
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.engine.partial_statistics import open_statistics
from tasks.graph.placement import QuantizerSetup
from tasks.graph.presets import Scheme
from tasks.records import ArraysRef, Runtime

# How the reasons end.
NO_RANGE = "which leaves no range to quantize"


@dataclass(frozen=True)
class Unranged:
    """Operations that stay float, each with the reason, sorted by name."""

    operations: tuple[tuple[str, str], ...] = ()


@step
def find_unranged(
    setup: QuantizerSetup, statistics: tuple[tuple[ArraysRef, ...], ...], scheme: Scheme, runtime: Runtime
) -> Unranged:
    """The operations that stay float, as a tensor they would read quantized has no range; each with the reason.

    Args:
        setup: The quantizers of the model.
        statistics: The shards, in order, of each group of tensors (see `open_statistics`).
        scheme: How to quantize.
        runtime: How the run works; it changes no result.
    """
    reasons = without_range(setup, open_statistics(Store(runtime.home), statistics), scheme)
    found = {
        target: f"{reasons[point.tensor]}, {NO_RANGE}"
        for point in setup.points
        if point.tensor in reasons
        for target in point.targets
    }
    return Unranged(tuple(sorted(found.items())))
