"""Which weights use half of their levels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.graph.saturation import SaturationFix, halved_operations, resolve, smallest_scale
from tests.support import models as m

FIRST = SaturationFix.FIRST_LAYER


def chain() -> ov.Model:
    hidden = m.relu(m.biased_convolution(m.relu(m.image(), "before"), "first"), "middle")
    return m.build(m.matmul(m.convolution(hidden, "second"), "classifier"))


def two_inputs() -> ov.Model:
    left = m.convolution(m.image("a"), "left")
    right = m.convolution(m.transpose(m.image("b"), "swapped", 0, 1, 3, 2), "right")
    return m.build(m.convolution(m.concat("joined", left, right), "last"))


def skip() -> ov.Model:
    picture = m.image()
    return m.build(m.convolution(m.concat("joined", m.convolution(picture, "first"), picture), "beside"))


def resized() -> ov.Model:
    picture = m.image(shape=(1, 4, 8, 8))
    sizes = m.named(ops.gather(m.shape_of(picture, "shape"), m.integers("spatial", 2, 3), m.number("axis", 0)), "sizes")
    hidden = m.convolution(picture, "first", stride=2)
    upsampled = ops.interpolate(hidden, sizes, "nearest", "sizes", axes=m.integers("axes", 2, 3))
    return m.build(m.convolution(m.named(upsampled, "upsampled"), "second"))


def grouped() -> ov.Model:
    return m.build(m.convolution(m.grouped_convolution(m.image(), "depthwise", 4), "pointwise"))


def grouped_only() -> ov.Model:
    return m.build(m.grouped_convolution(m.image(), "depthwise", 4))


def behind_transposed() -> ov.Model:
    upsampled = ops.convolution_backprop_data(m.image(), m.constant("up_weights", 4, 4, 2, 2), [2, 2])
    return m.build(m.convolution(m.named(upsampled, "up"), "first"))


def behind_matmul() -> ov.Model:
    return m.build(m.convolution(m.matmul(m.image(), "mixed", 8), "first"))


def without_convolution() -> ov.Model:
    return m.build(m.matmul(m.image(shape=(1, 4)), "classifier"))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(chain, {"first"}, id="chain"),
        pytest.param(two_inputs, {"left", "right"}, id="two-inputs"),
        pytest.param(skip, {"first", "beside"}, id="past-the-first"),
        pytest.param(resized, {"first"}, id="shape-of-the-input"),
        pytest.param(grouped, {"depthwise"}, id="grouped"),
        pytest.param(grouped_only, {"depthwise"}, id="grouped-only"),
        pytest.param(behind_transposed, {"first"}, id="behind-a-transposed-one"),
        pytest.param(behind_matmul, {"first"}, id="behind-a-matmul"),
        pytest.param(without_convolution, set(), id="no-convolution"),
    ],
)
def test_first_layer(make: Callable[[], ov.Model], expected: set[str]) -> None:
    assert halved_operations(make(), FIRST, "ANY") == expected


def test_all_weighted_operations() -> None:
    assert halved_operations(chain(), SaturationFix.ALL, "ANY") == {"first", "second", "classifier"}
    assert halved_operations(without_convolution(), SaturationFix.ALL, "ANY") == set()


def test_none() -> None:
    assert halved_operations(chain(), SaturationFix.NO, "ANY") == set()


@pytest.mark.parametrize(
    ("device", "some"), [("ANY", True), ("CPU", True), ("CPU_SPR", False), ("GPU", False), ("NPU", False)]
)
def test_only_devices_whose_sums_saturate(device: str, *, some: bool) -> None:
    for fix in (FIRST, SaturationFix.ALL):
        assert bool(halved_operations(chain(), fix, device)) == some


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags : sse4_2 avx2 avx512f avx512_vnni", SaturationFix.NO),
        ("flags : avx2 avx_vnni", SaturationFix.NO),
        ("flags : avx512bw amx_tile amx_int8 amx_bf16", SaturationFix.NO),
        ("Features : fp asimd asimddp", SaturationFix.NO),
        ("flags : sse4_2 avx2 avx512f", FIRST),
        ("", FIRST),
    ],
)
def test_auto_looks_at_the_cpu(tmp_path: Path, flags: str, expected: SaturationFix) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\nbugs : spectre_v1\n")
    assert resolve(SaturationFix.AUTO, cpuinfo=tmp_path / "cpuinfo") == expected


def test_auto_pays_on_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert resolve(SaturationFix.AUTO, cpuinfo=tmp_path / "missing") == FIRST


@pytest.mark.parametrize("fix", [FIRST, SaturationFix.ALL, SaturationFix.NO])
def test_other_values_hold_whatever_the_cpu(tmp_path: Path, fix: SaturationFix) -> None:
    (tmp_path / "cpuinfo").write_text("flags : avx512_vnni")
    assert resolve(fix, cpuinfo=tmp_path / "cpuinfo") == fix
    assert smallest_scale(fix, "ANY") is None


def test_smallest_scales_are_normal_numbers_of_the_device() -> None:
    assert smallest_scale(SaturationFix.AUTO, "GPU") == float(np.finfo(np.float16).smallest_normal)
    smallest = smallest_scale(SaturationFix.AUTO, "ANY")
    assert smallest is not None
    # The product with a scale of activations as small is normal too: never less than 1e-6 after SMALLEST_RANGE.
    assert smallest * 1e-6 > float(np.finfo(np.float32).smallest_normal)


def test_products_of_narrow_weights_saturate_nowhere(tmp_path: Path) -> None:
    assert resolve(SaturationFix.AUTO, 63, tmp_path / "missing") == SaturationFix.NO
    assert resolve(SaturationFix.FIRST_LAYER, 7, tmp_path / "missing") == SaturationFix.FIRST_LAYER
    assert 2 * 64 * 255 <= np.iinfo(np.int16).max < 2 * 65 * 255
