"""The configurations of quantization that suit all readers of a tensor."""

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce
from itertools import groupby

from tasks.numerics.affine import Granularity, Mode, QuantizerConfig

Configs = tuple[QuantizerConfig, ...]


def intersect(lists: Iterable[Configs], primary_bits: int) -> Configs:
    """The configurations that all lists have, in the order of the first list.

    Two entries agree if they have the same mode and granularity. Where their bits differ, ``primary_bits`` go first,
    else the smaller number. If the lists have nothing in common, each entry also stands for its weaker forms: per
    tensor instead of per channel, symmetric instead of asymmetric.

    Args:
        lists: The configurations that each reader offers, at least one list.
        primary_bits: Bits that the device prefers.
    """
    return reduce(lambda so_far, other: _common_or_weaker(so_far, other, primary_bits), lists)


def per_tensor(configs: Configs) -> Configs:
    """The entries per tensor; if there are none, the per-tensor form of every entry.

    Args:
        configs: Configurations in the order of the device's table.
    """
    kept = tuple(config for config in configs if config.granularity == Granularity.PERTENSOR)
    return kept or without_channels(configs)


def without_channels(configs: Configs) -> Configs:
    """The per-tensor form of every entry, for a tensor without channels.

    Args:
        configs: Configurations in the order of the device's table.
    """
    return tuple(replace(config, granularity=Granularity.PERTENSOR) for config in configs)


def symmetric(configs: Configs) -> Configs:
    """The symmetric form of every entry. Presets choose the first or the last, which stay first and last.

    Args:
        configs: Configurations in the order of the device's table.
    """
    return tuple(form for form, _ in groupby(replace(config, mode=Mode.SYMMETRIC) for config in configs))


def signed(configs: Configs) -> Configs:
    """The entries, the symmetric ones with levels on both sides of zero also where no value is negative.

    Args:
        configs: Configurations in the order of the device's table.
    """
    ends = ((config, 2 ** (config.bits - 1)) for config in configs)
    return tuple(
        replace(config, level_low=-half, level_high=half - 1) if config.mode == Mode.SYMMETRIC else config
        for config, half in ends
    )


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
