"""Float models that compute the same as the user's but quantize otherwise, and what was observed of each."""

from collections.abc import Iterator
from dataclasses import dataclass

from flows.stages import Stages
from flows.workers import for_worker
from tasks.align_channels import AlignedModel, align_channels
from tasks.collect_statistics import Observation, collect_statistics
from tasks.config import QuantizeConfig
from tasks.equalize_layers import EqualizedModel, equalize_layers
from tasks.estimate_ranges import wanted_quantiles, wants_values
from tasks.find_unranged import find_unranged
from tasks.place_quantizers import Placement, place_quantizers, require_points
from tasks.records import ArraysRef, DatasetRef, ModelRef
from tasks.smooth_activations import SmoothedModel, Steps, smooth_activations

Shards = tuple[tuple[ArraysRef, ...], ...]
# Operations, and why each stays float.
LeftFloat = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Variant:
    """A float model, the step that set it apart from the one before it, and what was observed of it."""

    step: str
    aligned: AlignedModel
    placement: Placement
    statistics: Shards

    @property
    def model(self) -> ModelRef:
        """The float model."""
        return self.aligned.model


def find_variants(stages: Stages, config: QuantizeConfig, model: ModelRef, samples: DatasetRef) -> Iterator[Variant]:
    """The model as it is, or as options change it; where they say ``auto``, one after the other.

    Each is observed when it is asked for.
    """
    for step, base in _equalizations(stages, config, model):
        yield from _smoothings(stages, config, step, base, samples)


def _equalizations(stages: Stages, config: QuantizeConfig, model: ModelRef) -> tuple[tuple[str, ModelRef], ...]:
    """The model as it is, with equalized layers, or where both are to be tried and weights share scales, both."""
    options = config.quantization
    asked = options.cross_layer_equalization
    if asked is False or (asked == "auto" and not _place(stages, config, model).shares_scales(options.scheme)):
        return (("", model),)
    equalized: EqualizedModel = stages.run(equalize_layers, model=model, runtime=config.runtime)
    if asked == "auto" and equalized.tensors:
        return ("", model), ("equalize_layers", equalized.model)
    return (("", equalized.model),)


def _smoothings(
    stages: Stages, config: QuantizeConfig, step: str, model: ModelRef, samples: DatasetRef
) -> Iterator[Variant]:
    options = config.quantization
    smooths = options.smooth_quant is not False and options.model_type == "transformer"
    placement = _place(stages, config, model) if smooths else None
    if placement is None or not placement.smoothable:
        yield from _alignments(stages, config, step, model, samples)
        return
    if options.smooth_quant == "auto":
        yield from _alignments(stages, config, step, model, samples)
    statistics = _collect(stages, config, model, placement, placement.peaks(), samples)
    steps = Steps(options.weights.steps, options.activations.steps)
    smoothed: SmoothedModel = stages.run(
        smooth_activations, model=model, statistics=statistics, steps=steps, runtime=config.runtime
    )
    if smoothed.tensors or options.smooth_quant != "auto":
        yield from _alignments(stages, config, _then(step, "smooth_activations"), smoothed.model, samples)


def _alignments(
    stages: Stages, config: QuantizeConfig, step: str, model: ModelRef, samples: DatasetRef
) -> Iterator[Variant]:
    """The model as it is, with aligned channels, or where both are to be tried, both."""
    options = config.quantization
    asked = options.channel_alignment
    placement, statistics, unranged = _observe(stages, config, model, samples)
    if asked is not True or not placement.alignable:
        yield Variant(step, AlignedModel(model), placement, statistics)
    if asked is False or not placement.alignable:
        return
    aligned: AlignedModel = stages.run(align_channels, model=model, statistics=statistics, runtime=config.runtime)
    placement = _place(stages, config, aligned.model, unranged)
    if aligned.statistics:
        statistics += ((aligned.statistics,),)
    # Neither quantiles of a whole tensor nor some sketches follow from those of its channels.
    wanted = wanted_quantiles(placement.setup, options.scheme)
    lost = tuple(
        each
        for each in placement.observations(wanted, values=wants_values(options.scheme))
        if each.tensor in aligned.tensors and (each.quantiles or (each.values and each.tensor in aligned.unsketched))
    )
    if lost:
        statistics += _collect(stages, config, aligned.model, placement, lost, samples)
    yield Variant(_then(step, "align_channels") if asked == "auto" else step, aligned, placement, statistics)


def _then(step: str, other: str) -> str:
    """The name of what two steps made."""
    return f"{step} and {other}" if step else other


def _observe(
    stages: Stages, config: QuantizeConfig, model: ModelRef, samples: DatasetRef
) -> tuple[Placement, Shards, LeftFloat]:
    """Where the model is quantized, what was observed of it, and what stays float as the samples tell no range."""
    options = config.quantization
    unranged: LeftFloat = ()
    observed: tuple[Observation, ...] = ()
    statistics: Shards = ()
    while True:
        placement = _place(stages, config, model, unranged)
        observations = placement.observations(
            wanted_quantiles(placement.setup, options.scheme),
            values=wants_values(options.scheme),
            aligned=options.channel_alignment is not False,
        )
        fresh = tuple(each for each in observations if each not in observed)
        statistics += _collect(stages, config, model, placement, fresh, samples) if fresh else ()
        observed += fresh
        found: LeftFloat = stages.run(
            find_unranged,
            setup=placement.setup,
            statistics=statistics,
            scheme=options.scheme,
            runtime=config.runtime,
        )
        if not found:
            return placement, statistics, unranged
        # Without these operations others may be quantized elsewhere.
        unranged += found


def _place(stages: Stages, config: QuantizeConfig, model: ModelRef, unranged: LeftFloat = ()) -> Placement:
    options = config.quantization
    placement: Placement = stages.run(
        place_quantizers,
        model=model,
        target_device=options.target_device,
        model_type=options.model_type,
        ignored=options.ignored.to_scope(),
        left_float=unranged,
        runtime=config.runtime,
    )
    return require_points(placement, model, options.target_device)


def _collect(
    stages: Stages,
    config: QuantizeConfig,
    model: ModelRef,
    placement: Placement,
    observations: tuple[Observation, ...],
    samples: DatasetRef,
) -> Shards:
    """Observe the samples shard by shard, in one pass or, under a limit of memory, in several."""
    run, execution = config.runtime, config.quantization.execution
    groups = placement.groups(observations, run.bytes_a_request(execution))
    shards = samples.shards(run.shard_size)
    calls = [
        {"model": model, "observations": group, "shard": shard, "execution": execution, "runtime": run}
        for group in groups
        for shard in shards
    ]
    found = stages.map(
        collect_statistics,
        [for_worker(call) for call in calls] if run.distributed else calls,
        [len(shard) for _ in groups for shard in shards],
        submit=run.distributed,
    )
    return tuple(tuple(found[start : start + len(shards)]) for start in range(0, len(found), len(shards)))
