"""Step: the outputs of one model on a data set, its metrics, and how near it is to a reference."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tasks.algorithms.evaluation import (
    classification_metrics,
    collect_rows,
    comparison_metrics,
    compile_alone,
    guessing,
    not_compared,
    sample_outputs,
    stack,
    written_otherwise,
)
from tasks.algorithms.inference import Sample, input_names, whole_inputs
from tasks.algorithms.verification import compile_graph_alone, doubtful_outputs, graph_outputs
from tasks.data.callables import callable_file
from tasks.data.operations import Sizes
from tasks.data.samples import Samples
from tasks.data.source import annotations_of, open_source, sizes_of
from tasks.engine.artifact_store import Store, file_identity
from tasks.engine.caching import step
from tasks.engine.progress import advance_by_one
from tasks.graph.logits import has_logits
from tasks.graph.naming import output_aliases
from tasks.metrics.scoring import Scoring, check_scoring, score
from tasks.records import DatasetRef, Evaluation, ModelRef, Runtime


def scoring_identity(scoring: Scoring | None, dataset: DatasetRef) -> str:
    """A text that changes with the files of the user's own functions.

    Args:
        scoring: The metrics; None for the default ones.
        dataset: The data set they are computed on.

    Raises:
        InputError: The metrics cannot be computed on this data set.
    """
    if scoring is None:
        return ""
    if scoring.metrics:
        check_scoring(scoring, annotations_of(open_source(dataset.source)))
    files = {file for path in scoring.callables() if (file := callable_file(path))}
    return file_identity(*sorted(files))


# Samples for which the graph of a quantized model is computed as well.
_CHECKED = 4


@step
def evaluate_model(
    model: ModelRef,
    dataset: DatasetRef,
    reference: Evaluation | None,
    runtime: Runtime,
    *,
    scoring: Scoring | None = None,
    identity: str = "",
    logits: bool = False,
    check: bool = False,
) -> Evaluation:
    """The metrics of ``scoring``, or without it top-1 and top-5 where there are classes.

    With a reference, SQNR, cosine similarity and agreement are added.

    Args:
        model: The model.
        dataset: The samples to infer.
        reference: Evaluation of the model to compare with; None keeps the outputs, as of a reference.
        runtime: How the run works; it changes no result.
        scoring: The metrics; None for the default ones.
        identity: Changes with the user's own functions (:func:`scoring_identity`).
        logits: Whether outputs count as what a last softmax or sigmoid reads.
        check: Whether to tell which outputs are in doubt, also by what the graph says of the first samples.

    Raises:
        ValueError: The reference was compared itself, so that its outputs were not kept.
    """
    store, samples = Store(runtime.home), open_source(dataset.source)
    opened = store.open_model(model)
    final, logits = reference is not None and not logits, logits and has_logits(opened)
    sizes: list[Sizes] = []
    names = input_names(opened)
    loaded = _loaded(samples, dataset, names, sizes, runtime.keep_samples)
    first_few = list(islice(_loaded(samples, dataset, names, [], runtime.keep_samples), _CHECKED)) if check else []
    compiled = partial(_compiled, opened, model, runtime, logits)
    rows = collect_rows(opened, loaded, advance_by_one(), compiled)
    annotations = annotations_of(samples).take(dataset.indices)
    metrics: dict[str, float | None] = {}
    if scoring is not None and scoring.metrics:
        aliases = output_aliases(opened)
        each = (sample_outputs(rows, place, aliases) for place in range(len(dataset)))
        metrics |= score(scoring, list(each), annotations, sizes)
    first = {name: values[0] for name, values in rows.items()}
    outputs, notes = stack(rows)
    if final:
        again = _loaded(samples, dataset, names, [], runtime.keep_samples)
        notes += written_otherwise(opened, islice(again, 1), first)
    warnings: tuple[str, ...] = ()
    if scoring is None and annotations.labels is not None and dataset.labels is not None:
        metrics |= classification_metrics(outputs, annotations.labels)
        warnings = guessing(outputs, annotations.labels) if reference is None else ()
    if reference is None:
        return Evaluation(metrics, len(dataset), store.put_arrays(outputs), notes, logits, warnings=warnings)
    if reference.outputs is None:
        raise ValueError("the reference was itself compared with a model: its outputs were not kept")
    wanted = store.open_arrays(reference.outputs)
    metrics |= comparison_metrics(wanted, outputs)
    doubts: tuple[str, ...] = ()
    if check:
        graph = partial(compile_graph_alone, opened, threads=runtime.threads)
        doubts = doubtful_outputs(wanted, outputs, graph_outputs(opened, first_few, graph))
    return Evaluation(metrics, len(dataset), None, notes + not_compared(wanted, outputs), logits, doubts=doubts)


# Compiled models: that of the last evaluation, as an accepted model is evaluated right after, and those wanted next.
_Key = tuple[Path, ModelRef, bool, tuple[str, ...], int | None]
_last: dict[_Key, Any] = {}
_ahead: dict[_Key, Future[Any]] = {}


def compile_ahead(models: Sequence[ModelRef], dataset: DatasetRef, runtime: Runtime, *, logits: bool = False) -> None:
    """Start to compile models that are evaluated next, all at once, as to compile one keeps one processor busy.

    Args:
        models: The models.
        dataset: The samples they will infer.
        runtime: How the run works.
        logits: Whether outputs will count as what a last softmax or sigmoid reads.

    Raises:
        InputError: A sample cannot be read.
    """
    _ahead.clear()
    if len(models) < 2 or runtime.threads == 1:
        return
    store, samples = Store(runtime.home), open_source(dataset.source)
    pool = ThreadPoolExecutor(len(models))
    for model in models:
        opened = store.open_model(model)
        first = next(_loaded(samples, dataset, input_names(opened), [], runtime.keep_samples))
        wanted = logits and has_logits(opened)
        key = runtime.home.resolve(), model, wanted, whole_inputs(opened, first), runtime.threads
        _ahead[key] = pool.submit(compile_alone, opened, *key[3:], logits=wanted)
    pool.shutdown(wait=False)


def _compiled(opened: Any, model: ModelRef, runtime: Runtime, logits: bool, whole: tuple[str, ...]) -> Any:
    """The compiled model: that of the last evaluation, one compiled ahead, or a new one."""
    key = runtime.home.resolve(), model, logits, whole, runtime.threads
    if key not in _last:
        ahead = _ahead.pop(key, None)
        compiled = ahead.result() if ahead else compile_alone(opened, *key[3:], logits=logits)
        _last.clear()
        _last[key] = compiled
    return _last[key]


# Samples and their sizes, by digest and names of the inputs; kept for the next model.
_kept: dict[tuple[str, ...], tuple[Sample, Sizes]] = {}


def _loaded(
    samples: Samples, dataset: DatasetRef, names: tuple[str, ...], sizes: list[Sizes], most_bytes: int
) -> Iterator[Sample]:
    """The samples, one at a time; their sizes are added to ``sizes``. As many as ``most_bytes`` hold are kept."""
    used = sum(array.nbytes for sample, _ in _kept.values() for array in sample.values())
    for index, digest in zip(dataset.indices, dataset.digests, strict=True):
        kept = _kept.get((digest, *names))
        if kept is None:
            sample = samples.load(index, names)
            kept = sample, sizes_of(samples, index, sample[names[0]])
            used += sum(array.nbytes for array in sample.values())
            if used <= most_bytes:
                _kept[digest, *names] = kept
        sizes.append(kept[1])
        yield kept[0]
