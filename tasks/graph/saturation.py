"""Which weights use half of their levels, so that sums of int8 products do not saturate on CPUs without VNNI or AMX."""

from enum import StrEnum
from pathlib import Path

import openvino as ov

from tasks.graph.layers import PRODUCTS

_CONVOLUTIONS = {"Convolution", "GroupConvolution"}
_DEVICES = {"ANY", "CPU"}

# What Linux calls instructions that sum products of 8-bit integers in 32 bits, on x86 and ARM.
_WIDE_SUMS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
# Two products with activations of up to 255 fit in 16 bits.
_MOST_STEPS = 64
# A scale is a number of the type that the device computes with: it has to be a normal one, multiplied by another too.
_HALF_DEVICES = {"GPU", "NPU"}
_SMALLEST_HALF, _SMALLEST_SINGLE = 2.0**-14, 1e-20


class SaturationFix(StrEnum):
    """Which operations get it: the first convolutions, every weighted operation, none; by what this CPU can do."""

    FIRST_LAYER = "first_layer"
    ALL = "all"
    NO = "no"
    AUTO = "auto"


def resolve(fix: SaturationFix, steps: int = 127, cpuinfo: Path = Path("/proc/cpuinfo")) -> SaturationFix:
    """Replace ``auto``: ``no`` where sums cannot saturate, ``first_layer`` on other CPUs and on unknown ones.

    They cannot on some CPUs, and nowhere with weights of few ``steps`` on a side of zero.
    """
    if fix != SaturationFix.AUTO:
        return fix
    if steps <= _MOST_STEPS:
        return SaturationFix.NO
    known = cpuinfo.read_text(encoding="utf-8", errors="replace").split() if cpuinfo.is_file() else []
    return SaturationFix.FIRST_LAYER if _WIDE_SUMS.isdisjoint(known) else SaturationFix.NO


def smallest_scale(fix: SaturationFix, target_device: str) -> float | None:
    """The least scale that weights may have with ``auto``; None leaves the floor of small channels as it was in POT."""
    if fix != SaturationFix.AUTO:
        return None
    return _SMALLEST_HALF if target_device in _HALF_DEVICES else _SMALLEST_SINGLE


def halved_operations(
    model: ov.Model, fix: SaturationFix, target_device: str, *, aligned: frozenset[str] = frozenset()
) -> frozenset[str]:
    """Names of the operations whose weights use half of their levels; ``fix`` is not ``auto`` any more.

    ``first_layer``: every convolution that data, not just their shape, reach from an input without passing another one;
    transposed ones are passed like any operation. Operations that read ``aligned`` channels come on top: their weights
    took up the widths of the channels. Models without a convolution and devices other than ANY and CPU have none.
    """
    nodes = model.get_ordered_ops()
    weighted = [node for node in nodes if node.get_type_name() in PRODUCTS]
    has_convolution = any(node.get_type_name() in _CONVOLUTIONS for node in nodes)
    if fix == SaturationFix.NO or target_device not in _DEVICES or not has_convolution:
        return frozenset()
    if fix == SaturationFix.ALL:
        return frozenset(node.get_friendly_name() for node in weighted)
    return aligned | _first_convolutions(model)


def _first_convolutions(model: ov.Model) -> set[str]:
    found: set[str] = set()
    seen: set[str] = set()
    waiting: list[ov.Node] = list(model.get_parameters())
    while waiting:
        node = waiting.pop()
        for output in node.outputs():
            for consumer in output.get_target_inputs():
                follower = consumer.get_node()
                name = follower.get_friendly_name()
                if name in seen or follower.get_type_name() == "ShapeOf":
                    continue
                seen.add(name)
                if follower.get_type_name() in _CONVOLUTIONS:
                    found.add(name)
                else:
                    waiting.append(follower)
    return found
