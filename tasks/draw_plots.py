"""Step: the plots of a run, as arrays of bytes. matplotlib is imported only when there is something to draw."""

from collections.abc import Mapping

import numpy as np

from tasks.algorithms.analysis import Analysis
from tasks.caching import step
from tasks.describe_model import Description
from tasks.records import ArraysRef, Decision, Runtime
from tasks.store import Store


@step
def draw_plots(
    metrics: Mapping[str, Mapping[str, float | None]],
    sizes: Mapping[str, Mapping[str, int]],
    decisions: tuple[Decision, ...],
    analyses: Mapping[str, Analysis],
    description: Description,
    runtime: Runtime,
) -> ArraysRef:
    """Draw everything; the arrays are bytes called ``<plot>.svg`` and ``<plot>.png``."""
    from tasks.review.plots import draw  # noqa: PLC0415 - most of a second

    plots = draw(metrics, sizes, decisions, analyses, description.quantizers, description.weight_errors)
    files = {f"{name}.svg": plot.svg.encode() for name, plot in plots.items()}
    files |= {f"{name}.png": plot.png for name, plot in plots.items()}
    return Store(runtime.home).put_arrays({name: np.frombuffer(content, np.uint8) for name, content in files.items()})
