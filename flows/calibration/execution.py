"""What a run tells of quantized layers that OpenVINO computes in floats all the same."""

from flows.calibration.fit import Fit
from tasks.errors import listing
from tasks.steps.estimate_ranges import Scheme
from tasks.steps.find_unexecuted import IN_FLOATS, NOT_CARRIED

# Names in a note.
_NAMED = 3


def execution_notes(best: Fit) -> tuple[str, ...]:
    """What stays float or is quantized elsewhere, as OpenVINO would compute it in floats, and what it computes so."""
    observed, found = best.observed, best.observed.execution
    layers = [name for name, reason in observed.left_float if reason == IN_FLOATS]
    # A layer that stays float after all reads nothing quantized behind what is in front of it.
    vain = {f"{NOT_CARRIED} to '{name}'" for name in layers}
    carriers = [name for name, reason in observed.left_float if reason.startswith(NOT_CARRIED) and reason not in vain]
    notes = tuple(f"'{name}': {reason}" for name, reason in found.left_float)
    if layers:
        notes += (
            f"{listing(layers, _NAMED)} stay float: OpenVINO computes them in floats, however they are quantized",
        )
    if carriers:
        notes += (f"quantizers stand behind {listing(carriers, _NAMED)}: OpenVINO does not carry int8 through these",)
    if found.by_levels:
        remedy = _remedy(best.recipe.scheme)
        notes += (f"{listing(found.by_levels, _NAMED)} run in floats though quantized: {remedy}",)
    return notes


def _remedy(scheme: Scheme) -> str:
    if scheme.activations.steps != Scheme().activations.steps:
        return "OpenVINO has int8 kernels for activations of 8 bits only"
    if scheme.asymmetric_weights:
        return "OpenVINO has no int8 kernel for asymmetric weights; quantization.preset=mixed has symmetric ones"
    return "OpenVINO has no int8 kernel for asymmetric levels there; quantization.target_device=CPU has symmetric ones"
