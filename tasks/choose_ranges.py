"""Step: of two sets of limits, for each tensor the ones that leave the model's output nearer to the float one."""

from dataclasses import dataclass

from tasks.algorithms import range_choice
from tasks.algorithms.inference import input_names
from tasks.algorithms.ranges import from_arrays, to_arrays
from tasks.caching import step
from tasks.data.source import open_source
from tasks.graph.placement import QuantizerSetup
from tasks.progress import advance_by_one
from tasks.records import ArraysRef, DatasetRef, ModelRef, Runtime
from tasks.store import Store

# Every tensor in question costs as many inferences.
MOST_SAMPLES = 16


@dataclass(frozen=True)
class ChosenRanges:
    """Limits of every FakeQuantize, and the points at which they are not the first ones."""

    parameters: ArraysRef
    changed: tuple[str, ...]


@step
def choose_ranges(
    model: ModelRef,
    quantized: ModelRef,
    setup: QuantizerSetup,
    parameters: ArraysRef,
    others: ArraysRef,
    samples: DatasetRef,
    runtime: Runtime,
) -> ChosenRanges:
    """Try ``others`` in ``quantized``, which has ``parameters``, one tensor at a time; samples stay in memory."""
    store, source = Store(runtime.home), open_source(samples.source)
    opened = store.open_model(model)
    names = input_names(opened)
    chosen, changed = range_choice.choose_ranges(
        opened,
        store.open_model(quantized),
        setup,
        from_arrays(store.open_arrays(parameters)),
        from_arrays(store.open_arrays(others)),
        [source.load(index, names) for index in samples.indices],
        threads=runtime.threads,
        advance=advance_by_one(),
    )
    return ChosenRanges(store.put_arrays(to_arrays(chosen)), changed)
