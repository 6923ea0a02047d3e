"""Observing tensors of a model in one call."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import openvino as ov

from tasks.algorithms.calibration import collect_statistics, compile_observed
from tasks.algorithms.inference import Sample
from tasks.graph.layers import ChannelMean
from tasks.numerics.statistics import Observation, Quantile, TensorStatistic


def observations(
    tensors: Iterable[str],
    quantiles: Mapping[str, tuple[Quantile, ...]] | None = None,
    means: Iterable[ChannelMean] = (),
    *,
    values: bool = False,
) -> tuple[Observation, ...]:
    """One for each tensor, and for each that only ``quantiles`` or ``means`` name."""
    quantiles, means = quantiles or {}, tuple(means)
    names = dict.fromkeys((*tensors, *quantiles, *(mean.tensor for mean in means)))
    return tuple(
        Observation(
            name,
            means=tuple(mean.axis for mean in means if mean.tensor == name),
            quantiles=quantiles.get(name, ()),
            values=values,
        )
        for name in names
    )


def observe(
    model: ov.Model,
    tensors: Iterable[str],
    samples: Sequence[Sample],
    quantiles: Mapping[str, tuple[Quantile, ...]] | None = None,
    means: Iterable[ChannelMean] = (),
    *,
    values: bool = False,
    **options: Any,
) -> dict[str, TensorStatistic]:
    """The statistics of some tensors; ``options`` are those of ``compile_observed``."""
    observed = compile_observed(model, observations(tensors, quantiles, means, values=values), **options)
    return collect_statistics(observed, samples, len(samples), lambda: None)
