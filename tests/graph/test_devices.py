import pytest

from tasks.errors import InputError
from tasks.graph.devices import Device, find_device, row_name
from tasks.graph.operations import read_operations
from tests import models as m

DEVICES = ("ANY", "CPU", "CPU_SPR", "GPU", "NPU")


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


@pytest.mark.parametrize(
    ("groups", "channels", "name"), [(4, 4, "DepthWiseConvolution"), (2, 4, "Convolution"), (4, 8, "Convolution")]
)
def test_row_of_grouped_convolutions(groups: int, channels: int, name: str) -> None:
    model = m.build(m.grouped_convolution(m.image(), "conv", groups, channels))
    (operation,) = (each for each in read_operations(model) if each.name == "conv")
    assert row_name(operation) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cpu", r"target_device 'cpu' is not one of ANY, CPU, .*GNA3\.5; did you mean 'CPU'\?"),
        ("SPR", "did you mean 'CPU_SPR'"),
        ("AUTO", "target_device 'AUTO' is not one of"),
        ("GNA", "target_device 'GNA' is not supported: .*outputs of operations.* Supported: ANY, CPU"),
        ("GNA3.5", "not supported"),
    ],
)
def test_unknown_and_unsupported_devices_are_named(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_device(name)
