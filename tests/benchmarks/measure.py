"""Seconds of several ways side by side; memory, inferences and compiled networks of one way in a process of its own."""

import ctypes
import gc
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import openvino as ov

from tests.benchmarks.cases import CASES, DIGITS, ROOT, Case
from tests.benchmarks.ways import NNCF_WAYS, WAYS, Stopwatch, Task

WARM_UP_SAMPLES = 4


@dataclass
class Timings:
    """Seconds of every round of a way, in all and by parts."""

    parts: list[dict[str, float]]

    @property
    def totals(self) -> list[float]:
        """Seconds of each round, without what does not count."""
        return [sum(seconds for part, seconds in each.items() if "not counted" not in part) for each in self.parts]

    @property
    def median_parts(self) -> dict[str, float]:
        """The median of each part."""
        return {part: median(each[part] for each in self.parts) for part in self.parts[0]}


def median_ratio(one: Timings, other: Timings, allowance: float = 0.0) -> float:
    """How many times ``other`` does ``one`` take, after an allowance: the median over the rounds that both ran.

    Ratios within a round: when the machine is slower for a while, both are.
    """
    return median((a - allowance) / b for a, b in zip(one.totals, other.totals, strict=False))


def time_ways(case: Case, ways: Sequence[str], count: int, rounds: int, slow_rounds: int) -> dict[str, Timings]:
    """Run the ways in turn, round after round; the slow ones in the first ``slow_rounds``, NNCF's accurate one once."""
    model = case.model()
    task = Task(model, case.samples(model, count), case.model_type)
    slow = {*NNCF_WAYS, "sequential"}
    most = {way: slow_rounds if way in slow else rounds for way in ways} | {"nncf_accurate": 1}
    _warm_up(task, ways)
    timings = {way: Timings([]) for way in ways}
    for number in range(rounds):
        for way in ways:
            if number < most[way]:
                gc.collect()
                watch = Stopwatch()
                WAYS[way](task, watch)
                timings[way].parts.append(watch.parts)
    return timings


def _warm_up(task: Task, ways: Sequence[str]) -> None:
    """What a process does once, such as importing: our ways on the model itself, NNCF's on a small one."""
    small = DIGITS.model()
    small_task = Task(small, DIGITS.samples(small, WARM_UP_SAMPLES))
    few = Task(task.model, task.samples[:WARM_UP_SAMPLES], task.model_type)
    for way in ways:
        WAYS[way](small_task if way in NNCF_WAYS else few, Stopwatch())


@dataclass(frozen=True)
class Cost:
    """What a way used: bytes beyond the loaded model and the samples, requests of any network, compiled networks."""

    peak_bytes: int
    inferences: int
    compiles: int


def measure_cost(case: Case, way: str, count: int) -> Cost:
    """Run a way in this process, once before for the libraries it loads, then counting."""
    model = case.model()
    task = Task(model, case.samples(model, count), case.model_type)
    small = DIGITS.model()
    WAYS[way](Task(small, DIGITS.samples(small, WARM_UP_SAMPLES)), Stopwatch())
    gc.collect()
    # What the heap keeps of freed memory would hide as much of what comes.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    with counted() as calls:
        WAYS[way](task, Stopwatch())
    return Cost(_status("VmHWM") - before, calls["inferences"], calls["compiles"])


def measure_cost_apart(case: Case, way: str, count: int) -> Cost:
    """Run :func:`measure_cost` in a new process.

    Not ru_maxrss: a child starts with that of its parent.
    """
    command = [sys.executable, "-m", "tests.benchmarks.measure", case.name, way, str(count)]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return Cost(**json.loads(finished.stdout.splitlines()[-1]))


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


_CALLS = (
    (ov.InferRequest, "infer", "inferences"),
    (ov.InferRequest, "start_async", "inferences"),
    (ov.AsyncInferQueue, "start_async", "inferences"),
    (ov.Core, "compile_model", "compiles"),
)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count requests and compiled networks of the whole process."""
    calls: Counter[str] = Counter()

    def counting(original: Any, kind: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            calls[kind] += 1
            return original(*arguments, **options)

        return call

    originals = [getattr(owner, name) for owner, name, _ in _CALLS]
    for (owner, name, kind), original in zip(_CALLS, originals, strict=True):
        setattr(owner, name, counting(original, kind))
    try:
        yield calls
    finally:
        for (owner, name, _), original in zip(_CALLS, originals, strict=True):
            setattr(owner, name, original)


if __name__ == "__main__":
    chosen = {**CASES, DIGITS.name: DIGITS}[sys.argv[1]]
    sys.stdout.write(f"{json.dumps(asdict(measure_cost(chosen, sys.argv[2], int(sys.argv[3]))))}\n")
