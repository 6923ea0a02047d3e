"""Step: the quantized layers that OpenVINO computes in floats all the same."""

import platform

from tasks.algorithms.execution import IN_FLOATS, NOT_CARRIED, Execution, compare_execution
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.engine.partial_statistics import open_statistics
from tasks.graph.devices import find_device
from tasks.graph.placement import QuantizerSetup
from tasks.graph.presets import Scheme
from tasks.records import ArraysRef, ModelRef, Runtime

__all__ = ["IN_FLOATS", "NOT_CARRIED", "Execution", "find_unexecuted"]


@step
def find_unexecuted(
    model: ModelRef,
    setup: QuantizerSetup,
    statistics: tuple[tuple[ArraysRef, ...], ...],
    scheme: Scheme,
    target_device: str,
    runtime: Runtime,
) -> Execution:
    """The layers that run in floats although they are quantized; none where this machine cannot tell of the device.

    Args:
        model: The float model.
        setup: Its quantizers.
        statistics: The shards, in order, of each group of tensors (see `open_statistics`).
        scheme: How to quantize.
        target_device: Name of the target device.
        runtime: How the run works; it changes no result.
    """
    if not find_device(target_device).cpu or platform.machine() != "x86_64":
        return Execution()
    store = Store(runtime.home)
    return compare_execution(store.open_model(model), setup, open_statistics(store, statistics), scheme)
