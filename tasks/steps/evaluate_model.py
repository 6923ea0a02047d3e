"""Step: the outputs of one model on a data set, its metrics, and how near it is to a reference."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from tasks.algorithms.comparison import Comparison, comparison_metrics, gate_metrics, not_compared, plan_comparison
from tasks.algorithms.evaluation import (
    Outputs,
    classification_metrics,
    collect_rows,
    compile_alone,
    guessing,
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
from tasks.graph.naming import output_aliases
from tasks.graph.parts import Parts, find_parts
from tasks.metrics.scoring import Scoring, check_scoring, score
from tasks.records import ArraysRef, DatasetRef, ModelRef, Runtime


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one model on one data set.

    Attributes:
        metrics: Values by name.
        samples: Number of samples.
        outputs: The outputs, for comparison with another model's; None for a model that was itself compared.
        notes: What is worth knowing.
        parts: The arrays that ``comparison`` names; None for a model that was itself compared.
        comparison: By what other models are compared with this one.
        warnings: Why the metrics may mean nothing.
        doubts: Outputs to verify.
    """

    metrics: dict[str, float | None]
    samples: int
    outputs: ArraysRef | None
    notes: tuple[str, ...] = ()
    parts: ArraysRef | None = None
    comparison: Comparison | None = None
    warnings: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


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
    gate: bool = False,
    alone: bool = False,
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
        gate: Whether only the parts that decide the outputs are inferred and compared (:mod:`tasks.graph.parts`).
        alone: Whether nothing will be compared with this model.
        check: Whether to tell which outputs are in doubt, also by what the graph says of the first samples.

    Raises:
        ValueError: The reference was compared itself, so that its outputs were not kept.
    """
    store = Store(runtime.home)
    inference = _Inference(store.open_model(model), model, dataset, runtime)
    whole = _Whole() if gate else inference.whole(scoring, guess=reference is None)
    if reference is None:
        outputs = None if gate else store.put_arrays(whole.outputs)
        if alone:
            return Evaluation(whole.metrics, len(dataset), outputs, whole.notes, warnings=whole.warnings)
        arrays = whole.outputs if inference.found.as_they_are and not gate else inference.parts()
        comparison = plan_comparison(inference.found, arrays, labels=dataset.labels is not None)
        parts, notes = store.put_arrays(arrays), whole.notes + _selections(comparison)
        return Evaluation(whole.metrics, len(dataset), outputs, notes, parts, comparison, whole.warnings)
    if reference.parts is None or reference.comparison is None:
        raise ValueError("the reference was itself compared with a model: its outputs were not kept")
    wanted, comparison = store.open_arrays(reference.parts), reference.comparison
    if gate:
        arrays = inference.parts(comparison.arrays)
        return Evaluation({**gate_metrics(wanted, arrays, comparison)}, len(dataset), None)
    exact = store.open_arrays(reference.outputs) if reference.outputs else {}
    arrays = whole.outputs if reference.parts == reference.outputs else inference.parts(comparison.arrays)
    metrics = whole.metrics | comparison_metrics((exact, whole.outputs), (wanted, arrays), comparison)
    doubts = inference.doubts(exact, whole.outputs) if check else ()
    notes = whole.notes + inference.written_otherwise(whole.first) + not_compared(exact, whole.outputs)
    return Evaluation(metrics, len(dataset), None, notes, doubts=doubts)


@dataclass(frozen=True)
class _Whole:
    """The outputs of all samples as they are, those of the first one apart, and what follows from them alone."""

    outputs: Outputs = field(default_factory=dict)
    first: Outputs = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Inference:
    """What a model computes of samples."""

    opened: Any
    model: ModelRef
    dataset: DatasetRef
    runtime: Runtime

    @cached_property
    def found(self) -> Parts:
        """The parts by which its outputs are compared."""
        return find_parts(self.opened)

    def whole(self, scoring: Scoring | None, *, guess: bool) -> _Whole:
        """The outputs as they are; ``guess``: whether to warn of a model that guesses."""
        sizes: list[Sizes] = []
        metrics: dict[str, float | None] = {}
        rows = collect_rows(self.opened, self._samples(sizes), advance_by_one(), self._compiled(parts=False))
        annotations = annotations_of(open_source(self.dataset.source)).take(self.dataset.indices)
        if scoring is not None and scoring.metrics:
            aliases = output_aliases(self.opened)
            each = (sample_outputs(rows, place, aliases) for place in range(len(self.dataset)))
            metrics |= score(scoring, list(each), annotations, sizes)
        first = {name: values[0] for name, values in rows.items()}
        outputs, notes = stack(rows)
        warnings: tuple[str, ...] = ()
        if scoring is None and annotations.labels is not None and self.dataset.labels is not None:
            metrics |= classification_metrics(outputs, annotations.labels)
            warnings = guessing(outputs, annotations.labels) if guess else ()
        return _Whole(outputs, first, metrics, notes, warnings)

    def parts(self, names: Sequence[str] = ()) -> Outputs:
        """The parts of the outputs, under these names if they are as many: those that the float model's have."""
        own = [part.label for part in self.found.parts]
        if not own:
            return {}
        called = names if len(names) == len(own) else own
        compiled = self._compiled(parts=True)
        return stack(collect_rows(self.opened, self._samples([]), advance_by_one(), compiled, called))[0]

    def doubts(self, exact: Outputs, outputs: Outputs) -> tuple[str, ...]:
        """The outputs that are to be verified, also by what the graph says of the first samples."""
        graph = partial(compile_graph_alone, self.opened, threads=self.runtime.threads)
        return doubtful_outputs(exact, outputs, graph_outputs(self.opened, list(self._samples([], _CHECKED)), graph))

    def written_otherwise(self, first: Outputs) -> tuple[str, ...]:
        """Notes about outputs that the model's free axes change."""
        return written_otherwise(self.opened, self._samples([], 1), first)

    def _samples(self, sizes: list[Sizes], most: int | None = None) -> Iterator[Sample]:
        source = open_source(self.dataset.source)
        return islice(_loaded(source, self.dataset, input_names(self.opened), sizes, self.runtime.keep_samples), most)

    def _compiled(self, *, parts: bool) -> Callable[[tuple[str, ...]], Any]:
        return partial(_compiled, self.opened, self.model, self.runtime, parts)


