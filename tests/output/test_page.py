"""The page of a report: complete without scripts and without a network, whatever things are called."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from flows.reporting.summary import print_summary
from tasks.algorithms.analysis import Analysis, LayerError
from tasks.algorithms.quantizers import Quantizer
from tasks.engine.artifact_store import Store
from tasks.output.page import plot_images, render_page
from tasks.output.plots import MOST_ROWS, Plot, draw
from tasks.records import Decision, Report, Runtime, Stage

HOSTILE = "<script>alert('x')</script> $\\frac$ & 名前"
METRICS: dict[str, dict[str, float | None]] = {
    "float": {"top1": 80.0, "latency_ms": 2.0},
    "int8": {"top1": 79.0, "latency_ms": 1.0, "sqnr_db": 20.0, "cosine": 0.99},
}
SIZES = {"float": {"xml": 10, "bin": 4_000_000}, "int8": {"xml": 10, "bin": 1_000_000}}
DECISIONS = (
    Decision("correct_biases", True, 18.0, 20.0),
    Decision("tune", False, 20.0, 19.0),
    Decision("x", True, None, None),
)
MANIFEST = {"models": {"float": "abc", "int8": "def"}, "packages": {"openvino": "1.2.3"}}


def analysis(count: int, noise: float = 0.01) -> Analysis:
    return Analysis(
        tuple(
            LayerError(f"layer {place}", "MatMul", 1.0, noise, 0.004, 0.003, 0.002, 0.0, 0.001)
            for place in range(count)
        )
    )


def quantizer(name: str, high: float = 1.0) -> Quantizer:
    extremes = (0.5, 0.6, 0.8, 1.5, 2.0)
    return Quantizer(name, f"{name}:0", ("a", "b"), "activations", "256", 1, 0.0, high, 0.1, (0.0,) * 5, extremes, 0.25)


def drawn(count: int = 3, **changes: Any) -> dict[str, Plot]:
    arguments: dict[str, Any] = {
        "metrics": METRICS,
        "sizes": SIZES,
        "decisions": DECISIONS,
        "analyses": {"insert_fake_quantize": analysis(count, 0.02), "correct_biases": analysis(count)},
        "quantizers": [quantizer(f"tensor {place}") for place in range(count)],
        "weight_errors": {f"layer {place}": np.linspace(1e-6, 1e-4, 5).tolist() for place in range(count)},
    }
    return draw(**arguments | changes)


def report(**changes: Any) -> Report:
    layer = {
        "sqnr_db": 20.0,
        "noise": 0.01,
        "weights": 0.004,
        "activations": 0.003,
        "inherited": 0.002,
        "execution": 0.0,
        "mean_shift": 0.0,
    }
    made = Report(
        model=HOSTILE,
        metrics=METRICS,
        sizes=SIZES,
        stages=(Stage("load_model", 0.1, "Completed"), Stage("collect_statistics", 3.0, "Completed", 5, 2)),
        quantizers={"activations": 1},
        float_operations=({"name": "kept/op", "type": "Softmax", "reason": "ignored"},),
        kernels={"all": 3, "int8": 2},
        samples={"calibration": 10},
        decisions=DECISIONS,
        notes=("look here",),
        layers=({"name": HOSTILE, "type": "MatMul", "steps": {"insert_fake_quantize": layer}},),
        quantizer_list=({**vars(quantizer("q")), "clipped_values": None},),
    )
    return replace(made, **changes)


def page(runtime: Runtime, plots: dict[str, Plot], **changes: Any) -> str:
    files = {f"{name}.svg": plot.svg.encode() for name, plot in plots.items()}
    files |= {f"{name}.png": plot.png for name, plot in plots.items()}
    ref = Store(runtime.home).put_arrays({name: np.frombuffer(each, np.uint8) for name, each in files.items()})
    assert plot_images(ref, runtime) == {f"{name}.png": plot.png for name, plot in plots.items()}
    return render_page(report(**changes), MANIFEST, ref, runtime)


class Read(HTMLParser):
    """What a page consists of; tags have to be closed in order."""

    EMPTY = ("meta", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.cells: list[str] = []
        self.hidden: list[bool] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attributes)
        if tag == "input":
            self.hidden.append("hidden" in named)
        self.loaded += [str(named[name]) for name in ("src", "href", "xlink:href") if name in named]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "li", "h1", "b"):
            self.cells.append(data)


def test_everything_is_on_the_page(runtime: Runtime) -> None:
    plots = drawn()
    read = Read(page(runtime, plots))
    assert plots.keys() == {"accuracy_and_speed", "steps", "layers", "losses", "ranges", "weights"}
    assert read.tags.count("svg") == len(plots)
    for text in (
        "79 %",
        "look here",
        "kept/op",
        "ignored",
        "q:0",
        "a, b",
        "25 %",
        "collect_statistics",
        "float model: abc",
    ):
        assert text in read.cells, text
    assert "completed, 2 of 5 cached" in read.cells


def test_names_are_text(runtime: Runtime) -> None:
    read = Read(page(runtime, drawn()))
    assert read.tags.count("script") == 1
    assert f"{HOSTILE}: float and INT8" in "".join(read.cells)
    assert HOSTILE in read.cells


def test_nothing_is_loaded(runtime: Runtime) -> None:
    text = page(runtime, drawn())
    assert all(place.startswith(("#", "data:")) for place in Read(text).loaded)
    assert "default-src 'none'" in text
    assert "@import" not in text


def test_without_scripts_the_tables_are_whole_and_no_filter_shows(runtime: Runtime) -> None:
    read = Read(page(runtime, drawn()))
    assert read.hidden == [True] * 3  # layers, quantizers, operations left float
    assert HOSTILE in read.cells


def test_page_of_a_run_without_analysis_and_speed(runtime: Runtime) -> None:
    plots = drawn(analyses={}, decisions=())
    assert plots.keys() == {"accuracy_and_speed", "ranges", "weights"}
    read = Read(page(runtime, plots, layers=(), decisions=(), kernels={}, quantizer_list=(), float_operations=()))
    assert read.tags.count("svg") == 3


def test_equal_data_give_equal_plots() -> None:
    assert drawn() == drawn()


def test_text_takes_the_colour_of_the_page() -> None:
    for plot in drawn().values():
        assert "currentColor" in plot.svg
        assert plot.png.startswith(b"\x89PNG")


@pytest.mark.parametrize("count", [1, 100])
def test_few_and_many_layers(count: int) -> None:
    plots = drawn(count)
    assert plots["losses"].svg.count("layer ") <= MOST_ROWS
    assert plots["weights"].svg.count("layer ") <= 2 * MOST_ROWS


def test_names_that_no_formula_or_font_takes() -> None:
    found = Analysis((LayerError(HOSTILE, "MatMul", 1.0, 0.01, 0.0, 0.0, 0.01, 0.0, 0.0),))
    assert "losses" in drawn(
        analyses={"x": found}, weight_errors={HOSTILE: [0.1, 0.2]}, quantizers=[quantizer(HOSTILE)]
    )


def test_layers_without_an_error_or_a_signal() -> None:
    found = Analysis((LayerError("a", "MatMul", 1.0, *[0.0] * 6), LayerError("b", "MatMul", *[0.0] * 7)))
    plots = drawn(analyses={"x": found}, quantizers=[quantizer("zero", high=0.0)], weight_errors={"a": [0.0] * 5})
    assert {"layers", "losses", "ranges", "weights"} <= plots.keys()


def test_a_short_name_does_not_hide_what_tells_long_ones_apart() -> None:
    names = ["inputs", *(f"__module._blocks.{block}._bn2/aten::batch_norm/Add" for block in range(12))]
    svg = drawn(quantizers=[quantizer(name) for name in names])["ranges"].svg
    labels = [text for text in re.findall(r">([^<>]+)</text>", svg) if text == "inputs" or text.endswith("Add")]
    assert len(labels) == len(set(labels)) == 1 + 12


def test_what_makes_the_figures_worthless_comes_before_them(runtime: Runtime) -> None:
    text = page(runtime, {}, warnings=(f"it guesses {HOSTILE}",))
    assert text.index("it guesses") < text.index('class="cards"')
    assert HOSTILE not in text
    console = Console(file=StringIO(), width=200)
    print_summary(console, report(warnings=("it guesses [0, 1]",)), {})
    assert isinstance(console.file, StringIO)
    assert console.file.getvalue().splitlines()[0] == "Warning: it guesses [0, 1]"


@pytest.mark.parametrize(("count", "shown"), [(2, True), (6, True), (7, False)])
def test_the_terminal_names_the_parts_of_outputs_unless_they_are_many(count: int, *, shown: bool) -> None:
    parts = {f"sqnr_db/rows[part{place}]": 10.0 + place for place in range(count)}
    console = Console(file=StringIO(), width=200)
    print_summary(console, report(metrics={"float": {}, "int8": {"sqnr_db": 29.0, **parts}}), {})
    assert isinstance(console.file, StringIO)
    assert ("SQNR of rows[part1] dB" in console.file.getvalue()) == shown
    assert "agreement" not in console.file.getvalue()
