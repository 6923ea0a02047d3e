"""Step: the plots of a run, as arrays of bytes. matplotlib is imported only if there is something to draw."""

from collections.abc import Mapping

import numpy as np

from tasks.algorithms.analysis import Analysis
from tasks.engine.artifact_store import Store
from tasks.engine.caching import step
from tasks.records import ArraysRef, Decision, Runtime
from tasks.steps.describe_model import Description


@step
def draw_plots(
    metrics: Mapping[str, Mapping[str, float | None]],
    sizes: Mapping[str, Mapping[str, int]],
    decisions: tuple[Decision, ...],
    analyses: Mapping[str, Analysis],
    description: Description,
    runtime: Runtime,
) -> ArraysRef:
    """The plots, as arrays of bytes, uint8, called ``<plot>.svg`` and ``<plot>.png``.

    Args:
        metrics: Metrics by model.
        sizes: Sizes of files in bytes, by model.
        decisions: Whether each step's result was accepted.
        analyses: Errors of layers, by step.
        description: The quantizers and the errors of weights.
        runtime: How the run works; it changes no result.
    """
    from tasks.output.plots import draw  # noqa: PLC0415 - most of a second

    plots = draw(metrics, sizes, decisions, analyses, description.quantizers, description.weight_errors)
    files = {f"{name}.svg": plot.svg.encode() for name, plot in plots.items()}
    files |= {f"{name}.png": plot.png for name, plot in plots.items()}
    return Store(runtime.home).put_arrays({name: np.frombuffer(content, np.uint8) for name, content in files.items()})