def _selections(comparison: Comparison) -> tuple[str, ...]:
    """A note for each output that is not compared place by place."""
    read = {name: [part.label for part in comparison.parts if part.output == name] for name in comparison.selected}
    return tuple(
        f"output '{name}' is what a selection made, which orders ties by chance: what the selection reads is compared"
        + (f": {', '.join(labels)}" if labels else ", as of an output before it")
        for name, labels in read.items()
    )


# Compiled models: that of the last evaluation, as an accepted model is evaluated right after, and those wanted next.
_Key = tuple[Path, ModelRef, bool, tuple[str, ...], int | None]
_last: dict[_Key, Any] = {}
_ahead: dict[_Key, Future[Any]] = {}


def compile_ahead(models: Sequence[ModelRef], dataset: DatasetRef, runtime: Runtime, *, parts: bool = False) -> None:
    """Start to compile models that are evaluated next, all at once, as to compile one keeps one processor busy.

    Args:
        models: The models.
        dataset: The samples they will infer.
        runtime: How the run works.
        parts: Whether the parts of outputs will be compared.

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
        key = runtime.home.resolve(), model, parts, whole_inputs(opened, first), runtime.threads
        _ahead[key] = pool.submit(compile_alone, opened, *key[3:], parts=parts)
    pool.shutdown(wait=False)


def _compiled(opened: Any, model: ModelRef, runtime: Runtime, parts: bool, whole: tuple[str, ...]) -> Any:
    """The compiled model: that of the last evaluation, one compiled ahead, or a new one."""
    key = runtime.home.resolve(), model, parts, whole, runtime.threads
    if key not in _last:
        ahead = _ahead.pop(key, None)
        compiled = ahead.result() if ahead else compile_alone(opened, *key[3:], parts=parts)
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
