"""The rule by which the alias of a registered model moves to a new INT8 model."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from tasks.errors import did_you_mean
from tasks.records import Promotion

_SPEED = ("latency_ms", "throughput_fps")
# What the float model reaches when compared with itself.
_OF_ITSELF = {"agreement": 100.0, "cosine": 1.0}

Metrics = Mapping[str, Mapping[str, float | None]]


def _free(alias: str) -> str:
    """The alias, unless MLflow reserves it."""
    if re.fullmatch(r"v\d+|latest", alias, re.IGNORECASE):
        raise PydanticCustomError("reserved", "expected an alias that MLflow does not reserve for versions")
    return alias


@dataclass(frozen=True)
class ReleaseOptions:
    """The registered model (none if ``name`` is None), and the rule by which its ``alias`` moves."""

    # MLflow's valid names, less those that need quoting in a URI or a search.
    name: Annotated[str, Field(pattern=r"^[\w.-][\w. -]*$")] | None = None
    alias: Annotated[str, Field(pattern=r"^[\w-]+$"), AfterValidator(_free)] = "champion"
    metric: Annotated[str, Field(min_length=1)] | None = None
    max_drop: Annotated[float, Field(allow_inf_nan=False)] | None = 1.0
    min_speedup: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 1.0


def decide_promotion(metrics: Metrics, options: ReleaseOptions, errors: Collection[str] = ()) -> Promotion | None:
    """Whether the alias moves, and if not, why; None if nothing is registered.

    Args:
        metrics: Metrics of ``float`` and ``int8``.
        options: The registered model and the rule.
        errors: Metrics of which less is better.
    """
    if options.name is None:
        return None
    reasons = [_drop(metrics, options, errors), _slowness(metrics, options.min_speedup)]
    return Promotion(options.name, options.alias, tuple(reason for reason in reasons if reason))


def _drop(metrics: Metrics, options: ReleaseOptions, errors: Collection[str]) -> str:
    if options.max_drop is None:
        return ""
    before, after = metrics["float"], metrics["int8"]
    known = [name for name in after if name not in _SPEED and (before.get(name) is not None or name in _OF_ITSELF)]
    wanted = options.metric or next(iter(known), None)
    if wanted is None:
        return "no metric tells how accurate the models are: the data have no labels, and the outputs are no classes"
    if wanted not in known:
        return f"release.metric '{wanted}' was not measured.{did_you_mean(wanted, known)} Measured: {', '.join(known)}"
    reference, value = before.get(wanted, _OF_ITSELF.get(wanted)), after[wanted]
    if reference is None or value is None:
        return f"{wanted} is not known"
    drop = value - reference if wanted in errors else reference - value
    if drop <= options.max_drop:
        return ""
    return (
        f"{wanted} gets worse by {drop:.4g}, from {reference:.6g} to {value:.6g}; "
        f"release.max_drop is {options.max_drop:g}"
    )


def _slowness(metrics: Metrics, wanted: float | None) -> str:
    if wanted is None:
        return ""
    before, after = (metrics[role].get("throughput_fps") for role in ("float", "int8"))
    if before is None or after is None:
        return f"release.min_speedup is {wanted:g}, and speed was not measured: evaluation.speed_seconds is 0"
    if after >= wanted * before:
        return ""
    return f"throughput is {after / before:.3g} x that of the float model; release.min_speedup is {wanted:g}"
