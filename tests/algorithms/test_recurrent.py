"""Recurrent layers run in int8 as they should, or are left float: every kind beside OpenVINO's runtime model."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.algorithms.inference import compile_for_samples
from tasks.graph.placement import Role, place_quantizers
from tasks.graph.presets import Preset, Scheme, TensorOptions
from tasks.numerics.affine import Granularity
from tasks.numerics.metrics import sqnr
from tests.support import models as m
from tests.support.executed import in_floats, noise
from tests.support.quantize import settle

SYMMETRIC, MIXED = Scheme(Preset.PERFORMANCE), Scheme(Preset.MIXED)
HIDDEN, STEPS, INPUTS = 32, 10, 12
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# With scales of their own for both weights it was 8 to 14. Each step rounds the state, and what the layer returns.
RIGHT = 20.0


@dataclass(frozen=True)
class Recurrent:
    """A recurrent layer called ``layer`` in front of a MatMul, ``head``."""

    kind: str
    direction: str = "forward"
    state: str = "zero"
    cell: bool = False
    batch: int = 1
    steps: int = STEPS
    length: int | None = STEPS
    options: tuple[tuple[str, object], ...] = ()

    def __str__(self) -> str:
        extra = ",".join(name for name, _ in self.options)
        form = "Cell" if self.cell else f"-{self.direction}"
        return f"{self.kind}{form}-{self.state}-{self.batch}-{self.steps}-{self.length}-{extra}"

    def model(self) -> ov.Model:
        rng = np.random.default_rng(0)
        gates, directions = GATES[self.kind], 2 if self.direction == "bidirectional" else 1
        options = dict(self.options)
        data = m.image("data", (self.batch, INPUTS) if self.cell else (self.batch, self.steps, INPUTS))
        lead = () if self.cell else (directions,)
        # Gates of different size: OpenVINO mixes up the scales of the first two of an LSTM.
        sizes = np.repeat([3.0, *[1.0] * (gates - 1)], HIDDEN)[:, None]
        weights = [
            stored(name, sizes * rng.standard_normal((*lead, gates * HIDDEN, size)) / np.sqrt(size))
            for name, size in (("inputs", INPUTS), ("recurrence", HIDDEN))
        ]
        extra = "linear_before_reset" in options
        weights.append(stored("offsets", 0.1 * rng.standard_normal((*lead, (gates + extra) * HIDDEN))))
        shape = (self.batch, HIDDEN) if self.cell else (self.batch, directions, HIDDEN)
        states, more = self._states(shape)
        inputs = [data, *states[: 2 if self.kind == "LSTM" else 1]]
        if not self.cell:
            inputs.append(self._lengths(more))
        make = getattr(ops, f"{self.kind.lower()}_{'cell' if self.cell else 'sequence'}")
        if self.kind == "RNN":
            options = {"activations": ["tanh"], "activations_alpha": [], "activations_beta": []}
        layer = m.named(make(*inputs, *weights, HIDDEN, *([] if self.cell else [self.direction]), **options), "layer")
        head = m.matmul(m.named(ops.relu(layer.output(0)), "positive"), "head", 6)
        return ov.Model([m.relu(head, "out")], [data, *more], "recurrent")

    def _states(self, shape: tuple[int, ...]) -> tuple[list[ov.Node], list[ov.Node]]:
        names = ("state", "memory")
        if self.state == "zero":
            return [stored(name, np.zeros(shape)) for name in names], []
        if self.state == "learned":
            return [stored(name, np.random.default_rng(1).uniform(-1, 1, shape)) for name in names], []
        starts = [m.image(f"{name}_start", shape) for name in names]
        starts = starts if self.kind == "LSTM" else starts[:1]
        return [m.named(ops.tanh(start), name) for start, name in zip(starts, names, strict=False)], starts

    def _lengths(self, more: list[ov.Node]) -> ov.Node:
        if self.length is not None:
            return m.integers("lengths", *[self.length] * self.batch)
        more.append(m.named(ops.parameter([self.batch], ov.Type.f32), "given"))
        return m.named(ops.convert(more[-1], "i64"), "lengths")


def stored(name: str, values: np.ndarray) -> ov.Node:
    return m.named(ops.constant(values.astype(np.float32)), name)


def recurrences() -> Iterator[Recurrent]:
    for kind, direction, state in product(
        GATES, ("forward", "reverse", "bidirectional"), ("zero", "learned", "computed")
    ):
        yield Recurrent(kind, direction, state)
    for kind, state in product(GATES, ("zero", "computed")):
        yield Recurrent(kind, state=state, cell=True)
        yield Recurrent(kind, state=state, batch=3)
        yield Recurrent(kind, state=state, length=None)
    for kind in GATES:
        yield Recurrent(kind, length=4)
        yield Recurrent(kind, steps=1, length=1)
    for kind in ("LSTM", "GRU"):
        yield Recurrent(kind, options=(("clip", 1.0),))
        yield Recurrent(kind, options=(("activations", ["sigmoid", "relu", "tanh"][: 3 if kind == "LSTM" else 2]),))
    yield Recurrent("GRU", options=(("linear_before_reset", True),))


FEW = [
    *(Recurrent(kind, "bidirectional", state) for kind in ("LSTM", "GRU") for state in ("zero", "computed")),
    Recurrent("GRU", state="learned"),
    Recurrent("LSTM", length=4),
    Recurrent("RNN"),
]


def require_integers_or_floats(layer: Recurrent, scheme: Scheme, scale: float) -> None:
    """A layer runs in integers, and computes what it should, or has no quantizer and is named."""
    model = layer.model()
    data = noise(model, scale)
    if layer.length is None:
        data = [{**each, "given": np.full(layer.batch, 4.0, np.float32)} for each in data]
    setup = place_quantizers(model)
    # No value is clipped: the mean of extremes clips many of a few values.
    quantized, settled, _ = settle(model, data, scheme.with_extremes())
    assert settled == setup, "placement alone knows"
    assert in_floats(model, quantized, setup) == set()
    served = "layer" in {target for point in setup.points for target in point.targets}
    assert served or "layer" in {each.name for each in setup.float_operations}
    plain = layer.kind != "RNN" and not layer.cell and not layer.options and layer.length == layer.steps
    assert served == plain
    if served:
        assert {point.role for point in setup.points if "layer" in point.targets} == {Role.WEIGHTS, Role.ACTIVATIONS}
        before, after = (compile_for_samples(each, 1, as_deployed=True) for each in (model, quantized))
        inputs = [list(each.values()) for each in data]
        outputs = [np.stack([compiled(each)[0].copy() for each in inputs]) for compiled in (before, after)]
        assert sqnr(*outputs) > RIGHT


@pytest.mark.parametrize("layer", FEW, ids=str)
def test_recurrent_layers_run_in_integers_or_are_left_float(layer: Recurrent) -> None:
    require_integers_or_floats(layer, SYMMETRIC, 0.3)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_state_that_is_larger_than_the_data_is_not_clipped(kind: str) -> None:
    require_integers_or_floats(Recurrent(kind, state="learned"), MIXED, 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 0.02])
@pytest.mark.parametrize(
    "scheme",
    [
        SYMMETRIC,
        MIXED,
        Scheme(weights=TensorOptions(granularity=Granularity.PERTENSOR)),
        Scheme(activations=TensorOptions(granularity=Granularity.PERCHANNEL)),
    ],
    ids=["symmetric", "mixed", "weights per tensor", "activations per channel"],
)
@pytest.mark.parametrize("layer", list(recurrences()), ids=str)
def test_recurrent_layers_in_every_scheme(layer: Recurrent, scheme: Scheme, scale: float) -> None:
    require_integers_or_floats(layer, scheme, scale)
