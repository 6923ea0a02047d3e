"""Short forms of a placement, for assertions."""

from typing import Any

import openvino as ov

from tasks.graph.placement import QuantizationPoint, Role, place_quantizers


def points(model: ov.Model, **options: Any) -> dict[str, QuantizationPoint]:
    """Points by name."""
    return {point.name: point for point in place_quantizers(model, **options).points}


def activations(model: ov.Model, **options: Any) -> dict[str, tuple[str, ...]]:
    """Consumers by quantized computed tensor."""
    return {
        point.tensor: point.consumers for point in points(model, **options).values() if point.role == Role.ACTIVATIONS
    }


def weights(model: ov.Model, **options: Any) -> dict[str, tuple[int, ...]]:
    """Channel axes by quantized constant."""
    return {
        point.tensor: point.channel_axes for point in points(model, **options).values() if point.role == Role.WEIGHTS
    }


def floats(model: ov.Model, **options: Any) -> dict[str, str]:
    """Reasons by operation that stays float."""
    return {each.name: each.reason for each in place_quantizers(model, **options).float_operations}


def forms(point: QuantizationPoint) -> list[str]:
    """Candidates as ``8 symmetric pertensor``."""
    return [f"{config.bits} {config.mode} {config.granularity}" for config in point.candidates]
