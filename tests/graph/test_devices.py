import pytest
from openvino import opset13 as ops

from tasks.errors import InputError
from tasks.graph.devices import Device, find_device, row_name
from tasks.graph.operations import read_operations
from tasks.numerics.affine import Mode
from tests.support import models as m

DEVICES = ("ANY", "CPU", "CPU_SPR", "GPU", "NPU", "GNA", "GNA3", "GNA3.5")


def types(device: Device) -> set[str]:
    return {type_ for row in device.rows for type_ in row.types}


@pytest.mark.parametrize("name", DEVICES)
def test_no_operation_is_both_quantized_and_passed_through(name: str) -> None:
    device = find_device(name)
    assert not types(device) & device.pass_through
    assert sum(len(row.types) for row in device.rows) == len(types(device)), "a type stands in two rows"


def test_tables_differ_where_they_should() -> None:
    cpu, gpu, npu = (find_device(name) for name in ("CPU", "GPU", "NPU"))
    assert types(cpu) - types(gpu) == {"LSTMSequence", "GRUSequence"}
    assert types(npu) - types(cpu) == {"GroupConvolutionBackpropData"}
    assert types(gpu) - types(npu) == {"ConvolutionBackpropData"}
    assert cpu.pass_through - npu.pass_through == {"Gather"}
    assert find_device("ANY").rows == find_device("CPU_SPR").rows == cpu.rows


@pytest.mark.parametrize("name", DEVICES)
def test_weights_are_symmetric_first(name: str) -> None:
    assert {row.weights[0].mode for row in find_device(name).rows if row.weights} == {"symmetric"}


def test_npu_takes_eight_bit_activations_under_every_preset() -> None:
    for row in find_device("NPU").rows:
        assert (row.activations[0].bits, row.activations[-1].bits) == (8, 8), sorted(row.types)


def test_asymmetric_weights_share_their_zero_point_on_npu_only() -> None:
    for name in DEVICES:
        configs = [each for row in find_device(name).rows for each in row.weights if each.mode == "asymmetric"]
        assert {each.unified_zero_point for each in configs} <= {name == "NPU"}, name


@pytest.mark.parametrize("name", ["GNA", "GNA3", "GNA3.5"])
def test_gna_has_symmetric_scales_and_signed_levels_only(name: str) -> None:
    for row in find_device(name).rows:
        for config in (*row.activations, *row.weights, *row.outputs):
            assert config.mode == "symmetric", sorted(row.types)
            assert config.level_low is not None, sorted(row.types)
            assert config.level_low < 0, sorted(row.types)
        assert {config.granularity for config in (*row.activations, *row.outputs)} == {"pertensor"}, sorted(row.types)


@pytest.mark.parametrize(
    ("name", "type_", "activations", "weights", "outputs"),
    [
        ("GNA", "Convolution", 16, (16,), 32),
        ("GNA", "DepthWiseConvolution", 16, (16,), 32),
        ("GNA", "MatMul", 16, (8, 16), 32),
        ("GNA", "Add", 16, (16,), 32),
        ("GNA", "Multiply", 16, (16,), 32),
        ("GNA", "Subtract", 16, (16,), None),
        ("GNA3", "Convolution", 16, (8, 16), 32),
        ("GNA3", "MatMul", 16, (8, 16), 32),
        ("GNA3", "Multiply", 16, (8, 16), 32),
        ("GNA3", "Add", 16, (16,), 32),
        ("GNA3", "Subtract", 16, (16,), 32),
        ("GNA3.5", "Convolution", 16, (8, 16), 32),
        ("GNA", "Relu", 32, (), 16),
        ("GNA3", "Sigmoid", 32, (), 16),
        ("GNA", "Result", 16, (), None),
        ("GNA", "Assign", 16, (), None),
        ("GNA", "Parameter", None, (), 16),
    ],
)
def test_bits_on_gna(
    name: str, type_: str, activations: int | None, weights: tuple[int, ...], outputs: int | None
) -> None:
    (row,) = (each for each in find_device(name).rows if type_ in each.types)
    assert [config.bits for config in row.activations] == ([activations] if activations else [])
    assert tuple(config.bits for config in row.weights) == weights
    assert [config.bits for config in row.outputs] == ([outputs] if outputs else [])


def test_gna_devices_differ_where_they_should() -> None:
    gna, newer, newest = (find_device(name) for name in ("GNA", "GNA3", "GNA3.5"))
    assert types(gna) == types(newer)
    assert newer.rows == newest.rows
    assert (gna.primary_bits, newer.primary_bits) == (16, 8)
    assert find_device("GPU").pass_through - gna.pass_through == {"Gather", "Minimum", "Maximum"}
    assert gna.pass_through == newer.pass_through


@pytest.mark.parametrize(
    ("groups", "channels", "name"), [(4, 4, "DepthWiseConvolution"), (2, 4, "Convolution"), (4, 8, "Convolution")]
)
def test_row_of_grouped_convolutions(groups: int, channels: int, name: str) -> None:
    model = m.build(m.grouped_convolution(m.image(), "conv", groups, channels))
    (operation,) = (each for each in read_operations(model) if each.name == "conv")
    assert row_name(operation) == name


@pytest.mark.parametrize(
    ("pad", "automatic", "exclude", "name"),
    [
        (0, "explicit", False, "AvgPool"),
        (1, "explicit", True, "AvgPool"),
        (1, "explicit", False, "PaddedAvgPool"),
        (0, "same_upper", False, "PaddedAvgPool"),
        (0, "valid", False, "AvgPool"),
    ],
)
def test_row_of_poolings_that_count_their_padding(*, pad: int, automatic: str, exclude: bool, name: str) -> None:
    pads = [pad, pad]
    pool = ops.avg_pool(m.image(), [1, 1], pads, pads, [3, 3], exclude, auto_pad=automatic)
    (operation,) = (each for each in read_operations(m.build(pool)) if each.type == "AvgPool")
    assert row_name(operation) == name
    row = find_device("CPU").row(operation)
    assert row is not None
    modes = {config.mode for config in row.activations}
    assert modes == ({Mode.SYMMETRIC} if name == "PaddedAvgPool" else {Mode.SYMMETRIC, Mode.ASYMMETRIC})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cpu", r"target_device: unknown value 'cpu'\. Did you mean 'CPU'\? Allowed: ANY, CPU, .*GNA3\.5"),
        ("SPR", "Did you mean 'CPU_SPR'"),
        ("AUTO", "target_device: unknown value 'AUTO'"),
        ("GNA2", "Did you mean 'GNA"),
    ],
)
def test_unknown_devices_are_named(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_device(name)
