"""The page of a report: one HTML file that loads nothing from outside, and its images for MLflow."""

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from tasks.engine.artifact_store import Store
from tasks.records import ArraysRef, Report, Runtime

_TEMPLATES = Path(__file__).parent
# What a reader looks at first.
_CARDS = {
    "top1": ("top-1", "%"),
    "agreement": ("agreement with float", "%"),
    "sqnr_db": ("output SQNR", "dB"),
    "throughput_fps": ("throughput", "samples/s"),
    "latency_ms": ("latency", "ms"),
}


def render_page(report: Report, manifest: dict[str, Any], plots: ArraysRef, runtime: Runtime) -> str:
    """The page as HTML. Everything that a user named is escaped.

    Args:
        report: The report.
        manifest: See :func:`~tasks.output.files.describe_run`.
        plots: Plots of ``draw_plots``.
        runtime: Has the home of the store.
    """
    arrays = Store(runtime.home).open_arrays(plots)
    drawn = {name: values.tobytes() for name, values in arrays.items() if name.endswith(".svg")}
    drawings = {name.removesuffix(".svg"): content.decode() for name, content in drawn.items()}
    text: str = _template().render(
        report=asdict(report), manifest=manifest, drawings=drawings, cards=_cards(report), steps=_steps(report)
    )
    return text


def plot_images(plots: ArraysRef, runtime: Runtime) -> dict[str, bytes]:
    """The PNG files by name.

    Args:
        plots: Plots of ``draw_plots``.
        runtime: Has the home of the store.
    """
    arrays = Store(runtime.home).open_arrays(plots)
    return {name: values.tobytes() for name, values in arrays.items() if name.endswith(".png")}


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "percent": _percent}
    return environment.get_template("report.html.j2")


def _cards(report: Report) -> list[dict[str, str]]:
    """The figures of the INT8 model, beside those of the float model where it has them."""
    before, after = report.metrics["float"], report.metrics["int8"]
    cards = [
        {"label": label, "value": f"{_number(after[name])} {unit}", "float": _number(before.get(name))}
        for name, (label, unit) in _CARDS.items()
        if after.get(name) is not None
    ]
    if report.sizes:
        sizes = [report.sizes[role]["bin"] / 1e6 for role in ("float", "int8")]
        cards.append({"label": "weights", "value": f"{_number(sizes[1])} MB", "float": _number(sizes[0])})
    return cards


def _steps(report: Report) -> list[str]:
    """The steps after which layers were analysed."""
    return list(dict.fromkeys(step for layer in report.layers for step in layer["steps"]))


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.3g} %"
