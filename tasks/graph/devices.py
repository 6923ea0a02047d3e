"""The tables of what each target device can quantize, as POT has them (2023.3; NPU: 2023.0).

Configurations are in order of priority: a preset takes the first or the last. Operations have OpenVINO's names, apart
from three of the tables: ``Convolution`` includes grouped ones, ``DepthWiseConvolution`` has one input and one output
channel per group, ``PaddedAvgPool`` averages over its padding.

GNA: OpenVINO no longer has a plugin for it. Models can be quantized by its tables, but without POT's rewriting of the
model before and its check of 16-bit weights for overflows of the accumulator after. OpenVINO's CPU plugin runs such
models; it removes FakeQuantize operations of 65536 levels.
"""

from dataclasses import dataclass

from tasks.errors import InputError, unknown_message
from tasks.graph.operations import Operation, shape_of
from tasks.numerics.affine import Granularity, Mode, QuantizerConfig


@dataclass(frozen=True)
class Row:
    """How a device quantizes operations of some types.

    Attributes:
        types: Names of the types.
        activations: Configurations of computed inputs; () if no input is quantized.
        weights: Configurations of constant inputs; () if they stay float.
        unified_ports: Pairs of ports whose computed inputs share one scale.
        unified: Whether all computed inputs share one scale.
        outputs: Configurations of results that are quantized whoever reads them; () if the readers alone decide.
        own_outputs: Whether ``outputs`` go before the configurations of the readers.
    """

    types: frozenset[str]
    activations: tuple[QuantizerConfig, ...]
    weights: tuple[QuantizerConfig, ...] = ()
    unified_ports: tuple[tuple[int, int], ...] = ()
    unified: bool = False
    outputs: tuple[QuantizerConfig, ...] = ()
    own_outputs: bool = False


@dataclass(frozen=True)
class Device:
    """A target device.

    Attributes:
        name: Its name.
        rows: Its table.
        pass_through: Types of operations that compute on quantized values as they are.
        primary_bits: Bits to prefer where readers of one tensor offer different ones.
        priority_types: Readers whose configurations go before ``own_outputs``.
        unified_concat: Whether the inputs of a Concat share one scale.
        cpu: Whether OpenVINO's CPU plugin runs its models, so that what it does not run in int8 is placed otherwise.
        symmetric_products: Whether what that plugin multiplies in int8 without zero points only is symmetric.
    """

    name: str
    rows: tuple[Row, ...]
    pass_through: frozenset[str]
    primary_bits: int = 8
    priority_types: frozenset[str] = frozenset()
    unified_concat: bool = True
    cpu: bool = False
    symmetric_products: bool = False

    def row(self, operation: Operation) -> Row | None:
        """The row of an operation; None if the device does not quantize it, or passes quantized values through it.

        Args:
            operation: The operation.
        """
        name = row_name(operation)
        return next((row for row in self.rows if name in row.types), None)


def row_name(operation: Operation) -> str:
    """The name under which the tables list an operation.

    Args:
        operation: The operation.
    """
    if operation.type == "GroupConvolution":
        shape = shape_of(operation.sources[1])
        return "DepthWiseConvolution" if shape is not None and shape[1:3] == (1, 1) else "Convolution"
    if operation.type == "AvgPool":
        attributes = operation.node.get_attributes()
        # OpenVINO (2026.4) does not pad with zero where the levels are asymmetric.
        padded = any((*attributes["pads_begin"], *attributes["pads_end"])) or attributes["auto_pad"].startswith("same")
        return "PaddedAvgPool" if padded and not attributes["exclude-pad"] else "AvgPool"
    return operation.type


def find_device(name: str) -> Device:
    """The table of a target device.

    Args:
        name: Name of the device.

    Raises:
        InputError: There is no such device; the message names the nearest one.
    """
    if name not in _DEVICES:
        raise InputError(f"target_device: {unknown_message('value', name, tuple(_DEVICES))}")
    return _DEVICES[name]


_TENSOR, _CHANNEL = Granularity.PERTENSOR, Granularity.PERCHANNEL
_SYMMETRIC, _ASYMMETRIC = Mode.SYMMETRIC, Mode.ASYMMETRIC

