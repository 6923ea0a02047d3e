"""The pages as people see them, in a real browser: wide and narrow, light and dark.

Pictures stay in ``tests/browser/pictures``.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import SCRIPTS, own_environment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytest.importorskip("playwright")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium (Debian: apt install chromium)")

PICTURES = Path(__file__).parent / "pictures"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@dataclass
class Page:
    """A page of the browser and what it complained about."""

    page: Any
    name: str
    complaints: list[str] = field(default_factory=list)

    def picture(self, name: str) -> None:
        PICTURES.mkdir(exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}-{self.name}.png", full_page=True)

    @property
    def fits(self) -> bool:
        """Whether nobody has to scroll sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - an import of the extra `dev`

    with sync_playwright() as playwright:
        # Without the sandbox, which containers do not let it have; it sees our own pages only.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def open_page(browser: Any, size: str, scheme: str = "light") -> Page:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    opened = Page(context.new_page(), f"{size}-{scheme}")
    opened.page.on("console", lambda said: opened.complaints.extend([said.text] if said.type == "error" else []))
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    return opened


# --- the report


@dataclass(frozen=True)
class Run:
    """A run of the command without a server: its home and what it wrote."""

    home: Path
    output: Path

    @property
    def report(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.output / "report.json").read_text())
        return content


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("browser")
    words = [str(SCRIPTS / "ptq-quantize"), "output_dir=output", "evaluation.speed_seconds=0.1", "release.name=ours"]
    environment = own_environment(folder) | {"PTQ_HOME": str(folder / "home")}
    subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True, timeout=180)
    return Run(folder / "home", folder / "output")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_report(browser: Any, run: Run, size: str, scheme: str) -> None:
    shown = open_page(browser, size, scheme)
    page = shown.page
    page.goto((run.output / "report.html").as_uri())
    assert page.locator("figure svg").count() == 6
    for details in page.locator("details").all():
        details.locator("summary").click()
    shown.picture("report")
    assert shown.fits
    # Text stands out from what is behind it.
    ink, paper = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    assert abs(luminance(ink) - luminance(paper)) > 0.6
    assert luminance(paper) > 0.8 if scheme == "light" else luminance(paper) < 0.2
    assert page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill") == ink
    assert shown.complaints == []


def test_labels_of_a_plot_do_not_overlap(browser: Any, run: Run) -> None:
    shown = open_page(browser, "phone")
    shown.page.goto((run.output / "report.html").as_uri())
    for figure in shown.page.locator("figure").all():
        boxes = [text.bounding_box() for text in figure.locator("svg text").all()]
        for place, one in enumerate(boxes):
            for other in boxes[place + 1 :]:
                assert not overlap(one, other), (figure.get_attribute("id"), one, other)


def test_tables_are_filtered(browser: Any, run: Run) -> None:
    shown = open_page(browser, "desktop")
    page = shown.page
    page.goto((run.output / "report.html").as_uri())
    page.locator("#quantizers summary").click()
    rows = page.locator("#quantizers tr:visible")
    assert rows.count() == 1 + len(run.report["quantizer_list"])
    page.locator("#quantizers input").fill("CLASSIFIER/weights")
    assert rows.count() == 2
    page.locator("#quantizers input").fill("")
    assert rows.count() == 1 + len(run.report["quantizer_list"])


def luminance(color: str) -> float:
    red, green, blue = (int(value) / 255 for value in re.findall(r"\d+", color)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    """Whether boxes share more than the margins that letters leave."""
    width = min(one["x"] + one["width"], other["x"] + other["width"]) - max(one["x"], other["x"])
    height = min(one["y"] + one["height"], other["y"] + other["height"]) - max(one["y"], other["y"])
    return width > 1 and height > 0.35 * min(one["height"], other["height"])


# --- the pages of MLflow and Prefect, by ptq-ui


@dataclass(frozen=True)
class Pages:
    """Where both are."""

    mlflow: str
    prefect: str


@pytest.fixture(scope="module")
def pages(run: Run) -> Iterator[Pages]:
    environment = own_environment(run.home.parent) | {"PTQ_HOME": str(run.home)}
    process = subprocess.Popen(
        [SCRIPTS / "ptq-ui", "--mlflow-port", "15000", "--prefect-port", "14200"],
        cwd=run.home.parent,
        env=environment | {"PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    addresses = [process.stdout.readline().split()[-1] for _ in range(2)]
    yield Pages(*addresses)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_mlflow_shows_the_run(browser: Any, run: Run, pages: Pages, size: str) -> None:
    shown = open_page(browser, size)
    page = shown.page
    page.goto(pages.mlflow)
    page.get_by_role("link", name="digits").first.click()
    page.get_by_text("int8/sqnr_db").first.wait_for(timeout=60_000)
    shown.picture("mlflow-run")
    text = page.locator("body").inner_text()
    metrics = run.report["metrics"]["int8"]
    for name in ("int8/top1", "int8/agreement", "difference/top1", "resources/peak_memory_megabytes"):
        assert name in text
    assert re.search(rf"int8/sqnr_db\s+{str(metrics['sqnr_db'])[:5]}", text)
    assert "ours" in text


@pytest.mark.slow
def test_mlflow_shows_system_metrics_and_the_report(browser: Any, run: Run, pages: Pages) -> None:
    shown = open_page(browser, "desktop")
    page = shown.page
    page.goto(pages.mlflow)
    page.get_by_role("link", name="digits").first.click()
    page.get_by_role("tab", name="System metrics").or_(page.get_by_role("link", name="System metrics")).first.click()
    page.get_by_text("process_memory_megabytes").first.wait_for(timeout=60_000)
    page.locator("svg.main-svg").first.wait_for(timeout=60_000)
    shown.picture("mlflow-system")
    page.get_by_role("tab", name="Artifacts").or_(page.get_by_role("link", name="Artifacts")).first.click()
    page.get_by_text("report.html").first.click()
    page.frame_locator("iframe").locator("#plot-layers svg").wait_for(timeout=60_000)
    shown.picture("mlflow-report")


@pytest.mark.slow
def test_prefect_shows_the_run_of_a_temporary_server(browser: Any, pages: Pages) -> None:
    shown = open_page(browser, "desktop")
    shown.page.goto(f"{pages.prefect}/runs")
    shown.page.get_by_text("quantize").first.wait_for(timeout=60_000)
    shown.page.get_by_text("Completed").first.wait_for(timeout=60_000)
    shown.picture("prefect-runs")
    assert "Can't connect" not in shown.page.locator("body").inner_text()
