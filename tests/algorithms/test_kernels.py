"""What OpenVINO computes in integers, beside the same graph in floats: no scheme that it gets wrong is used."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.algorithms.inference import Sample, compile_for_samples
from tasks.algorithms.verification import compile_graph
from tasks.graph.constants import read_constant
from tasks.graph.presets import Preset, TensorOptions
from tasks.graph.traversal import nodes_by_name
from tasks.numerics.affine import Granularity
from tasks.numerics.metrics import sqnr
from tests.support import models as m
from tests.support.layer_kinds import KINDS, Kind
from tests.support.placed import floats
from tests.support.quantize import quantize

INPUTS, FEATURES, ROWS = 16, 12, 5
# Kernels that work leave more: sums of integers are exact.
RIGHT = 60.0


@dataclass(frozen=True)
class Product:
    """A MatMul with a constant stack of matrices on either side."""

    first: bool
    a: bool
    b: bool
    stack: tuple[int, ...]
    batch: tuple[int, ...]
    free: bool = False

    def __str__(self) -> str:
        side = "first" if self.first else "second"
        return f"{side}{'-a' * self.a}{'-b' * self.b}-{self.stack}-{self.batch}{'-free' * self.free}"

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of the constant and of the data."""
        if self.first:
            matrix = (INPUTS, FEATURES) if self.a else (FEATURES, INPUTS)
            rows = (ROWS, INPUTS) if self.b else (INPUTS, ROWS)
        else:
            matrix = (FEATURES, INPUTS) if self.b else (INPUTS, FEATURES)
            rows = (INPUTS, ROWS) if self.a else (ROWS, INPUTS)
        return self.stack + matrix, self.batch + rows

    def model(self, weights: ov.Node | None = None) -> ov.Model:
        constant, shape = self.shapes
        scales = np.random.default_rng(1).uniform(0.2, 3, constant)
        values = (m.constant("values", *constant).get_data() * scales).astype(np.float32)
        weights = weights or m.named(ops.constant(values), "weights")
        sizes: list[int] = list(shape)
        if self.free:
            sizes[shape.index(ROWS, len(self.batch))] = -1
        data = m.named(ops.parameter(sizes, ov.Type.f32), "data")
        operands = (weights, data) if self.first else (data, weights)
        return m.build(m.relu(m.named(ops.matmul(*operands, self.a, self.b), "layer"), "out"))

    @property
    def samples(self) -> list[Sample]:
        return samples(self.shapes[1])


def samples(shape: tuple[int, ...], low: float = 0.3) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [{"data": rng.normal(low, 1, shape).astype(np.float32)} for _ in range(3)]


def products(stacks: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...], free: tuple[bool, ...]) -> Iterator[Product]:
    for first, a, b in itertools.product((False, True), repeat=3):
        for (stack, batch), rows in itertools.product(stacks, free):
            yield Product(first, a, b, stack, batch, rows)


STACKS = (((8,), (8,)), ((3, 1), (4,)))
MORE = (((1,), (4,)), ((8,), (1,)), ((2, 3), (2, 3)), ((1, 3), (1, 1)), ((3, 1), (3, 1)), ((2, 1, 3), (2, 1, 3)))
WITHOUT_ROWS = (((8,), ()), ((2, 3), ()))


def difference(quantized: ov.Model, sample: Sample) -> float:
    """The SQNR of what OpenVINO computes in integers, where its graph in floats is what is right."""
    deployed, graph = compile_for_samples(quantized, 1, as_deployed=True), compile_graph(quantized, 1)
    return sqnr(graph(sample)[0][None], deployed(sample)[0][None])


def kernels(quantized: ov.Model) -> dict[str, str]:
    """The precision of every kernel, by its type."""
    runtime = compile_for_samples(quantized, 1, as_deployed=True).get_runtime_model()
    infos = [node.get_rt_info() for node in runtime.get_ops()]
    return {info["layerType"].astype(str): info["runtimePrecision"].astype(str) for info in infos}


@pytest.mark.parametrize("product", list(products(STACKS, (False,))), ids=str)
def test_a_stack_of_constant_matrices(product: Product) -> None:
    quantized = quantize(product.model(), product.samples, 8, preset=Preset.PERFORMANCE)
    assert difference(quantized, product.samples[0]) > RIGHT
    found = kernels(quantized)
    assert (found.get("FullyConnected") or found["MatMul"]) == "i8"


@pytest.mark.slow
@pytest.mark.parametrize("granularity", [None, Granularity.PERTENSOR])
@pytest.mark.parametrize(("preset", "bits"), [*((each, 8) for each in Preset), (Preset.PERFORMANCE, 4)])
@pytest.mark.parametrize(
    "product", [*products(STACKS + MORE, (False, True)), *products(WITHOUT_ROWS, (False,))], ids=str
)
def test_a_stack_of_constant_matrices_in_every_scheme(
    product: Product, preset: Preset, bits: int, granularity: Granularity | None
) -> None:
    quantized = quantize(product.model(), product.samples, bits, preset=preset, granularity=granularity)
    assert difference(quantized, product.samples[0]) > RIGHT


