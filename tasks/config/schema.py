"""The composed configuration, checked once: frozen dataclasses come out, or one readable line per problem."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ByteSize, ConfigDict, Field, TypeAdapter, ValidationError

from tasks.config.messages import MISSING, TAGGED, drop_repeats, lines_of
from tasks.config.options import (
    Count,
    IgnoredOptions,
    NamePattern,
    OperationFilter,
    QuantizationOptions,
    TuningOptions,
    contradictions,
    fill_unset,
)
from tasks.data.annotated_files import AnnotatedFiles, Converter
from tasks.data.arrays import Arrays
from tasks.data.custom import Custom
from tasks.data.digits import Digits
from tasks.data.image_folder import ImageFolder
from tasks.data.operations import Operation
from tasks.data.readers import Reader
from tasks.errors import InputError, writable
from tasks.graph.presets import TensorOptions
from tasks.metrics.boxes import Postprocessor
from tasks.metrics.predictions import Adapter, Classification
from tasks.metrics.scoring import Metric, Scoring, out_of_range
from tasks.numerics.estimators import Border, RangeEstimator
from tasks.records import Runtime
from tasks.redaction import forgotten, hidden
from tasks.tracking.client import unknown_scheme
from tasks.tracking.options import TrackingOptions
from tasks.tracking.promotion import ReleaseOptions

T = TypeVar("T", bound="QuantizeConfig")


def _as_dataset(key: str, default: Any, *, _root_: DictConfig) -> Any:
    """The value of ``dataset`` if it is of the same kind as ``validation``; else the default. For conf/validation."""
    return _root_.dataset[key] if _root_.dataset.get("kind") == _root_.validation.kind else default


OmegaConf.register_new_resolver("as_dataset", _as_dataset, replace=True)

_TYPE = Field(discriminator="type")


@dataclass(frozen=True, kw_only=True)
class AnnotatedFilesOptions(AnnotatedFiles):
    """Annotated files, with the keys by which pydantic tells the members of unions apart."""

    annotation: Annotated[Converter, Field(discriminator="converter")] | None = None
    reader: Annotated[Reader, _TYPE] | None = None
    preprocessing: tuple[Annotated[Operation, _TYPE], ...] = ()


AnySource = Annotated[
    Arrays | ImageFolder | Digits | AnnotatedFilesOptions | Custom,
    Field(discriminator="kind"),
]


@dataclass(frozen=True)
class ModelOptions:
    """The float model: a path, or ``pkg://package/file``; ``weights`` if they do not lie beside it."""

    path: Annotated[str, Field(min_length=1)]
    weights: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class EvaluationOptions:
    """How to evaluate the models.

    Attributes:
        subset_size: Validation samples to use; None uses all.
        speed_seconds: How long to measure the speed of each model.
        analyze: Whether to measure the error of every layer.
        page: Whether to draw plots and write ``report.html``.
        allow_broken: Whether to write an INT8 model that computes something wrong.
        adapter: Reads predictions from the outputs.
        postprocessing: What to do with boxes.
        metrics: What to compute; None computes top-1 and top-5.
    """

    subset_size: Count | None = None
    speed_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    analyze: bool = True
    page: bool = True
    allow_broken: bool = False
    adapter: Annotated[Adapter, _TYPE] | None = None
    postprocessing: tuple[Annotated[Postprocessor, _TYPE], ...] = ()
    metrics: tuple[Annotated[Metric, _TYPE], ...] | None = None

    @property
    def scoring(self) -> Scoring | None:
        """The scoring of the core; None without adapter and metrics."""
        if self.metrics is None:
            return None
        return Scoring(self.adapter or Classification(), self.postprocessing, self.metrics)


@dataclass(frozen=True)
class RuntimeOptions(Runtime):
    """Where and how the run works, with the checks of pydantic."""

    threads: Count | None = None
    shard_size: Count = 64
    memory_limit: Annotated[ByteSize, Field(gt=0)] | None = None
    keep_samples: Annotated[ByteSize, Field()] = field(default=ByteSize(0))
    workers: Count | None = None
    address: Annotated[str, Field(pattern=r"^[a-z]+://\S+:[0-9]+$")] | None = None


