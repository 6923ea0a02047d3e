"""Plots of a run by matplotlib: narrow enough for a phone, so that a desktop shows several side by side.

Each plot is an SVG for the page, whose text takes the colour of the page around it, and a PNG for MLflow.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from os.path import commonprefix
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure

from tasks.algorithms.analysis import Analysis, LayerError
from tasks.algorithms.quantizers import Quantizer
from tasks.records import Decision

WIDTH = 4.2
# Rows of a plot that people still read; tables hold the rest.
MOST_ROWS = 30
LONGEST_NAME = 26

# Of text and axes; in the SVG it becomes currentColor.
INK = "#1f2733"
FLOAT, INT8 = "#8a94a6", "#3d7dd8"
PARTS = {
    "weights": "#e0912f",
    "activations": "#3f9d63",
    "inherited": "#8a94a6",
    "execution": "#7d5bd0",
    "mean_shift": "#c2497a",
}
LABELS = {
    "weights": "rounding of weights",
    "activations": "range of its own input",
    "inherited": "inherited",
    "execution": "OpenVINO's kernel",
    "mean_shift": "shift of means",
}
STYLE: Any = {
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of layers may hold a $
    "axes.unicode_minus": False,
}

Metrics = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class Plot:
    """A plot, as the text of an SVG and the bytes of a PNG."""

    svg: str
    png: bytes


def draw(
    metrics: Metrics,
    sizes: Mapping[str, Mapping[str, int]],
    decisions: Sequence[Decision],
    analyses: Mapping[str, Analysis],
    quantizers: Sequence[Quantizer],
    weight_errors: Mapping[str, Sequence[float]],
) -> dict[str, Plot]:
    """Every plot for which there are data, by name. Equal data give equal bytes.

    Args:
        metrics: Metrics by role of the model.
        sizes: Bytes of files by role of the model and suffix.
        decisions: What acceptance decided.
        analyses: Errors of layers after each step.
        quantizers: Quantizers of the INT8 model.
        weight_errors: Relative error of each channel of weights, by layer.
    """
    last = list(analyses.values())[-1].layers if analyses else ()
    observed = [each for each in quantizers if each.maxima]
    with mpl.rc_context(STYLE):
        figures = {
            "accuracy_and_speed": accuracy_and_speed(metrics, sizes),
            "steps": steps(decisions) if any(each.after is not None for each in decisions) else None,
            "layers": layers(analyses) if last else None,
            "losses": losses(last) if last else None,
            "ranges": ranges(observed) if observed else None,
            "weights": weights(weight_errors) if weight_errors else None,
        }
        return {name: _render(name, figure) for name, figure in figures.items() if figure}


def accuracy_and_speed(metrics: Metrics, sizes: Mapping[str, Mapping[str, int]]) -> Figure:
    """Bars of float and INT8, one panel per unit."""
    panels = {
        "accuracy %": {"top1": "top-1", "top5": "top-5", "agreement": "agreement"},
        "samples/s": {"throughput_fps": ""},
        "latency ms": {"latency_ms": ""},
    }
    roles = list(metrics)
    rows: list[tuple[str, list[tuple[str, list[float | None]]]]] = []
    for title, names in panels.items():
        bars = [(label, [metrics[role].get(name) for role in roles]) for name, label in names.items()]
        rows.append((title, [(label, values) for label, values in bars if any(value is not None for value in values)]))
    rows.append(("weights MB", [("", [sizes[role]["bin"] / 1e6 for role in roles if role in sizes])]))
    rows = [(title, bars) for title, bars in rows if bars]
    heights = [sum(1 for _, values in bars for value in values if value is not None) for _, bars in rows]
    figure = Figure((WIDTH, 0.28 * sum(heights) + 0.32 * len(rows) + 0.2), layout="constrained")
    for axes, (title, bars) in zip(_rows(figure, heights), rows, strict=True):
        place, ticks = 0, []
        for label, values in bars:
            for role, color, value in zip(("float", "INT8"), (FLOAT, INT8), values, strict=False):
                if value is None:
                    continue
                drawn = axes.barh(place, value, color=color, height=0.8)
                axes.bar_label(drawn, [f"{value:.0f}" if value >= 1e4 else f"{value:.4g}"], padding=3)
                ticks.append(f"{label} {role}".strip())
                place += 1
        axes.set_yticks(range(place), ticks)
        axes.set_title(title, loc="left")
        axes.invert_yaxis()
        axes.margins(x=0.16)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
    return figure


def steps(decisions: Sequence[Decision]) -> Figure:
    """The output SQNR on the holdout before and after each step, kept or dropped."""
    judged = [each for each in decisions if each.before is not None and each.after is not None]
    figure, axes = _axes(0.42 * len(judged) + 1.1)
    for place, each in enumerate(judged):
        color = PARTS["activations"] if each.kept else PARTS["mean_shift"]
        axes.plot([each.before, each.after], [place, place], color=color, linewidth=3, solid_capstyle="round")
        axes.plot([each.before], [place], "o", color=FLOAT, markersize=5)
        axes.plot([each.after], [place], "o", color=color, markersize=8)
        axes.annotate(
            f"{(each.after or 0) - (each.before or 0):+.2f} dB, {'kept' if each.kept else 'dropped'}",
            (max(each.before or 0, each.after or 0), place),
            (8, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(range(len(judged)), [each.step for each in judged])
    axes.set_ylim(len(judged) - 0.5, -0.5)
    axes.margins(x=0.3)
    axes.set_xlabel("output SQNR dB, samples set apart")
    return figure


def layers(analyses: Mapping[str, Analysis]) -> Figure:
    """SQNR of every layer's output in topological order: bars for the finished model, lines for earlier steps."""
    figure, axes = _axes(3.0)
    names = list(analyses)
    for step, color in zip(names[:-1], (PARTS["mean_shift"], PARTS["weights"], PARTS["inherited"]), strict=False):
        axes.plot(_decibels(analyses[step].layers), drawstyle="steps-mid", color=color, label=step, linewidth=1.2)
    values = _decibels(analyses[names[-1]].layers)
    axes.bar(range(len(values)), values, width=1, color=INT8, alpha=0.75, label=names[-1])
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_xlabel("layers in topological order")
    axes.set_ylabel("SQNR dB")
    figure.legend(loc="outside upper left", ncols=2, fontsize=8)
    return figure


