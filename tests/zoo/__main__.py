"""``python -m tests.zoo``: networks that nobody here has tuned on, quantized by this product's presets and by NNCF."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from flows.running.environment import run_environment
from tests.zoo.catalogue import NETWORKS
from tests.zoo.page import markdown
from tests.zoo.results import run
from tests.zoo.rules import broken
from tests.zoo.ways import ROOT

PAGE = Path(__file__).with_name("README.md")


def main(arguments: list[str] | None = None) -> int:
    """Run the networks one after the other and write the page; 1 when something that has to hold does not."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"default: all of {', '.join(NETWORKS)}")
    parser.add_argument(
        "--presets", default="default,auto,best", help="separated by commas; overrides may follow a space"
    )
    parser.add_argument("--cache", type=Path, default=ROOT / ".ptq" / "zoo", help="what is done is kept here")
    parser.add_argument("--product", type=Path, default=ROOT, help="the tree whose flows, tasks and conf are run")
    parser.add_argument("--speed", type=float, default=0.5, help="seconds a model and round; 0: no speeds")
    parser.add_argument("--page", type=Path, help="where the page goes; default: tests/zoo for all networks, else none")
    parser.add_argument("--inner", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    for name in chosen.names:
        if name not in NETWORKS:
            parser.error(f"unknown network '{name}'; there are {', '.join(NETWORKS)}")
    presets, cache, product = chosen.presets.split(","), chosen.cache.resolve(), chosen.product.resolve()
    if chosen.inner:
        result = run(NETWORKS[chosen.names[0]], cache, presets, product, chosen.speed)
        chosen.inner.write_text(json.dumps(result), encoding="utf-8")
        return 0
    cache.mkdir(parents=True, exist_ok=True)
    results = {}
    with run_environment(cache / "server"):
        for name in chosen.names or NETWORKS:
            options = [
                f"--presets={chosen.presets}",
                f"--cache={cache}",
                f"--product={product}",
                f"--speed={chosen.speed}",
            ]
            results[name] = _run_apart(name, options)
            say(summary(name, results[name]))
            page = chosen.page or (None if chosen.names else PAGE)
            if page:
                page.write_text(markdown(results, presets), encoding="utf-8")
    missed = [line for name, result in results.items() for line in broken(name, result)]
    for line in missed:
        say(line)
    return int(bool(missed))


def _run_apart(name: str, options: list[str]) -> dict[str, object]:
    """The result of one network out of a process of its own, or why there is none."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, "-m", "tests.zoo", name, *options, f"--inner={file.name}"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if ended.returncode:
            words = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
            return {"missing": words[-1], "ways": {}}
        return dict(json.loads(Path(file.name).read_text(encoding="utf-8")))


def summary(name: str, result: dict[str, object]) -> str:
    """A network in a few lines."""
    if "missing" in result:
        return f"{name}: missing, {result['missing']}"
    lines = [name]
    ways = result["ways"]
    assert isinstance(ways, dict)
    speeds = result.get("speeds", {})
    assert isinstance(speeds, dict)
    for way, found in ways.items():
        if "error" in found:
            lines.append(f"  {way:<18} {found['error']}")
            continue
        decibels = "  ".join("nan" if value is None else f"{value:.2f}" for value in found["sqnr_db"].values())
        agreement = "" if found["agreement"] is None else f"  {found['agreement']:.1f} %"
        speed = f"  {speeds[way]:.2f} x float" if way in speeds else ""
        layers = f"{found['int8_layers']}/{found['layers']} int8"
        lines.append(f"  {way:<18} {decibels}{agreement}  {layers}{speed}  {found['seconds']:.1f} s")
    return "\n".join(lines)


def say(text: str) -> None:
    """Progress, on standard error."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