_PER_TENSOR = (QuantizerConfig(8, _SYMMETRIC, _TENSOR), QuantizerConfig(8, _ASYMMETRIC, _TENSOR))
_PER_CHANNEL = (QuantizerConfig(8, _SYMMETRIC, _CHANNEL), QuantizerConfig(8, _ASYMMETRIC, _CHANNEL))
_SYMMETRIC_WEIGHTS = (QuantizerConfig(8, _SYMMETRIC, _CHANNEL, -127, 127),)
_WEIGHTS = (*_SYMMETRIC_WEIGHTS, QuantizerConfig(8, _ASYMMETRIC, _CHANNEL))

_COMPARISONS = frozenset({"Less", "LessEqual", "Greater", "GreaterEqual", "Equal", "NotEqual"})
_LOGIC = frozenset({"LogicalOr", "LogicalXor", "LogicalAnd", "LogicalNot"})
# Their results are truth values: to quantize a constant operand would only move the threshold.
TRUTH_TYPES = _COMPARISONS | _LOGIC

_CPU_ROWS = (
    Row(
        frozenset({"Convolution", "ConvolutionBackpropData", "MatMul", "Add", "Multiply", "Divide", "Subtract"})
        | {"FloorMod"}
        | TRUTH_TYPES,
        _PER_TENSOR,
        _WEIGHTS,
    ),
    Row(frozenset({"DepthWiseConvolution"}), _PER_CHANNEL, _WEIGHTS),
    Row(frozenset({"Power", "AvgPool", "NormalizeL2", "ReduceMean", "Interpolate", "MVN"}), _PER_TENSOR),
    Row(frozenset({"PaddedAvgPool"}), _PER_TENSOR[:1]),
)
_CPU_TABLE = (
    *_CPU_ROWS,
    Row(frozenset({"LSTMSequence"}), _PER_TENSOR, _SYMMETRIC_WEIGHTS, ((0, 1), (4, 5))),
    Row(frozenset({"GRUSequence"}), _PER_TENSOR, _SYMMETRIC_WEIGHTS, ((0, 1), (3, 4))),
)

_NPU_ASYMMETRIC = (QuantizerConfig(8, _ASYMMETRIC, _TENSOR),)
# The 8-bit entry is the first and the last, so that every preset takes it.
_NPU_TENSOR = (*_NPU_ASYMMETRIC, QuantizerConfig(4, _SYMMETRIC, _TENSOR), *_NPU_ASYMMETRIC)
_NPU_CHANNEL = (QuantizerConfig(8, _SYMMETRIC, _CHANNEL),)
_NPU_WEIGHTS = (
    *(QuantizerConfig(bits, _SYMMETRIC, _CHANNEL) for bits in (8, 4, 2)),
    QuantizerConfig(8, _ASYMMETRIC, _CHANNEL, unified_zero_point=True),
)
_NPU_ROWS = (
    Row(frozenset({"Convolution", "MatMul"}), _NPU_TENSOR, _NPU_WEIGHTS),
    Row(frozenset({"GroupConvolutionBackpropData"}), _NPU_ASYMMETRIC, _NPU_WEIGHTS),
    Row(frozenset({"DepthWiseConvolution"}), _NPU_CHANNEL, _NPU_WEIGHTS),
    Row(
        frozenset({"Add", "Multiply", "Subtract"}),
        _NPU_TENSOR,
        (*_NPU_CHANNEL, QuantizerConfig(4, _SYMMETRIC, _TENSOR), *_NPU_CHANNEL),
        unified=True,
    ),
    Row(
        (TRUTH_TYPES | {"Divide", "FloorMod"}) - {"LogicalNot"},
        _NPU_ASYMMETRIC,
        _NPU_CHANNEL,
        unified=True,
    ),
    Row(frozenset({"LogicalNot"}), _NPU_ASYMMETRIC, _NPU_CHANNEL),
    Row(frozenset({"Power", "NormalizeL2", "Interpolate", "MVN"}), _NPU_ASYMMETRIC),
    Row(frozenset({"AvgPool", "PaddedAvgPool", "ReduceMean"}), _NPU_CHANNEL),
)

