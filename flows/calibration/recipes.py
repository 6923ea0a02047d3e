"""What is tried on the way to an INT8 model, as data: each recipe is one way to make it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

from tasks.config.options import QuantizationOptions
from tasks.steps.estimate_ranges import SaturationFix, Scheme
from tasks.steps.place_quantizers import Placement

ModelType = Literal["transformer"] | None


@dataclass(frozen=True)
class Recipe:
    """One way to make an INT8 model.

    ``name`` joins the steps that set it apart from the first recipe that is tried; it is empty for that one.
    ``equalize``, ``smooth`` and ``align`` say which steps change the float model before it is quantized.
    ``scheme`` is how tensors are quantized. ``clipping_weight`` is what the squared error of a value cut off counts, in
    units of that of a rounded one; ranges of least error alone depend on it.
    """

    name: str
    model_type: ModelType
    saturation_fix: SaturationFix
    scheme: Scheme = field(default_factory=Scheme)
    equalize: bool = False
    smooth: bool = False
    align: bool = False
    clipping_weight: float = 1.0


@dataclass(frozen=True)
class Traits:
    """What of a model decides which recipes make sense.

    ``shares_scales``: weights of several channels share a scale. ``smoothable``: products read features that can be
    divided. ``alignable``: layers follow each other directly, so that their channels can be aligned.
    """

    shares_scales: bool
    smoothable: bool
    alignable: bool


def traits_of(placement: Placement, scheme: Scheme) -> Traits:
    """The traits of a model whose quantizers are placed."""
    return Traits(placement.shares_scales(scheme), bool(placement.smoothable), bool(placement.alignable))


def find_recipes(
    options: QuantizationOptions, traits: Traits, model_type: ModelType, saturation_fix: SaturationFix
) -> tuple[Recipe, ...]:
    """Every recipe that the options ask for and that the model has a use for; what is plainest comes first.

    Where an option says ``auto``, both ways are tried, each with both ways of the others.
    """
    smooth = options.smooth_quant if model_type == "transformer" else False
    equalizable = traits.shares_scales or options.cross_layer_equalization is True
    ways = {
        "equalize_layers": tuple(_ways(options.cross_layer_equalization, possible=equalizable)),
        "smooth_activations": tuple(_ways(smooth, possible=traits.smoothable)),
        "align_channels": tuple(_ways(options.channel_alignment, possible=traits.alignable)),
    }
    return tuple(
        Recipe(
            _name(ways, (equalize, smooth, align)), model_type, saturation_fix, options.scheme, equalize, smooth, align
        )
        for equalize, smooth, align in product(*ways.values())
    )


def default_recipe(options: QuantizationOptions, traits: Traits, saturation_fix: SaturationFix) -> Recipe:
    """The recipe of ``quantization=default`` with the bits, levels and granularities that the options ask for.

    What is chosen by trial is held against it, so that no choice ends below what a user has without any.
    """
    return Recipe(
        "recipe of the default",
        None,
        saturation_fix,
        options.scheme.with_default_ranges(),
        align=options.channel_alignment is not False and traits.alignable,
    )


def _ways(asked: bool | Literal["auto"], *, possible: bool) -> Iterator[bool]:
    """Without and with a step, as far as that is asked for and possible."""
    if asked is not True or not possible:
        yield False
    if asked is not False and possible:
        yield True


def _name(ways: dict[str, tuple[bool, ...]], chosen: tuple[bool, ...]) -> str:
    """The steps of a recipe that others do without."""
    taken = zip(ways.items(), chosen, strict=True)
    return " and ".join(step for (step, each), on in taken if on and len(each) > 1)
