"""What a user sees at the end: float beside INT8, and the place of everything."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.records import Report

# Number of layers in the terminal.
_WORST = 5
# Characters of a layer's name per line.
_LEAST_NAME = 20
# Titles and units of metrics, in the order of tables.
UNITS = {
    "top1": ("top-1", "%"),
    "top5": ("top-5", "%"),
    "agreement": ("top-1 agreement", "%"),
    "expected_agreement": ("expected by margins", "%"),
    "sqnr_db": ("output SQNR", "dB"),
    "cosine": ("cosine similarity", ""),
    "latency_ms": ("latency", "ms"),
    "throughput_fps": ("throughput", "samples/s"),
}
_MOST_ROWS = 24
# Parts of outputs that the terminal shows.
_MOST_PARTS = 6


def print_summary(console: Console, report: Report, places: Mapping[str, str]) -> None:
    """Print the warnings, the table of metrics, what was quantized, the notes and the places.

    Args:
        console: The terminal.
        report: The report.
        places: What lies where, by title.
    """
    print_warnings(console, report.warnings)
    table = metrics_table(f"{report.model}: {_titles(report)}", report.metrics)
    sizes = [size["bin"] for size in report.sizes.values()]
    change = f"{sizes[1] / sizes[0]:.3f} x" if sizes[0] else ""
    table.add_row("weights MB", *(f"{size / 1e6:.3f}" for size in sizes), change)
    console.print(table)
    quantizers = " and ".join(f"{count} of {role}" for role, count in report.quantizers.items())
    kernels = f"; {report.kernels['int8']} of {report.kernels['all']} kernels run in INT8" if report.kernels else ""
    console.print(
        f"Quantizers: {quantizers or 'none'}{kernels}. Left float: {len(report.float_operations)} operations."
    )
    if report.layers:
        console.print(_worst_layers(report))
    for note in report.notes:
        console.print(f"[yellow]Note:[/] {escape(note)}", highlight=False, soft_wrap=True)
    for name, place in places.items():
        if place:
            console.print(f"{name}: {escape(place)}", highlight=False, soft_wrap=True)


def print_warnings(console: Console, warnings: Sequence[str]) -> None:
    """Print what has to be read before any figure.

    Args:
        console: The terminal.
        warnings: Lines to print.
    """
    for warning in warnings:
        console.print(f"[bold red]Warning:[/] {escape(warning)}", highlight=False, soft_wrap=True)


def _titles(report: Report) -> str:
    return " and ".join("INT8" if role == "int8" else role for role in report.metrics)


def _worst_layers(report: Report) -> Table:
    """The layers with the lowest SQNR, right after quantization and at the end, and the parts of the final noise."""
    steps = list(report.layers[0]["steps"])
    table = Table(title=f"layers with the lowest SQNR of {len(report.layers)}", title_justify="left", padding=0)
    table.add_column("", overflow="fold", min_width=_LEAST_NAME)
    ends = {"dB first": steps[0], "dB last": steps[-1]}
    names = {
        "noise": "noise%",
        "weights": "weight",
        "activations": "range",
        "inherited": "inher.",
        "mean_shift": "means",
    }
    for column in (*ends, *names.values()):
        table.add_column(column, justify="right", no_wrap=True)
    judged = [layer for layer in report.layers if steps[-1] in layer["steps"]]
    for layer in sorted(judged, key=lambda layer: float(layer["steps"][steps[-1]]["sqnr_db"]))[:_WORST]:
        decibels = [number_text(layer["steps"].get(step, {}).get("sqnr_db")) for step in ends.values()]
        last = layer["steps"][steps[-1]]
        shares = ["" if last[part] is None else f"{100 * last[part]:.3f}" for part in names]
        table.add_row(escape(layer["name"]), *decibels, *shares)
    return table


def metrics_table(title: str, metrics: Mapping[str, Mapping[str, float | None]]) -> Table:
    """A table with one column per model, and the difference between the last and the first if there are two.

    Args:
        title: Title of the table.
        metrics: Metrics by role of the model.
    """
    table = Table("", title=escape(title), title_justify="left")
    columns = list(metrics)
    for column in columns if len(columns) == 1 else [*columns, "difference"]:
        table.add_column("INT8" if column == "int8" else column, justify="right")
    names = dict.fromkeys(name for values in metrics.values() for name in values)
    parts = {name: (f"SQNR of {name.partition('/')[2]}", "dB") for name in names if name.startswith("sqnr_db/")}
    others = {name: (name, "") for name in names if name not in parts}
    if len(others) > _MOST_ROWS:  # values of single classes are in the report
        others = {name: label for name, label in others.items() if "/" not in name}
    if len(parts) <= _MOST_PARTS:  # more of them are in the report alone
        others |= parts
    for name, (label, unit) in (UNITS | {name: others[name] for name in others if name not in UNITS}).items():
        values = [metrics[column].get(name) for column in columns]
        if any(name in metrics[column] for column in columns):
            difference = [_difference(name, values[0], values[-1])] if len(columns) > 1 else []
            table.add_row(escape(f"{label} {unit}".strip()), *(number_text(value) for value in values), *difference)
    return table


def _difference(name: str, before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return ""
    if name in ("latency_ms", "throughput_fps"):
        return f"{before / after if name == 'latency_ms' else after / before:.2f} x as fast"
    return f"{after - before:+.2f}"


def number_text(value: float | None) -> str:
    """A number with two decimals, a small one with four.

    Args:
        value: The number; None gives an empty text.
    """
    return "" if value is None else f"{value:.4f}" if abs(value) <= 1 else f"{value:.2f}"
