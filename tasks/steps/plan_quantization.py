"""What a run would do to a model, without any data and without changing anything."""

from dataclasses import dataclass

from tasks.algorithms.planning import Cost, estimate_cost
from tasks.algorithms.ranges import wanted_quantiles
from tasks.engine.artifact_store import Store
from tasks.graph.placement import FloatOperation, QuantizationPoint, ignored_matches
from tasks.graph.presets import Scheme, choose
from tasks.graph.scope import IgnoredScope
from tasks.numerics.affine import QuantizerConfig, count_levels
from tasks.records import Execution, ModelRef, Runtime
from tasks.steps.place_quantizers import place_quantizers, require_points


@dataclass(frozen=True)
class PlannedQuantizer:
    """A point with the configuration it would get, and its number of levels."""

    point: QuantizationPoint
    config: QuantizerConfig
    levels: int


@dataclass(frozen=True)
class Plan:
    """Quantizers, what stays float, what each ignored entry matches, and the passes over the data.

    ``cost`` is that of one pass, None where inputs of free shape leave it unknown.
    """

    quantizers: tuple[PlannedQuantizer, ...]
    float_operations: tuple[FloatOperation, ...]
    ignored: tuple[tuple[str, tuple[str, ...]], ...]
    tensors: int
    passes: int
    cost: Cost | None


def plan_quantization(
    model: ModelRef,
    target_device: str,
    model_type: str | None,
    ignored: IgnoredScope,
    scheme: Scheme,
    aligned: bool,
    execution: Execution,
    runtime: Runtime,
) -> Plan:
    """Place quantizers, choose their configurations and measure a few inferences; InputError for an empty placement.

    ``aligned``: what the alignment of channels needs is observed as well.
    """
    placement = require_points(
        place_quantizers.fn(model, target_device, model_type, ignored, runtime), model, target_device
    )
    opened = Store(runtime.home).open_model(model)
    observations = placement.observations(wanted_quantiles(placement.setup, scheme), aligned=aligned)
    return Plan(
        quantizers=tuple(_planned(point, scheme) for point in placement.setup.points),
        float_operations=placement.setup.float_operations,
        ignored=ignored_matches(opened, ignored, target_device=target_device),
        tensors=len(placement.tensors),
        passes=len(placement.groups(observations, runtime.bytes_a_request(execution))),
        cost=estimate_cost(
            opened,
            observations,
            in_place=execution.in_place,
            threads=runtime.threads,
        ),
    )


def _planned(point: QuantizationPoint, scheme: Scheme) -> PlannedQuantizer:
    config = choose(point, scheme)
    return PlannedQuantizer(point, config, count_levels(config, weights=point.role == "weights"))
