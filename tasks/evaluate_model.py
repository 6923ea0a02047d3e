"""Step: the outputs of one model on a data set, its accuracy, and how near it is to a reference."""

from tasks.algorithms.evaluation import classification_metrics, collect_outputs, comparison_metrics
from tasks.algorithms.inference import input_names
from tasks.caching import step
from tasks.data.source import open_source
from tasks.progress import advance_by_one
from tasks.records import DatasetRef, Evaluation, ModelRef, Runtime
from tasks.store import Store


@step
def evaluate_model(model: ModelRef, dataset: DatasetRef, reference: Evaluation | None, runtime: Runtime) -> Evaluation:
    """Top-1 and top-5 where there are labels; with a reference also SQNR, cosine similarity and agreement."""
    store, samples = Store(runtime.home), open_source(dataset.source)
    opened = store.open_model(model)
    names = input_names(opened)
    loaded = (samples.load(index, names) for index in dataset.indices)
    outputs, notes = collect_outputs(opened, loaded, advance_by_one(), runtime.threads)
    metrics: dict[str, float | None] = {}
    if samples.labels is not None and dataset.labels is not None:
        metrics |= classification_metrics(outputs, samples.labels[list(dataset.indices)])
    if reference is not None:
        metrics |= comparison_metrics(store.open_arrays(reference.outputs), outputs)
    return Evaluation(metrics, len(dataset), store.put_arrays(outputs), notes)
