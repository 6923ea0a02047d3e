"""Step: of two ranges of each tensor, the one with which the model's output is nearer to the float one."""

from dataclasses import dataclass

from tasks.algorithms import range_choice
from tasks.algorithms.inference import input_names
from tasks.algorithms.ranges import from_arrays, to_arrays
from tasks.data.source import open_source
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.engine.progress import advance_by_one
from tasks.graph.placement import QuantizerSetup
from tasks.records import ArraysRef, DatasetRef, ModelRef, Runtime

# Most samples to try; every tensor whose ranges differ costs as many inferences.
MOST_SAMPLES = 16


@dataclass(frozen=True)
class ChosenRanges:
    """The FakeQuantize parameters, and the names of the quantizers that got the other ones."""

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
    """The parameters, chosen by trial of one tensor at a time; all samples are in memory.

    Args:
        model: The float model.
        quantized: The quantized model, with ``parameters``.
        setup: The quantizers.
        parameters: FakeQuantize parameters of every quantizer.
        others: Other parameters, which are tried.
        samples: The samples to infer.
        runtime: How the run works; it changes no result.
    """
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
