"""The configuration of each quantizer: a preset chooses among what the device offers; the user's options go first."""

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum

from tasks.graph.placement import QuantizationPoint, Role
from tasks.numerics.affine import Granularity, Mode, QuantizerConfig
from tasks.numerics.aggregators import Aggregator
from tasks.numerics.estimators import Border, EstimatorPreset, RangeEstimator


class Preset(StrEnum):
    """The trade between speed and accuracy (names are POT's).

    ``performance``: symmetric weights and activations. ``mixed``: symmetric weights, asymmetric activations.
    ``accuracy``: both asymmetric.
    """

    PERFORMANCE = "performance"
    MIXED = "mixed"
    ACCURACY = "accuracy"


@dataclass(frozen=True)
class TensorOptions:
    """The user's options for all weights or all activations; None leaves a value to the device and the preset.

    Attributes:
        bits: Number of bits.
        mode: Symmetric or asymmetric.
        granularity: Per tensor or per channel.
        level_low: Lowest integer level.
        level_high: Highest integer level.
        range_estimator: How ranges are estimated.
    """

    bits: int | None = None
    mode: Mode | None = None
    granularity: Granularity | None = None
    level_low: int | None = None
    level_high: int | None = None
    range_estimator: RangeEstimator = field(default_factory=RangeEstimator)

    @property
    def steps(self) -> int:
        """The number of levels on a side of zero, as far as these options tell."""
        high = 2 ** ((self.bits or 8) - 1) - 1
        given = [abs(level) for level in (self.level_low, self.level_high) if level is not None]
        return max(given, default=high)


@dataclass(frozen=True)
class Scheme:
    """How a whole model is quantized: the preset, and the options for weights and activations."""

    preset: Preset = Preset.PERFORMANCE
    weights: TensorOptions = field(default_factory=TensorOptions)
    activations: TensorOptions = field(default_factory=TensorOptions)

    @property
    def tries_ranges(self) -> bool:
        """Whether the ranges of activations are chosen by trial."""
        return self.activations.range_estimator.preset == EstimatorPreset.AUTO

    @property
    def asymmetric_weights(self) -> bool:
        """Whether weights have zero points."""
        return (self.weights.mode or (self.preset == Preset.ACCURACY and Mode.ASYMMETRIC)) == Mode.ASYMMETRIC

    def with_extremes(self) -> "Scheme":
        """The scheme with activation ranges that hold the extremes of all samples."""
        own = self.activations.range_estimator
        extremes = RangeEstimator(
            min=Border(aggregator=Aggregator.MIN, clipping_value=own.min.clipping_value),
            max=Border(aggregator=Aggregator.MAX, clipping_value=own.max.clipping_value),
        )
        return replace(self, activations=replace(self.activations, range_estimator=extremes))

    def with_default_ranges(self) -> "Scheme":
        """The scheme with the preset and the ranges that POT takes by default."""
        weights, activations = (
            replace(each, range_estimator=RangeEstimator()) for each in (self.weights, self.activations)
        )
        return Scheme(weights=weights, activations=activations)

    def options(self, role: Role) -> TensorOptions:
        """The options for tensors of a role.

        Args:
            role: Weights or activations.
        """
        return self.weights if role == Role.WEIGHTS else self.activations


_WISHES = tuple(item.name for item in fields(TensorOptions) if item.name != "range_estimator")


def choose(point: QuantizationPoint, scheme: Scheme) -> QuantizerConfig:
    """The configuration of a quantizer.

    Of the device's candidates those are kept that have all values the user gave. The preset takes the first of these,
    or the last where it asks for asymmetric quantization. If no candidate has all values, the preset's choice among all
    candidates takes them over. A tensor without channels has one scale in any case, weights of a
    recurrent layer one for each channel.

    Args:
        point: The quantizer.
        scheme: The preset and the user's options.
    """
    options = scheme.options(point.role)
    wishes = {name: value for name in _WISHES if (value := getattr(options, name)) is not None}
    if not point.channel_axes or point.gates:
        wishes.pop("granularity", None)
    matching = [each for each in point.candidates if all(getattr(each, name) == wishes[name] for name in wishes)]
    asymmetric = scheme.preset == Preset.ACCURACY or (scheme.preset == Preset.MIXED and point.role == Role.ACTIVATIONS)
    chosen = (matching or point.candidates)[-1 if asymmetric else 0]
    if matching:
        return chosen
    if "bits" in wishes or "mode" in wishes:
        # The levels of the table belong to its own bits and mode.
        chosen = replace(chosen, level_low=None, level_high=None)
    return replace(chosen, **wishes)