def losses(found: Sequence[LayerError]) -> Figure:
    """The layers with the most noise, and the parts of the noise."""
    worst = sorted((each for each in found if each.signal > 0), key=lambda each: each.sqnr_db)[:MOST_ROWS]
    worst = sorted(worst, key=found.index)
    figure, axes = _axes(0.17 * len(worst) + 1.2)
    left = np.zeros(len(worst))
    for part, color in PARTS.items():
        widths = np.array([100 * getattr(each, part) / each.signal for each in worst])
        axes.barh(range(len(worst)), widths, left=left, color=color, label=LABELS[part], height=0.8)
        left += widths
    _name_rows(axes, [each.layer for each in worst])
    axes.set_xlabel("noise in % of the signal's energy")
    figure.legend(loc="outside upper left", ncols=2, fontsize=8)
    return figure


def ranges(found: Sequence[Quantizer]) -> Figure:
    """Extremes of the samples beside the range, drawn from -1 to 1: the tensors that exceed their range most."""
    scaled = [(each, *_scaled(each)) for each in found]
    worst = sorted(scaled, key=lambda row: -max(row[2].max(), -row[1].min()))[:MOST_ROWS]
    worst = sorted(worst, key=lambda row: found.index(row[0]))
    figure, axes = _axes(0.19 * len(worst) + 1.2)
    for place, (_, minima, maxima) in enumerate(worst):
        for values, color in ((minima, PARTS["weights"]), (maxima, INT8)):
            axes.plot(values[[0, -1]], [place] * 2, color=color, linewidth=1.2)
            axes.plot(values[[1, -2]], [place] * 2, color=color, linewidth=5, solid_capstyle="butt", alpha=0.8)
            axes.plot(values[2], place, "|", color=INK, markersize=6)
    for limit in (-1, 1):
        axes.axvline(limit, color=PARTS["mean_shift"], linewidth=1, linestyle="--")
    _name_rows(axes, [each.tensor.removesuffix(":0") for each, *_ in worst])
    axes.set_xlabel("extremes of each sample, in units of the limits\nthick: 5 % to 95 % of the samples")
    clipped = [each.clipped_values if each.clipped_values is not None else each.clipped_samples for each, *_ in worst]
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(worst)), ["" if each is None else f"{100 * each:.3g} %" for each in clipped], fontsize=7)
    values_known = any(each.clipped_values is not None for each in found)
    axes.set_title(f"right: {'values' if values_known else 'samples'} beyond the limits", loc="right", fontsize=8)
    return figure


