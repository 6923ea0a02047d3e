"""Speed measured by a process of its own: what kills it there, in a float model even, costs the run nothing else.

``python -m tasks.speed_process`` reads what to measure as JSON and writes the speeds, one line of JSON.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openvino as ov

from tasks.algorithms.inference import Sample
from tasks.algorithms.speed import Speed, measure_speed

COMMAND = (sys.executable, "-P", "-m", "tasks.speed_process")


class UnmeasuredError(Exception):
    """The process ended without an answer; says how."""


def measure_apart(models: Sequence[Path], sample: Sample, seconds: float) -> tuple[Speed, ...]:
    """What :func:`~tasks.algorithms.speed.measure_speed` says there; UnmeasuredError where it does not live to tell."""
    with TemporaryDirectory() as folder:
        arrays = Path(folder) / "sample.npz"
        np.savez(arrays, *sample.values())
        asked = {"models": models, "inputs": list(sample), "arrays": arrays, "seconds": seconds}
        question = json.dumps(asked, default=str)
        done = subprocess.run(COMMAND, input=question, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if done.returncode:
        killed = signal.Signals(-done.returncode).name if done.returncode < 0 else None
        complaint = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UnmeasuredError(f"OpenVINO ended the process by {killed}" if killed else complaint)
    return tuple(Speed(**each) for each in json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Answer the one question."""
    asked = json.loads(sys.stdin.read())
    with np.load(asked["arrays"]) as arrays:
        sample = {name: arrays[f"arr_{place}"] for place, name in enumerate(asked["inputs"])}
    models = [ov.Core().read_model(path) for path in asked["models"]]
    speeds = measure_speed(models, sample, asked["seconds"])
    sys.stdout.write(f"{json.dumps([asdict(speed) for speed in speeds])}\n")


if __name__ == "__main__":
    main()