# What POT moves quantizers over.
PASS_THROUGH = (
    frozenset(
        {"MaxPool", "ReduceMax", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "DepthToSpace", "ShuffleChannels"}
    )
    | {"Concat", "Split", "VariadicSplit", "StridedSlice", "Slice", "Gather", "Tile", "Broadcast", "Pad"}
    | {"Minimum", "Maximum", "ConvertLike"}
)

# OpenVINO's CPU plugin (2026.4) computes the others in floats, and a layer behind them, too.
_CPU_PASS_THROUGH = PASS_THROUGH - {"Minimum", "Maximum", "Tile"}

_GNA_INT16 = (QuantizerConfig(16, _SYMMETRIC, _TENSOR, -(2**15), 2**15 - 1),)
_GNA_INT32 = (QuantizerConfig(32, _SYMMETRIC, _TENSOR, -(2**31), 2**31 - 1),)
_GNA_WEIGHTS = (QuantizerConfig(16, _SYMMETRIC, _TENSOR, -(2**15) + 1, 2**15 - 1),)
_GNA_EITHER_WEIGHTS = (*_SYMMETRIC_WEIGHTS, *_GNA_WEIGHTS)
_GNA_CONVOLUTIONS = frozenset({"Convolution", "DepthWiseConvolution"})
_GNA_FUNCTIONS = frozenset(
    {"Power", "Sigmoid", "Tanh", "Relu", "PRelu", "Clamp", "Log", "Abs", "Exp", "Sign", "SoftSign"}
)
_GNA_COMMON_ROWS = (
    Row(_GNA_FUNCTIONS, _GNA_INT32, outputs=_GNA_INT16, own_outputs=True),
    Row(frozenset({"AvgPool", "PaddedAvgPool", "ReduceMean", "Assign", "Result"}), _GNA_INT16),
    Row(frozenset({"Parameter"}), (), outputs=_GNA_INT16, own_outputs=True),
)
_GNA_ROWS = (
    Row(_GNA_CONVOLUTIONS | {"Add", "Multiply"}, _GNA_INT16, _GNA_WEIGHTS, outputs=_GNA_INT32),
    Row(frozenset({"MatMul"}), _GNA_INT16, _GNA_EITHER_WEIGHTS, outputs=_GNA_INT32),
    Row(frozenset({"Subtract"}), _GNA_INT16, _GNA_WEIGHTS),
    *_GNA_COMMON_ROWS,
)
_GNA3_ROWS = (
    Row(
        _GNA_CONVOLUTIONS,
        _GNA_INT16,
        (QuantizerConfig(8, _SYMMETRIC, _TENSOR, -127, 127), *_GNA_WEIGHTS),
        outputs=_GNA_INT32,
    ),
    Row(frozenset({"MatMul", "Multiply"}), _GNA_INT16, _GNA_EITHER_WEIGHTS, outputs=_GNA_INT32),
    Row(frozenset({"Add", "Subtract"}), _GNA_INT16, _GNA_WEIGHTS, outputs=_GNA_INT32),
    *_GNA_COMMON_ROWS,
)

_GNA_PASS_THROUGH = PASS_THROUGH - {"Gather", "Minimum", "Maximum"}


def _gna3(name: str) -> Device:
    return Device(name, _GNA3_ROWS, _GNA_PASS_THROUGH, priority_types=_GNA_CONVOLUTIONS, unified_concat=False)


_DEVICES = {
    device.name: device
    for device in (
        Device("ANY", _CPU_TABLE, _CPU_PASS_THROUGH, cpu=True),
        Device("CPU", _CPU_TABLE, _CPU_PASS_THROUGH, cpu=True, symmetric_products=True),
        Device("CPU_SPR", _CPU_TABLE, _CPU_PASS_THROUGH, cpu=True),
        Device("GPU", _CPU_ROWS, PASS_THROUGH),
        Device("NPU", _NPU_ROWS, PASS_THROUGH - {"Gather"}),
        Device("GNA", _GNA_ROWS, _GNA_PASS_THROUGH, primary_bits=16, unified_concat=False),
        _gna3("GNA3"),
        _gna3("GNA3.5"),
    )
}
# Devices that offer 16 bits.
WIDE_DEVICES = tuple(name for name in _DEVICES if name.startswith("GNA"))