@pytest.mark.parametrize("behind", ["reshape", "transpose", "convert", "gather", "concat"])
def test_a_stack_behind_other_operations(behind: str) -> None:
    product = Product(False, False, False, (4,), (4,))
    shape = product.shapes[0]
    flat = m.constant("stored", 4 * INPUTS, FEATURES)
    weights = {
        "reshape": lambda: ops.reshape(flat, m.integers("shape", *shape), False),
        "transpose": lambda: ops.transpose(m.constant("stored", 4, FEATURES, INPUTS), m.integers("order", 0, 2, 1)),
        "convert": lambda: ops.convert(m.constant("stored", *shape, dtype=np.float16), "f32"),
        "gather": lambda: ops.gather(m.constant("stored", 9, *shape[1:]), m.integers("i", 5, 0, 8, 1), np.array(0)),
        "concat": lambda: ops.concat([m.constant("one", 1, *shape[1:]), m.constant("three", 3, *shape[1:])], 0),
    }
    quantized = quantize(product.model(weights[behind]()), product.samples, 8, preset=Preset.PERFORMANCE)
    assert difference(quantized, product.samples[0]) > RIGHT


def test_matrices_that_are_looked_up() -> None:
    """A matrix an expert: which one is found out by the model."""
    product = Product(False, False, False, (4,), (4,))
    chosen = m.named(ops.parameter([4], ov.Type.i64), "chosen")
    model = product.model(
        m.named(ops.gather(m.constant("experts", 9, INPUTS, FEATURES), chosen, np.array(0)), "looked")
    )
    data = [{**each, "chosen": np.array([5, 0, 8, 1])} for each in product.samples]
    quantized = quantize(model, data, 8, preset=Preset.PERFORMANCE)
    assert difference(quantized, data[0]) > RIGHT


# These stay float on CPUs.
KINDS_HERE = {name: KINDS[name] for name in KINDS if name not in ("transposed grouped", "transposed dilated")}


@pytest.mark.parametrize("kind", KINDS_HERE.values(), ids=KINDS_HERE.keys())
def test_every_kind_of_layer(kind: Kind) -> None:
    quantized = quantize(kind.model(), samples(kind.shape), 8, preset=Preset.PERFORMANCE)
    assert difference(quantized, samples(kind.shape)[0]) > RIGHT


@pytest.mark.slow
@pytest.mark.parametrize("activations", [None, Granularity.PERCHANNEL])
@pytest.mark.parametrize(("preset", "bits"), [*((each, 8) for each in Preset), (Preset.MIXED, 4)])
@pytest.mark.parametrize("kind", KINDS_HERE.values(), ids=KINDS_HERE.keys())
def test_every_kind_of_layer_in_every_scheme(
    kind: Kind, preset: Preset, bits: int, activations: Granularity | None
) -> None:
    options = TensorOptions(granularity=activations)
    quantized = quantize(kind.model(), samples(kind.shape), bits, preset=preset, activations=options)
    assert difference(quantized, samples(kind.shape)[0]) > RIGHT


def transposed(step: int, gap: int, pad: int, kernel: int = 3) -> ov.Model:
    layer = ops.convolution_backprop_data(
        m.image("data", (1, 4, 7, 8)),
        m.constant("weights", 4, 6, kernel, 1),
        [step, 1],
        None,
        [pad, 0],
        [pad, 0],
        [gap, 1],
    )
    return m.build(m.named(layer, "layer"))


@pytest.mark.parametrize(("step", "gap", "pad", "kernel"), [(2, 2, 0, 3), (3, 2, 1, 2), (1, 1, 2, 2), (2, 1, 3, 3)])
def test_transposed_convolutions_that_go_wrong_in_integers_stay_float(
    step: int, gap: int, pad: int, kernel: int
) -> None:
    reason = floats(transposed(step, gap, pad, kernel))["layer"]
    assert reason.startswith("OpenVINO computes its quantized form wrongly")


@pytest.mark.parametrize(("step", "gap", "pad", "kernel"), [(2, 1, 1, 3), (1, 2, 2, 3), (2, 2, 0, 1), (1, 3, 0, 2)])
def test_other_transposed_convolutions_run_in_integers(step: int, gap: int, pad: int, kernel: int) -> None:
    model, data = transposed(step, gap, pad, kernel), samples((1, 4, 7, 8))
    quantized = quantize(model, data, 8, preset=Preset.PERFORMANCE)
    assert kernels(quantized)["Deconvolution"] == "i8"
    assert difference(quantized, data[0]) > RIGHT


def test_a_channel_multiplier_has_one_zero_point() -> None:
    kind = KINDS["depthwise multiplier"]
    options = TensorOptions(granularity=Granularity.PERCHANNEL)
    quantized = quantize(kind.model(), samples(kind.shape), 8, preset=Preset.MIXED, activations=options)
    assert difference(quantized, samples(kind.shape)[0]) > RIGHT


def test_the_graph_in_floats_is_what_it_says() -> None:
    """Beside numpy in float64."""
    product = Product(False, False, False, (4,), (4,))
    quantized, sample = quantize(product.model(), product.samples, 8), product.samples[0]
    nodes = nodes_by_name(quantized)
    limits = [nodes["layer/fq_input_0"].input_value(port).get_node().get_data() for port in range(1, 5)]
    low, high = (np.float64(limit) for limit in limits[:2])
    codes = np.rint((np.clip(sample["data"], low, high) - low) / (high - low) * 255)
    weights: NDArray[np.float64] = read_constant(nodes["layer"], 1)
    expected = np.maximum((codes / 255 * (high - low) + low) @ weights, 0)
    assert sqnr(expected, compile_graph(quantized, 1)(sample)[0]) > 100
