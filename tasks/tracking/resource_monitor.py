"""What a run uses of the machine: figures of its process, and samples over time under MLflow's names."""

import resource
import threading
import time
from dataclasses import dataclass, field

_INTERVAL = 0.5
# At this number every second one is dropped, and the interval doubles.
MOST_SAMPLES = 400
_MEGABYTE = 1e6


@dataclass(frozen=True)
class Start:
    """When a run began: Unix time, a clock of seconds, and the processor time that its process had used, in seconds."""

    clock: float = field(default_factory=time.time)
    wall: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.process_time)

    def usage(self) -> dict[str, float]:
        """Seconds since the start, processor seconds, and the peak memory of the process, earlier runs included."""
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "resources/seconds": time.perf_counter() - self.wall,
            "resources/cpu_seconds": time.process_time() - self.cpu,
            "resources/peak_memory_megabytes": 1024 * kilobytes / _MEGABYTE,
        }


@dataclass(frozen=True)
class Sample:
    """Values by name at a Unix time in seconds."""

    clock: float
    values: dict[str, float]


class Monitor(threading.Thread):
    """Samples the machine and one process until it is stopped or the process ends."""

    def __init__(self, process: int, interval: float = _INTERVAL) -> None:
        super().__init__(daemon=True)
        self._process, self._interval = process, interval
        self._samples: list[Sample] = []
        self._stopped = threading.Event()

    def run(self) -> None:
        """Take samples; psutil's first call only starts the interval that the next one measures."""
        import psutil  # noqa: PLC0415 - not in the process that only imports Start

        try:
            watched = psutil.Process(self._process)
            watched.cpu_percent()
            psutil.cpu_percent()
            while not self._stopped.wait(self._interval):
                memory = psutil.virtual_memory()
                values = {
                    "system/cpu_utilization_percentage": psutil.cpu_percent(),
                    "system/system_memory_usage_megabytes": memory.used / _MEGABYTE,
                    "system/system_memory_usage_percentage": memory.percent,
                    "system/process_cpu_percentage": watched.cpu_percent(),
                    "system/process_memory_megabytes": watched.memory_info().rss / _MEGABYTE,
                }
                self._samples.append(Sample(time.time(), values))
                if len(self._samples) > MOST_SAMPLES:
                    self._samples, self._interval = self._samples[::2], 2 * self._interval
        except psutil.NoSuchProcess:
            return

    def stop(self) -> list[Sample]:
        """The samples, in order."""
        self._stopped.set()
        self.join()
        return list(self._samples)
