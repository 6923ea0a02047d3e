"""What a run takes is measured while it lasts."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from tasks.tracking import resource_monitor
from tasks.tracking.resource_monitor import Monitor, Start


def test_usage_tells_time_and_memory_of_this_process() -> None:
    start = Start()
    held = np.ones(30_000_000)  # 240 MB
    while time.process_time() - start.cpu < 0.2:
        held.sum()
    usage = start.usage()
    assert 0.2 <= usage["resources/cpu_seconds"] < 5
    assert usage["resources/seconds"] >= 0.05
    assert usage["resources/peak_memory_megabytes"] > held.nbytes / 1e6


def test_samples_are_those_of_the_process_while_it_lasted() -> None:
    started = time.time()
    monitor = Monitor(os.getpid(), 0.05)
    monitor.start()
    end = time.perf_counter() + 0.6
    while time.perf_counter() < end:
        sum(range(1000))
    samples = monitor.stop()
    assert len(samples) >= 3
    assert [sample.clock for sample in samples] == sorted(sample.clock for sample in samples)
    assert started <= samples[0].clock <= samples[-1].clock <= time.time()
    assert len({tuple(sample.values) for sample in samples}) == 1
    assert max(sample.values["system/process_cpu_percentage"] for sample in samples) > 10
    assert all(10 < sample.values["system/process_memory_megabytes"] < 10_000 for sample in samples)
    assert all(0 < sample.values["system/system_memory_usage_percentage"] <= 100 for sample in samples)


def test_a_process_that_ends_ends_its_samples() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        monitor = Monitor(process.pid, 0.02)
        monitor.start()
        time.sleep(0.3)
        assert monitor.is_alive()
    monitor.join(5)
    assert not monitor.is_alive()
    assert monitor.stop()


def test_a_long_run_has_no_more_samples_than_people_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource_monitor, "MOST_SAMPLES", 8)
    monitor = Monitor(os.getpid(), 0.01)
    monitor.start()
    time.sleep(0.6)
    samples = monitor.stop()
    assert 4 <= len(samples) <= 9
    # From the beginning to the end, at wider distances.
    assert samples[-1].clock - samples[0].clock > 0.2
