"""The saturation fix: weights that use half of their levels, so that sums of int8 products do not saturate.

x86 CPUs without VNNI or AMX add pairs of products in 16 bits, which saturate (POT: ``saturation_fix``).
"""

from enum import StrEnum
from pathlib import Path

import openvino as ov

from tasks.graph.layers import PRODUCTS

_CONVOLUTIONS = {"Convolution", "GroupConvolution"}
_DEVICES = {"ANY", "CPU"}

# Linux's names of instructions that sum products of 8-bit integers in 32 bits, on x86 and ARM.
_WIDE_SUMS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
# With so few levels on a side of zero, two products with activations of up to 255 fit in 16 bits.
_MOST_STEPS = 64
# A scale has to be a normal number of the type that the device computes in, also when multiplied by another scale.
_HALF_DEVICES = {"GPU", "NPU"}
_SMALLEST_HALF, _SMALLEST_SINGLE = 2.0**-14, 1e-20


class SaturationFix(StrEnum):
    """The operations whose weights use half of their levels: the first convolutions, all, or none (names are POT's).

    ``auto`` depends on the CPU (see :func:`resolve`).
    """

    FIRST_LAYER = "first_layer"
    ALL = "all"
    NO = "no"
    AUTO = "auto"


def resolve(fix: SaturationFix, steps: int = 127, cpuinfo: Path = Path("/proc/cpuinfo")) -> SaturationFix:
    """The fix that replaces ``auto``: ``no`` where sums cannot saturate, ``first_layer`` elsewhere and on unknown CPUs.

    Sums cannot saturate on CPUs that sum in 32 bits, nor on any CPU if weights have few levels.

    Args:
        fix: The fix that the user asked for; all but ``auto`` are returned as they are.
        steps: Levels of the weights on a side of zero.
        cpuinfo: File with the flags of the CPU.
    """
    if fix != SaturationFix.AUTO:
        return fix
    if steps <= _MOST_STEPS:
        return SaturationFix.NO
    known = cpuinfo.read_text(encoding="utf-8", errors="replace").split() if cpuinfo.is_file() else []
    return SaturationFix.FIRST_LAYER if _WIDE_SUMS.isdisjoint(known) else SaturationFix.NO


def smallest_scale(fix: SaturationFix, target_device: str) -> float | None:
    """The least scale of weights with ``auto``; None otherwise, which means POT's floor of small channels.

    Args:
        fix: The fix that the user asked for.
        target_device: Name of the target device.
    """
    if fix != SaturationFix.AUTO:
        return None
    return _SMALLEST_HALF if target_device in _HALF_DEVICES else _SMALLEST_SINGLE


def halved_operations(
    model: ov.Model, fix: SaturationFix, target_device: str, *, aligned: frozenset[str] = frozenset()
) -> frozenset[str]:
    """The friendly names of the operations whose weights use half of their levels.

    ``first_layer``: each convolution that data, not just their shape, reach from an input without passing another one;
    transposed convolutions are passed like other operations. Operations that read aligned channels are added, as their
    weights took up the widths of the channels. Models without a convolution, and devices other than ANY and CPU, have
    none.

    Args:
        model: The float model.
        fix: The fix, not ``auto``.
        target_device: Name of the target device.
        aligned: Names of the operations that read aligned channels.
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
