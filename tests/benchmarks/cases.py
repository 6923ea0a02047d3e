"""What is measured: models with samples in memory, the same for every way of quantizing them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tasks.algorithms.inference import input_names
from tasks.data.digits import Digits
from tasks.data.image_folder import ImageFolder
from tasks.data.source import Source, open_source
from tasks.digits import MODEL
from tests.benchmarks import topologies

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / os.environ.get("PTQ_ASSETS", "../shared")
EFFICIENTNET = ASSETS / "models" / "efficientnet_lite0.xml"
PHOTOS = ImageFolder(
    ASSETS / "data" / "imagenet_sample" / "calibration",
    ASSETS / "data" / "imagenet_sample" / "calibration.txt",
    resize_shorter=256,
    crop=224,
    interpolation="cubic",
    mean=127,
    scale=128,
)

Sample = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """A model and ``count`` samples of it; ``rounds`` are those of the quick ways and of the slow ones.

    ``faster`` is how many times quicker than NNCF's default ours has to be.
    """

    name: str
    title: str
    model: Callable[[], ov.Model]
    samples: Callable[[ov.Model, int], list[Sample]]
    count: int
    slow_rounds: int = 3
    model_type: str | None = None
    faster: float = 4.0
    needs: Path | None = None

    @property
    def available(self) -> bool:
        return self.needs is None or self.needs.exists()


def read_model(path: Path) -> ov.Model:
    """Read all of a model at once: mapped weights would count as memory of whoever touches them first."""
    core = ov.Core()
    core.set_property({"ENABLE_MMAP": False})
    return core.read_model(path)


def from_source(source: Source) -> Callable[[ov.Model, int], list[Sample]]:
    """The samples of a source, from the first one again where there are too few."""

    def read(model: ov.Model, count: int) -> list[Sample]:
        opened, names = open_source(source), input_names(model)
        loaded = [opened.load(index, names) for index in range(min(count, len(opened)))]
        batches = [{name: values[None] for name, values in sample.items()} for sample in loaded]
        return list(islice(cycle(batches), count))

    return read


def random_images(model: ov.Model, count: int) -> list[Sample]:
    """Normalized noise."""
    generator, (name,) = np.random.default_rng(1), input_names(model)
    return [{name: generator.standard_normal(topologies.IMAGE, np.float32)} for _ in range(count)]


def random_tokens(model: ov.Model, count: int) -> list[Sample]:
    """Sentences of 16 to 128 tokens, padded."""
    generator, length = np.random.default_rng(1), topologies.SEQUENCE
    ids, mask = input_names(model)

    def sentence() -> Sample:
        present = (np.arange(length) < generator.integers(16, length + 1)).astype(np.int64)
        return {ids: generator.integers(1, topologies.VOCABULARY, (1, length)) * present, mask: present[None]}

    return [sentence() for _ in range(count)]


CASES = {
    case.name: case
    for case in (
        Case(
            "efficientnet_lite0",
            "EfficientNet-Lite0, {count} photos",
            lambda: read_model(EFFICIENTNET),
            from_source(PHOTOS),
            150,
            needs=EFFICIENTNET,
        ),
        Case("resnet50", "ResNet-50, {count} images", topologies.resnet50, random_images, 100, slow_rounds=1),
        Case("mobilenet_v2", "MobileNet-V2, {count} images", topologies.mobilenet_v2, random_images, 150),
        Case(
            "transformer",
            "Transformer, 6 layers of 384, {count} sequences of 128",
            topologies.transformer,
            random_tokens,
            100,
            model_type="transformer",
            faster=3.0,
        ),
    )
}
DIGITS = Case("digits", "Digits, {count} images", lambda: read_model(MODEL), from_source(Digits("training")), 20)
