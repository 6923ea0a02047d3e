"""What travels between steps: small frozen values that name contents by their digest, and the report."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelRef:
    """An OpenVINO model in the store. ``digest`` is the sha256 of its .xml and .bin."""

    name: str
    digest: str


@dataclass(frozen=True)
class ArraysRef:
    """Named arrays in the store. ``digest`` is the sha256 of the .npz."""

    digest: str


@dataclass(frozen=True)
class DatasetRef:
    """The samples chosen from a data set, in order: their indices in the source and the digests of their contents."""

    indices: tuple[int, ...]
    digests: tuple[str, ...]
    available: int
    labelled: bool

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class Runtime:
    """Where and how a run works. Nothing in here may change a result, so none of it is part of a cache key."""

    home: Path
    threads: int | None = None
    shard_size: int = 64
    progress: bool = True


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one model on one data set, and its outputs, to be compared with those of another model."""

    metrics: dict[str, float | None]
    samples: int
    outputs: ArraysRef
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """One step of a run as it went: Prefect's name of its final state, and how long it took."""

    name: str
    seconds: float
    state: str