@dataclass(frozen=True)
class QuantizeConfig:
    """The whole configuration of ``ptq-quantize``."""

    model: ModelOptions
    dataset: AnySource
    validation: AnySource
    output_dir: Path
    quantization: QuantizationOptions = field(default_factory=QuantizationOptions)
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)
    tracking: TrackingOptions = field(default_factory=TrackingOptions)
    release: ReleaseOptions = field(default_factory=ReleaseOptions)
    runtime: RuntimeOptions = field(default_factory=lambda: RuntimeOptions(Path(".ptq")))


@dataclass(frozen=True)
class EvaluateConfig(QuantizeConfig):
    """The whole configuration of ``ptq-evaluate``; ``reference`` is the model to compare with, if any."""

    reference: Annotated[str, Field(min_length=1)] | None = None


OPTION_CLASSES = (
    *TAGGED,
    Arrays,
    ImageFolder,
    Digits,
    AnnotatedFilesOptions,
    Custom,
    ModelOptions,
    QuantizationOptions,
    TuningOptions,
    IgnoredOptions,
    NamePattern,
    OperationFilter,
    TensorOptions,
    RangeEstimator,
    Border,
    EvaluationOptions,
    TrackingOptions,
    ReleaseOptions,
    RuntimeOptions,
    QuantizeConfig,
    EvaluateConfig,
)
for _option_class in OPTION_CLASSES:
    # The core must not know pydantic, so this module makes its option classes refuse unknown keys.
    setattr(_option_class, "__pydantic_config__", ConfigDict(extra="forbid"))  # noqa: B010 - mypy knows no such field

# Kept because making one takes long, and every trial of a sweep is checked twice.
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def from_hydra(composed: DictConfig, config_class: type[T], *, trial: bool = False) -> T:
    """The checked configuration.

    Args:
        composed: What Hydra composed.
        config_class: A configuration class.
        trial: Whether the run is a trial of a sweep (see :func:`~tasks.config.options.fill_unset`).

    Raises:
        InputError: One line per problem: the dotted key, its value, what is allowed, the nearest valid name.
    """
    try:
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as failure:
        raise InputError(_unresolved(failure)) from failure
    if unusable := dict(_unusable("", plain)):
        raise InputError(*drop_repeats(unusable))
    if unknown_secrets := dict.fromkeys(forgotten(plain)):
        given = "*** stands for a secret that was not written down; give it anew"
        raise InputError(*(f"{key}: {given}" for key in unknown_secrets))
    plain = hidden(plain)
    fill_unset(plain, trial=trial)
    try:
        config: T = _adapter(config_class).validate_python(plain)
    except ValidationError as failure:
        raise InputError(*lines_of(failure, plain, OPTION_CLASSES)) from failure
    problems = [f"quantization.{key}: {text}" for key, text in contradictions(config.quantization)]
    if config.evaluation.scoring:
        problems += [f"evaluation.{key}: {text}" for key, text in out_of_range(config.evaluation.scoring)]
    if scheme := unknown_scheme(config.tracking.uri or ""):
        problems.append(f"tracking.uri: {scheme}")
    if problems:
        raise InputError(*problems)
    return config


def _unresolved(failure: OmegaConfBaseException) -> str:
    """The message for a missing value, or for a reference to one."""
    text = str(failure).splitlines()[0]
    if raised := re.match(r"\w+ raised while resolving interpolation: \W*(.*\w)", text):
        text = f"{raised[1][0].lower()}{raised[1][1:]}"  # a missing environment variable or resolver
    key = failure.full_key or "configuration"
    if missing := re.search(r"Missing mandatory value: (\S+\.\S+)", text):
        key = missing[1]  # the key that an interpolation refers to, not its own
    reason = MISSING if "Missing mandatory value" in text else text
    return f"{key}: {reason}, for example {key}=..."


def _unusable(key: str, node: Any) -> Iterator[tuple[str, str]]:
    """Keys and problems of texts: names that nothing can have; an empty path, which means the working directory."""
    if isinstance(node, dict):
        for name, value in node.items():
            inner = f"{key}.{name}" if key else str(name)
            if not writable(inner):
                yield inner, "expected a key without NUL and half characters"
            yield from _unusable(inner, value)
    elif isinstance(node, list):
        for value in node:
            if value != "":
                yield from _unusable(key, value)
    elif node == "":
        yield key, f"{MISSING}, got ''"
    elif isinstance(node, str) and not writable(node):
        yield key, f"expected text without NUL and half characters, got {node!r}"
