"""References that travel between steps, and the report: small frozen values that name contents by their digest.

A field with ``compare=False`` says where a content lies or what it is called; only the content itself is an input.
"""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tasks.data.source import Source


@dataclass(frozen=True)
class ModelRef:
    """An OpenVINO model in the store. ``digest`` is the sha256 of its .xml and .bin."""

    name: str = field(compare=False)
    digest: str


@dataclass(frozen=True)
class ArraysRef:
    """Named arrays in the store. ``digest`` is the sha256 of the .safetensors."""

    digest: str


@dataclass(frozen=True)
class DatasetRef:
    """The samples chosen from a data set, in order, each known by the digest of its content.

    Attributes:
        source: Where the samples come from.
        indices: Their numbers in the source.
        available: Number of samples in the source.
        digests: The sha256 of each sample.
        labels: Digest of what is to be predicted (classes, boxes, values); None if nothing is.
        decoding: Digest of the code that decodes files, if ``digests`` are those of files; else empty.
    """

    source: Source = field(compare=False)
    indices: tuple[int, ...] = field(compare=False)
    available: int = field(compare=False)
    digests: tuple[str, ...]
    labels: str | None
    decoding: str = ""

    def __len__(self) -> int:
        return len(self.digests)

    def part(self, start: int, stop: int | None = None) -> "DatasetRef":
        """The samples from ``start`` up to ``stop``, without labels.

        The digest of the labels covers all samples, so it would make equal parts of different subsets differ.

        Args:
            start: Place of the first sample.
            stop: Place after the last sample; None goes to the end.
        """
        chosen = slice(start, stop)
        return replace(self, indices=self.indices[chosen], digests=self.digests[chosen], labels=None)

    def take(self, places: Iterable[int]) -> "DatasetRef":
        """The samples at some places, without labels.

        Args:
            places: Places in this selection, not numbers in the source.
        """
        chosen = tuple(places)
        return replace(
            self,
            indices=tuple(self.indices[place] for place in chosen),
            digests=tuple(self.digests[place] for place in chosen),
            labels=None,
        )

    def shards(self, size: int) -> tuple["DatasetRef", ...]:
        """Consecutive parts of ``size`` samples; the last one may be smaller.

        Args:
            size: Samples in a shard.
        """
        return tuple(self.part(start, start + size) for start in range(0, len(self), size))


@dataclass(frozen=True)
class Runtime:
    """Where and how a run works. Nothing here may change a result, so none of it is part of a cache key."""

    home: Path
    threads: int | None = None
    shard_size: int = 64
    memory_limit: int | None = None
    keep_samples: int = 0
    progress: bool = True
    workers: int | None = None
    address: str | None = None

    @property
    def distributed(self) -> bool:
        """Whether Dask workers collect the shards: those of a scheduler, or processes on this machine."""
        return bool(self.workers or self.address)

    def bytes_a_request(self, execution: "Execution") -> int | None:
        """The most bytes that the observed tensors of one request may take; None without a limit.

        One request runs per thread, and activations that are copied out exist twice.

        Args:
            execution: How samples are inferred.
        """
        if self.memory_limit is None:
            return None
        requests = self.threads or len(os.sched_getaffinity(0))
        return self.memory_limit // requests // (1 if execution.in_place else 2)


@dataclass(frozen=True)
class Execution:
    """How samples are inferred: reductions inside the graph or outside, samples per request. It changes no number."""

    in_place: bool = field(default=True, compare=False)
    batch: int = field(default=1, compare=False)


@dataclass(frozen=True)
class Decision:
    """Whether acceptance kept a model that a step changed.

    Attributes:
        step: The step.
        kept: Whether the changed model was kept.
        before: Output SQNR on the holdout in dB, without the step; None if nothing was judged.
        after: The same with the step.
        skipped: Layers that the step left as they were, and why.
        agreement: Expected top-1 agreement in percent before and after, if the output has classes.
        lost: The part of the outputs that the step would give up for others, and its SQNR before and after.
    """

    step: str
    kept: bool
    before: float | None
    after: float | None
    skipped: tuple[str, ...] = ()
    agreement: tuple[float, float] | None = None
    lost: tuple[str, float, float] | None = None

    @property
    def reason(self) -> str:
        """The decision and its reason, in words."""
        if self.before is None:
            text = f"{self.step} was kept unseen: there was nothing to judge it by"
        elif self.after is None:
            text = f"{self.step} was dropped: output SQNR {self.before:.2f} dB before, not a number after"
        else:
            change = f"output SQNR {self.before:.2f} dB before, {self.after:.2f} dB after, on samples set apart"
            text = f"{self.step} was {'kept' if self.kept else 'dropped'}: {change}"
            if self.lost and not self.kept and self.after >= self.before:
                text += "; it gives up {}: {:.2f} dB before, {:.2f} dB after".format(*self.lost)
            elif self.agreement and not self.kept and self.after >= self.before:
                text += "; expected top-1 agreement {:.2f} % before, {:.2f} % after".format(*self.agreement)
        if self.skipped:
            text += f"; it left {len(self.skipped)} layers alone, {self.skipped[0]}"
        return text


@dataclass(frozen=True)
class Promotion:
    """The registered model that a run adds a version to. ``reasons``, if any, say why its alias does not move."""

    name: str
    alias: str
    reasons: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """The promotion in words."""
        if not self.reasons:
            return f"registered as {self.name}, alias {self.alias}"
        return f"registered as {self.name} without the alias {self.alias}: {'; '.join(self.reasons)}"


@dataclass(frozen=True)
class Stage:
    """The task runs of one step; ``state`` is Cached if none of them was executed."""

    name: str
    seconds: float
    state: str
    runs: int = 1
    cached: int = 0


@dataclass(frozen=True)
class Report:
    """What a run did and found; written as ``report.json``.

    ``metrics`` has the entries ``float`` and ``int8``: accuracy and agreement in percent, ``sqnr_db`` in dB,
    ``latency_ms``, ``throughput_fps``. ``sizes`` are bytes of the .bin and .xml files. ``tuned_layers`` has the error
    of each layer before and after tuning, in units of its output's variance. ``layers`` has for each layer, in
    topological order, ``sqnr_db`` after each step, and the noise and its parts in units of the signal's energy.
    ``quantizer_list`` describes each quantizer (see ``algorithms.quantizers``). ``promotion`` is None if nothing is
    registered. ``warnings`` say why the figures may mean nothing; readers see them first.
    """

    model: str
    metrics: dict[str, dict[str, float | None]]
    sizes: dict[str, dict[str, int]]
    stages: tuple[Stage, ...]
    quantizers: dict[str, int]
    float_operations: tuple[dict[str, str], ...]
    kernels: dict[str, int]
    samples: dict[str, int]
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...] = field(default=())
    tuned_layers: tuple[dict[str, Any], ...] = field(default=())
    layers: tuple[dict[str, Any], ...] = field(default=())
    quantizer_list: tuple[dict[str, Any], ...] = field(default=())
    promotion: Promotion | None = None
    warnings: tuple[str, ...] = field(default=())


def flatten(config: Any) -> dict[str, Any]:
    """Dotted keys and plain values of a configuration, as MLflow's parameters.

    Args:
        config: A frozen dataclass of options.
    """
    flat: dict[str, Any] = {}

    def visit(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                visit(f"{prefix}.{key}" if prefix else key, item)
        elif value and isinstance(value, tuple) and all(isinstance(item, str) for item in value):
            flat[prefix] = f"[{','.join(value)}]"
        else:
            flat[prefix] = str(value) if isinstance(value, Path) else value

    visit("", asdict(config))
    return flat
