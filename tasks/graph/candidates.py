"""Which configurations suit all consumers of a quantized tensor."""

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce
from itertools import groupby

from tasks.numerics.affine import Granularity, Mode, QuantizerConfig

Configs = tuple[QuantizerConfig, ...]


def intersect(lists: Iterable[Configs], primary_bits: int) -> Configs:
    """The configurations that stand in every list, in the order of the first.

    Entries agree by mode and granularity; of unequal bits ``primary_bits`` wins, else the smaller number. Where nothing
    is common, the entries stand for their weaker forms too: per tensor for per channel, symmetric for asymmetric.
    """
    return reduce(lambda so_far, other: _common_or_weaker(so_far, other, primary_bits), lists)


def per_tensor(configs: Configs) -> Configs:
    """The per-tensor entries, or without any the per-tensor forms of all."""
    kept = tuple(config for config in configs if config.granularity == Granularity.PERTENSOR)
    return kept or without_channels(configs)


def without_channels(configs: Configs) -> Configs:
    """The per-tensor form of every entry, for a tensor that has no channels."""
    return tuple(replace(config, granularity=Granularity.PERTENSOR) for config in configs)


def symmetric(configs: Configs) -> Configs:
    """The symmetric form of every entry; first and last keep their places, which presets choose by."""
    return tuple(form for form, _ in groupby(replace(config, mode=Mode.SYMMETRIC) for config in configs))


def _common_or_weaker(first: Configs, second: Configs, primary_bits: int) -> Configs:
    if first == second:
        return first
    return _common(first, second, primary_bits) or _without_repeats(
        _common(_with_weaker(first), _with_weaker(second), primary_bits)
    )


def _common(first: Configs, second: Configs, primary_bits: int) -> Configs:
    chosen = []
    for config in first:
        same_form = [each for each in second if (each.mode, each.granularity) == (config.mode, config.granularity)]
        if same_form:
            chosen.append(_settle_bits(config, same_form, primary_bits))
    return tuple(chosen)


def _settle_bits(config: QuantizerConfig, others: list[QuantizerConfig], primary_bits: int) -> QuantizerConfig:
    offered = [config, *others]
    if any(each.bits == config.bits for each in others):
        return config
    bits = primary_bits if any(each.bits == primary_bits for each in offered) else min(each.bits for each in offered)
    return next(each for each in offered if each.bits == bits)


def _with_weaker(configs: Configs) -> Configs:
    return _without_repeats(
        form
        for config in configs
        for form in (
            config,
            replace(config, granularity=Granularity.PERTENSOR),
            replace(config, mode=Mode.SYMMETRIC),
            replace(config, granularity=Granularity.PERTENSOR, mode=Mode.SYMMETRIC),
        )
    )


def _without_repeats(configs: Iterable[QuantizerConfig]) -> Configs:
    return tuple(dict.fromkeys(configs))
