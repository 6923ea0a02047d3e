"""Parameters of DefaultQuantization as a user writes them, and their contradictions beyond types and names."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.algorithms.layerwise_tuning import ALL_PARAMETERS, Parameter
from tasks.graph.devices import WIDE_DEVICES
from tasks.graph.presets import Preset, Scheme, TensorOptions
from tasks.graph.saturation import SaturationFix
from tasks.graph.scope import Attribute, IgnoredOperation, IgnoredScope
from tasks.numerics.affine import Mode, QuantizerConfig, count_levels
from tasks.numerics.estimators import DEFAULT_OUTLIER_PROB, QUANTILES, Border, EstimatorPreset, RangeEstimator
from tasks.numerics.statistics import StatisticType
from tasks.records import Execution

Count = Annotated[int, Field(strict=True, ge=1)]
DEVICES = Literal["ANY", "CPU", "CPU_SPR", "GPU", "NPU", "GNA", "GNA3", "GNA3.5"]

FEWEST_BITS, MOST_BITS, WIDE_BITS = 2, 8, 16
# With two levels one side of zero would have none.
FEWEST_LEVELS = 3


@dataclass(frozen=True)
class NamePattern:
    """A regular expression that has to match the full name."""

    re: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class OperationFilter:
    """Operations of a type: all, or those with all these attributes; OpenVINO's names and values."""

    type: Annotated[str, Field(min_length=1)]
    attributes: dict[str, bool | int | float | str | tuple[int | float | str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class IgnoredOptions:
    """What stays float: names (exact, or ``{re: pattern}``) and types of operations."""

    scope: tuple[str | NamePattern, ...] = ()
    operations: tuple[OperationFilter, ...] = ()

    def to_scope(self) -> IgnoredScope:
        """The ignored scope of the core."""
        return IgnoredScope(
            scope=tuple(entry for entry in self.scope if isinstance(entry, str)),
            patterns=tuple(entry.re for entry in self.scope if isinstance(entry, NamePattern)),
            operations=tuple(IgnoredOperation(each.type, _pairs(each.attributes)) for each in self.operations),
        )


@dataclass(frozen=True)
class TuningOptions:
    """How layers are tuned: on how many samples, which parameters, in how many passes, for how many seconds at most."""

    samples: Count | None = None
    parameters: tuple[Parameter, ...] = ALL_PARAMETERS
    ignored: IgnoredOptions = field(default_factory=IgnoredOptions)
    passes: Count | None = None
    seed: Annotated[int, Field(strict=True, ge=0)] = 0
    time_budget: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


@dataclass(frozen=True)
class QuantizationOptions:
    """Parameters of DefaultQuantization in POT's spelling. ``conf/quantization/default.yaml`` explains each."""

    preset: Preset = Preset.PERFORMANCE
    stat_subset_size: Count | None = 300
    stat_batch_size: Count = 1
    shuffle_data: bool = False
    seed: Annotated[int, Field(strict=True, ge=0)] = 0
    target_device: DEVICES = "ANY"
    model_type: Literal["transformer", "auto"] | None = None
    inplace_statistics: bool = True
    ignored: IgnoredOptions = field(default_factory=IgnoredOptions)
    weights: TensorOptions = field(default_factory=TensorOptions)
    activations: TensorOptions = field(default_factory=TensorOptions)
    saturation_fix: SaturationFix = SaturationFix.FIRST_LAYER
    smooth_quant: bool | Literal["auto"] = False
    channel_alignment: bool | Literal["auto"] = True
    cross_layer_equalization: bool | Literal["auto"] = False
    bias_correction: bool = True
    use_fast_bias: bool = True
    threshold: Annotated[float, Field(gt=0)] | None = None
    apply_for_all_nodes: bool = False
    use_layerwise_tuning: bool = False
    layerwise_tuning: TuningOptions = field(default_factory=TuningOptions)
    alternatives: Literal["auto", False] = False
    float_layers: Literal["auto", False] = False
    gate_samples: Annotated[int, Field(strict=True, ge=0)] = 32

    @property
    def scheme(self) -> Scheme:
        """How tensors are quantized."""
        return Scheme(self.preset, self.weights, self.activations)

    @property
    def execution(self) -> Execution:
        """How statistics are collected."""
        return Execution(in_place=self.inplace_statistics, batch=self.stat_batch_size)


def fill_unset(plain: Any, *, trial: bool) -> None:
    """Replace null in a composed configuration where the value depends on whether the run is a trial of a sweep.

    Trials are compared by metrics alone. The best one is repeated without a sweep and finds the rest in the cache.

    Args:
        plain: The configuration as plain values; it is changed.
        trial: Whether the run is a trial.
    """
    values = {
        ("evaluation", "speed_seconds"): 0.0 if trial else 1.0,
        ("evaluation", "analyze"): not trial,
        ("evaluation", "page"): not trial,
        ("runtime", "keep_samples"): "512MiB" if trial else 0,
    }
    for (group, name), value in values.items():
        if isinstance(plain.get(group), dict) and plain[group].get(name, 0) is None:
            plain[group][name] = value


def contradictions(options: QuantizationOptions) -> Iterator[tuple[str, str]]:
    """Every contradiction: its key below ``quantization`` and the problem.

    Args:
        options: Options that have the right types.
    """
    wide = options.target_device in WIDE_DEVICES
    if options.smooth_quant is True and options.model_type != "transformer":
        yield "smooth_quant", f"true needs model_type=transformer; it is {options.model_type or 'null'}"
    for place, entry in enumerate(options.ignored.scope):
        if isinstance(entry, NamePattern) and (reason := _broken(entry.re)):
            yield f"ignored.scope.{place}.re", f"{entry.re!r} is no regular expression: {reason}"
    for section, tensor in (("weights", options.weights), ("activations", options.activations)):
        weights = section == "weights"
        for key, text in (
            *_levels(tensor, weights=weights, wide=wide),
            *_estimator(tensor.range_estimator, weights=weights),
        ):
            yield f"{section}.{key}", text
    if not options.layerwise_tuning.parameters:
        yield "layerwise_tuning.parameters", f"nothing to tune; expected some of {', '.join(ALL_PARAMETERS)}"


def _broken(pattern: str) -> str:
    """The problem with a regular expression; empty if there is none."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as failure:
        return "it goes too deep" if isinstance(failure, RecursionError) else str(failure)
    return ""


def _levels(options: TensorOptions, *, weights: bool, wide: bool) -> Iterator[tuple[str, str]]:
    bits, low, high = options.bits, options.level_low, options.level_high
    if bits is not None and not (FEWEST_BITS <= bits <= MOST_BITS or (wide and bits == WIDE_BITS)):
        yield "bits", f"expected {FEWEST_BITS} to {MOST_BITS}, or {WIDE_BITS} on {', '.join(WIDE_DEVICES)}; got {bits}"
        return
    if low is None and high is None:
        return
    # Without a mode the preset decides; symmetric, the default, leaves the fewest levels.
    config = QuantizerConfig(
        bits or (WIDE_BITS if wide else MOST_BITS), options.mode or Mode.SYMMETRIC, level_low=low, level_high=high
    )
    levels, key = count_levels(config, weights=weights), "level_high" if low is None else "level_low"
    if low is not None and high is not None and low >= high:
        yield "level_low", f"expected less than level_high {high}, got {low}"
    elif levels > 2**config.bits:
        yield key, f"{levels} levels do not fit {config.bits} bits, which have {2**config.bits}"
    elif low is not None and low > 0:
        yield "level_low", f"expected 0 or less, so that zero is a level; got {low}"
    elif high is not None and high <= 0:
        yield "level_high", f"expected more than 0, got {high}"
    elif levels < FEWEST_LEVELS:
        yield key, f"expected at least {FEWEST_LEVELS} levels, got {levels}"


def _estimator(estimator: RangeEstimator, *, weights: bool) -> Iterator[tuple[str, str]]:
    by_preset = estimator.preset == EstimatorPreset.QUANTILE
    if estimator.preset.minimises_error:
        yield from _needless(estimator)
        return
    for name, border in (("min", estimator.min), ("max", estimator.max)):
        key = f"range_estimator.{name}"
        probability = border.outlier_prob
        takes_quantile = border.type in QUANTILES or (border.type is None and by_preset)
        if probability is not None and not 0 < probability < 0.5:
            yield f"{key}.outlier_prob", f"expected a number between 0 and 0.5, got {probability}"
        elif probability is None and border.type in QUANTILES and not by_preset:
            yield f"{key}.outlier_prob", f"type {border.type} needs it, for example 1e-4"
        elif probability is not None and not takes_quantile:
            yield f"{key}.outlier_prob", f"only quantiles have one: set {key}.type or range_estimator.preset"
        if border.clipping_value is not None and not math.isfinite(border.clipping_value):
            yield f"{key}.clipping_value", f"expected a finite number, got {border.clipping_value}"
        if weights and border.aggregator is not None:
            yield f"{key}.aggregator", "weights are no samples: there is nothing to aggregate"
    yield from _order(estimator)


def _needless(estimator: RangeEstimator) -> Iterator[tuple[str, str]]:
    """Keys without effect, because a preset that searches for the borders ignores them."""
    for name, border in (("min", estimator.min), ("max", estimator.max)):
        for key in ("type", "outlier_prob", "aggregator"):
            if getattr(border, key) is not None:
                text = f"range_estimator.preset {estimator.preset} finds the border by its error; expected null"
                yield f"range_estimator.{name}.{key}", text


def _order(estimator: RangeEstimator) -> Iterator[tuple[str, str]]:
    """A lower border that cannot be below the upper one, and bounds that exclude zero."""
    low, high = estimator.min, estimator.max
    by_preset = estimator.preset == EstimatorPreset.QUANTILE
    low_type = low.type or (StatisticType.QUANTILE if by_preset else StatisticType.MIN)
    high_type = high.type or (StatisticType.QUANTILE if by_preset else StatisticType.MAX)
    key = "max" if low.type is None else "min"
    if low.type in (StatisticType.ABS_MAX, StatisticType.ABS_QUANTILE):
        yield "range_estimator.min.type", f"{low.type} is a magnitude, never a lower border; expected min or quantile"
    elif _height(low_type, low, 0) >= _height(high_type, high, 1):
        yield f"range_estimator.{key}.type", f"the lower border ({low_type}) is not below the upper one ({high_type})"
    if low.clipping_value is not None and low.clipping_value > 0:
        yield (
            "range_estimator.min.clipping_value",
            f"expected 0 or less, as a range holds zero; got {low.clipping_value}",
        )
    if high.clipping_value is not None and high.clipping_value <= 0:
        yield "range_estimator.max.clipping_value", f"expected more than 0, got {high.clipping_value}"


def _height(kind: StatisticType, border: Border, quantile_end: int) -> float:
    """The place of a border among a sample's sorted values, from 0 to 1."""
    if kind in QUANTILES:
        return abs(quantile_end - (DEFAULT_OUTLIER_PROB if border.outlier_prob is None else border.outlier_prob))
    return 0.0 if kind == StatisticType.MIN else 1.0


def _pairs(
    attributes: dict[str, bool | int | float | str | tuple[int | float | str, ...]],
) -> tuple[tuple[str, Attribute], ...]:
    return tuple(sorted(attributes.items()))
