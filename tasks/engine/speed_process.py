"""Speed measured in a process of its own: if a model crashes it, the run goes on.

``python -m tasks.engine.speed_process`` is that process (see ``helper_process``).
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import openvino as ov

from tasks.algorithms.inference import Sample
from tasks.algorithms.speed import Speed, measure_speed
from tasks.engine.helper_process import answer_once, ask_once

COMMAND = (sys.executable, "-P", "-m", "tasks.engine.speed_process")


class UnmeasuredError(Exception):
    """The process ended without an answer; the message says how."""


def measure_apart(models: Sequence[Path], sample: Sample, seconds: float) -> tuple[Speed, ...]:
    """The speed of models, measured in a process of its own (see :func:`~tasks.algorithms.speed.measure_speed`).

    Args:
        models: The .xml files.
        sample: Arrays of all inputs, without batch axes.
        seconds: How long to measure each model.

    Raises:
        UnmeasuredError: The process died.
    """
    with TemporaryDirectory() as folder:
        arrays = Path(folder) / "sample.npz"
        np.savez(arrays, *sample.values())
        asked = {"models": models, "inputs": list(sample), "arrays": arrays, "seconds": seconds}
        answer = ask_once(COMMAND, os.environ, asked)
    if "error" in answer:
        raise UnmeasuredError(answer["error"])
    return tuple(Speed(**each) for each in answer["speeds"])


def _measured(asked: Any) -> dict[str, Any]:
    with np.load(asked["arrays"]) as arrays:
        sample = {name: arrays[f"arr_{place}"] for place, name in enumerate(asked["inputs"])}
    models = [ov.Core().read_model(path) for path in asked["models"]]
    return {"speeds": [asdict(speed) for speed in measure_speed(models, sample, asked["seconds"])]}


if __name__ == "__main__":
    answer_once(_measured)