def weights(errors: Mapping[str, Sequence[float]]) -> Figure:
    """The relative error of weights: one row per layer, its channels from best to worst."""
    names = list(errors)
    if len(names) > 2 * MOST_ROWS:
        worst = sorted(names, key=lambda name: -errors[name][len(errors[name]) // 2])[: 2 * MOST_ROWS]
        names = sorted(worst, key=names.index)
    smallest = 1e-12  # channels without an error
    table = 10 * np.log10(np.maximum(np.array([errors[name] for name in names]), smallest))
    figure, axes = _axes(0.15 * len(names) + 1.2)
    low, high = np.quantile(table, (0.02, 1))
    image = axes.imshow(table, aspect="auto", cmap=_heat(), vmin=low, vmax=max(high, low + 1), interpolation="nearest")
    _name_rows(axes, names)
    axes.set_xticks([0, table.shape[1] - 1], ["best channel", "worst"])
    figure.colorbar(image, ax=axes, location="top", shrink=0.8, label="error of weights in dB of their energy")
    return figure


def _heat() -> ListedColormap:
    """A colour map whose first tone stands out from light and from dark pages."""
    return ListedColormap(mpl.colormaps["inferno"](np.linspace(0.25, 0.97, 128)))


def _scaled(quantizer: Quantizer) -> tuple[Any, Any]:
    """Quantiles of minima and maxima, in units of the limit on their side; of the larger limit if that one is zero."""
    widest = max(abs(quantizer.low), abs(quantizer.high)) or 1.0
    low, high = abs(quantizer.low) or widest, abs(quantizer.high) or widest
    return np.array(quantizer.minima) / low, np.array(quantizer.maxima) / high


def _decibels(found: Sequence[LayerError]) -> Any:
    """SQNR of layers; layers without an error get the best value of the others."""
    values = np.array([each.sqnr_db for each in found])
    finite = values[np.isfinite(values)]
    return np.clip(values, 0, finite.max() if finite.size else 0)


def _rows(figure: Figure, heights: Sequence[int]) -> list[Any]:
    ratios = [height + 0.6 for height in heights]
    return list(figure.subplots(len(heights), 1, squeeze=False, height_ratios=ratios)[:, 0])


def _axes(height: float) -> tuple[Figure, Any]:
    figure = Figure((WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    # One short name, such as an input's, must not keep the others from being shortened.
    shared = _shared([name for name in names if len(name) > LONGEST_NAME])
    axes.set_yticks(range(len(names)), [_short(name.removeprefix(shared)) for name in names], fontsize=7)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _shared(names: Sequence[str]) -> str:
    """The common beginning of all names, up to the last separator; empty for a single name."""
    if len(names) < 2:
        return ""
    shared = commonprefix(names)  # noqa: RUF071 - exporters part names by dots and colons as well
    return shared[: 1 + max(shared.rfind(sign) for sign in "/.:")]


def _short(name: str) -> str:
    """The name without its middle; the number of a block, which tells layers apart, mostly comes early."""
    tail = LONGEST_NAME // 4
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - tail - 3]}...{name[-tail:]}"


def _render(name: str, figure: Figure) -> Plot:
    with warnings.catch_warnings(), mpl.rc_context({"svg.hashsalt": name}):
        # The PNG shows boxes for characters that the font lacks; the page uses the browser's fonts.
        warnings.filterwarnings("ignore", "Glyph")
        svg, png = BytesIO(), BytesIO()
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
        figure.savefig(png, format="png", dpi=150, facecolor="white")
    text = svg.getvalue().decode()
    return Plot(text[text.index("<svg") :].replace(to_hex(INK), "currentColor"), png.getvalue())
