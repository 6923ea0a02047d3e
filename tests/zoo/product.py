"""A script for ``python -P``: quantize a model with each of several presets, as the command does, without MLflow.

It runs the flow of whatever tree PYTHONPATH puts first. Its argument is a file of jobs; each gets a result beside its
output.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from prefect.settings import (
    PREFECT_LOGGING_LEVEL,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_RESULTS_LOCAL_STORAGE_PATH,
    temporary_settings,
)

import flows.quantize
from tasks.config.schema import QuantizeConfig, from_hydra
from tasks.tracking.client import Logged

# As Any: what is replaced in it belongs to it by import only.
flow: Any = flows.quantize


def run(overrides: list[str], home: Path) -> dict[str, Any]:
    """The report and the seconds of calibration, or what was wrong."""
    seconds: list[float] = []
    calibrate = flow.calibrate

    def timed(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return calibrate(*arguments, **options)
        finally:
            seconds.append(time.perf_counter() - started)

    settings = {
        PREFECT_RESULTS_LOCAL_STORAGE_PATH: home / "results",
        PREFECT_LOGGING_LEVEL: "CRITICAL",
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    flow.calibrate = timed
    try:
        with initialize_config_module("conf", version_base="1.3"):
            config = from_hydra(compose("quantize", overrides=overrides), QuantizeConfig)
        with temporary_settings(settings):
            report = flow.quantize(config)
    except Exception as failure:  # noqa: BLE001 - whatever a network brings about is a finding
        return {"error": f"{type(failure).__name__}: {failure}", "seconds": sum(seconds)}
    finally:
        flow.calibrate = calibrate
    return {"report": asdict(report), "seconds": sum(seconds)}


def main(jobs: Path) -> None:
    """Run all jobs of a file: a list of ``overrides``, ``home`` and ``result``."""
    flow.log_run = lambda **_: Logged("not logged")
    for job in json.loads(jobs.read_text(encoding="utf-8")):
        home = Path(job["home"])
        (home / "results").mkdir(parents=True, exist_ok=True)
        found = run(job["overrides"], home)
        Path(job["result"]).write_text(json.dumps(found, default=str), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
