"""What a network of the zoo is: a float model, and samples that are like what it was made for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
CALIBRATION, VALIDATION = 60, 40
SEED = 20


@dataclass(frozen=True)
class Network:
    """A network and what is known about it.

    Attributes:
        name: What it is called on the command line.
        title: What it is.
        source: The Python package that holds its weights or builds it.
        model: Makes or reads the float model.
        samples: Draws so many samples: one array, or one for each input by name, samples on axis 0.
        classes: Whether the largest value along the last axis of the first output is what it is asked for.
        parts: Parts of an output that mean different things: number of the output -> axis, and slices by name.
        random: Whether the weights are random ones.
    """

    name: str
    title: str
    source: str
    model: Callable[[], ov.Model]
    samples: Callable[[np.random.Generator, int], NDArray[Any] | Arrays]
    classes: bool = False
    parts: Mapping[int, tuple[int, Mapping[str, slice]]] = field(default_factory=dict)
    random: bool = False

    def draw(self) -> tuple[Arrays, Arrays]:
        """Calibration and validation samples: different ones, and the same every time."""
        count = CALIBRATION + VALIDATION
        drawn = self.samples(np.random.default_rng(SEED), count)
        arrays = drawn if isinstance(drawn, dict) else {"x": drawn}  # which is any model's only input
        first = {name: values[:CALIBRATION] for name, values in arrays.items()}
        return first, {name: values[CALIBRATION:count] for name, values in arrays.items()}
