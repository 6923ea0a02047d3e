"""``ptq-compare``: two runs side by side: parameters that differ, metrics, and layers by how much they differ."""

import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.commands.ending import failures_told
from flows.commands.flags import parse_with_settings
from flows.commands.preflight import settings
from tasks.errors import InputError
from tasks.tracking.run_lookup import PastRun, find_runs

# Layers that are shown unless more are asked for.
LAYERS = 10
_WIDTH = 60
# Where a run was made says nothing about its result.
_PLACES = ("output_dir", "runtime.home", "runtime.progress", "tracking.")
_TAGS = ("model.digest", "version.", "mlflow.source.git.commit", "release.")


def parse(arguments: Sequence[str]) -> Namespace:
    """The two runs, how many layers, and settings of ``ptq-quantize``. Exits with 2 for other flags."""
    parser = ArgumentParser("ptq-compare", description="Two runs side by side, as MLflow keeps them.")
    parser.add_argument("runs", nargs=2, metavar="RUN", help="a run's id, the beginning of one, or its name")
    parser.add_argument("--layers", type=int, default=LAYERS, help=f"layers to show; default: {LAYERS}")
    return parse_with_settings(parser, arguments, "settings of ptq-quantize: tracking.uri=..., runtime.home=...")


def main() -> None:
    """Compare the runs of the command line: exit code 0 when done, 2 for bad input, 1 for a failure."""
    with failures_told():
        compare(parse(sys.argv[1:]))


def compare(arguments: Namespace) -> None:
    """Print what differs between two runs. Raises InputError for runs that MLflow does not have."""
    config = settings(arguments.overrides)
    if arguments.layers < 0:
        raise InputError(f"--layers: expected a number of layers, got {arguments.layers}")
    first, second = find_runs(tuple(arguments.runs), config.tracking.uri, config.runtime.home)
    console = Console()
    console.print(f"A  {escape(first.label)}\nB  {escape(second.label)}", highlight=False, soft_wrap=True)
    for table in tables(first, second, arguments.layers):
        console.print(table)


def tables(first: PastRun, second: PastRun, layers: int) -> list[Table]:
    """The tables: parameters that differ, metrics, and the ``layers`` layers that differ most."""
    tags = [{key: value for key, value in run.tags.items() if key.startswith(_TAGS)} for run in (first, second)]
    settings = _differing("parameters and versions", {**first.parameters, **tags[0]}, {**second.parameters, **tags[1]})
    found = [settings, _metrics(first.metrics, second.metrics)]
    if layers and first.report.get("layers") and second.report.get("layers"):
        found.append(_layers(first.report["layers"], second.report["layers"], layers))
    return found


def _differing(title: str, first: Mapping[str, str], second: Mapping[str, str]) -> Table:
    table = _table(f"{title} that differ", "A", "B", justify="left")
    for key in _keys(first, second):
        values = first.get(key, ""), second.get(key, "")
        if values[0] != values[1] and not key.startswith(_PLACES):
            table.add_row(escape(key), *(escape(_first_digits(value)) for value in values))
    if not table.row_count:
        table.add_row("none", "", "")
    return table


def _metrics(first: Mapping[str, float], second: Mapping[str, float]) -> Table:
    table = _table("metrics", "A", "B", "B - A")
    for key in _keys(first, second):
        if not key.startswith(("layers/", "system/", "tune_layers/")):
            table.add_row(escape(key), *_row(first.get(key), second.get(key)))
    return table


def _layers(first: Iterable[Mapping[str, Any]], second: Iterable[Mapping[str, Any]], most: int) -> Table:
    """SQNR in dB of the layers of both INT8 models; those that differ most come first."""
    values = [{layer["name"]: list(layer["steps"].values())[-1]["sqnr_db"] for layer in run} for run in (first, second)]
    both = [name for name in values[0] if None not in (values[0][name], values[1].get(name))]
    differing = [name for name in both if values[0][name] != values[1][name]]
    ordered = sorted(differing, key=lambda name: -abs(values[1][name] - values[0][name]))
    counted = f"{min(most, len(ordered))} of {len(ordered)} that differ, of {len(both)}"
    table = _table(f"SQNR dB of layers, {counted}", "A", "B", "B - A")
    for name in ordered[:most]:
        table.add_row(escape(name), *_row(values[0][name], values[1][name]))
    alone = {
        role: [name for name in here if name not in there]
        for role, here, there in (("A", *values), ("B", *reversed(values)))
    }
    table.caption = "\n".join(f"only in {role}: {escape(', '.join(names))}" for role, names in alone.items() if names)
    return table


def _table(title: str, *columns: str, justify: Any = "right") -> Table:
    # As wide as titles and captions, which would be folded otherwise.
    table = Table("", title=title, title_justify="left", caption_justify="left", min_width=_WIDTH)
    table.columns[0].overflow = "fold"
    for column in columns:
        table.add_column(column, justify=justify, overflow="fold")
    return table


def _first_digits(value: str) -> str:
    """The value; of a digest or a commit its first digits, as whole ones would fold the names beside them."""
    return value[:12] if re.fullmatch("[0-9a-f]{40,64}", value) else value


def _keys(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    return sorted({*first, *second})


def _row(first: float | None, second: float | None) -> list[str]:
    difference = "" if first is None or second is None else f"{second - first:+.4g}"
    return [*("" if value is None else f"{value:.6g}" for value in (first, second)), difference]
