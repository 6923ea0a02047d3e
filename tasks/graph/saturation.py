"""Which weights use half of their levels, so that sums of int8 products do not saturate on CPUs without VNNI or AMX."""

from enum import StrEnum

import openvino as ov

CONVOLUTIONS = {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData"}
_DEVICES = {"ANY", "CPU"}


class SaturationFix(StrEnum):
    """Which operations get it: the first convolutions, every weighted operation, or none."""

    FIRST_LAYER = "first_layer"
    ALL = "all"
    NO = "no"


def halved_operations(
    model: ov.Model, fix: SaturationFix, target_device: str, *, aligned: frozenset[str] = frozenset()
) -> frozenset[str]:
    """Names of the operations whose weights use half of their levels.

    ``first_layer``: every convolution that data, not just their shape, reach from an input without passing another one.
    Operations that read ``aligned`` channels come on top: their weights took up the widths of the channels. Models
    without a convolution and devices other than ANY and CPU have none.
    """
    nodes = model.get_ordered_ops()
    weighted = [node for node in nodes if node.get_type_name() in CONVOLUTIONS | {"MatMul"}]
    has_convolution = any(node.get_type_name() == "Convolution" for node in nodes)
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
                if follower.get_type_name() in CONVOLUTIONS:
                    found.add(name)
                else:
                    waiting.append(follower)
    return found
