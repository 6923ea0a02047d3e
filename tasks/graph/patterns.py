"""Patterns of operations that stay float although the target device could quantize them (POT: ignored patterns).

Some are fused into a neighbour: a bias, an activation function. Some are cheap and sensitive: the scale and shift of a
normalization, the gate of squeeze-and-excitation. Some compute indices, or scores whose order matters. The patterns are
those of POT. It gives every convolution a bias before it looks for them; here a convolution counts as biased with and
without an Add.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tasks.graph.matching import Pattern, Step, chain, either, match, op, optional
from tasks.graph.operations import Operation

_CONVOLUTION = "Convolution GroupConvolution"
_WEIGHTED = f"{_CONVOLUTION} MatMul"
_ALL_WEIGHTED = f"{_WEIGHTED} ConvolutionBackpropData GroupConvolutionBackpropData"
_ELEMENT_WISE = (
    "Add Multiply Subtract Divide Less LessEqual Greater GreaterEqual Equal NotEqual FloorMod LogicalOr LogicalXor "
    "LogicalAnd Maximum Minimum"
)
_CPU_GPU = frozenset({"ANY", "CPU", "CPU_SPR", "GPU"})
_GNA = frozenset({"GNA", "GNA3", "GNA3.5"})
_ALL = _CPU_GPU | _GNA | {"NPU"}


@dataclass(frozen=True)
class SkipRule:
    """Operations that stay float because of a pattern.

    Attributes:
        reason: What the operations are.
        step: The pattern.
        devices: Names of the devices that the rule is for.
    """

    reason: str
    step: Step
    devices: frozenset[str] = _ALL


_plus_const = op("Add", const=True)
_times_const = op("Multiply", const=True)
_scale_shift = chain(_times_const, _plus_const)
_biased = either(chain(op(_WEIGHTED), _plus_const), op(_CONVOLUTION))
# Each result has one reader: a result that other operations read too has to be stored, and is not fused.
_activated_once = chain(
    op(_WEIGHTED, keep=True, sole=True),
    optional(op("Add", const=True, sole=True)),
    optional(op("Relu PRelu Sigmoid", sole=True)),
)
_image = chain(op("Parameter", keep=True), optional(chain(optional(op("Convert")), op("Transpose"))))
_channel_reversal = chain(_image, op("Split", const=True), op("Concat"))
_attention_values = chain(op("Add"), op("Reshape", const=True), op("Transpose"))
_labelled_bias = either(
    chain(op(_WEIGHTED, keep=True), op("Add", const=True, label="biased")),
    op(_CONVOLUTION, keep=True, label="biased"),
)
_exponent = op("Exp", label="exponent")

RULES = (
    # An Add behind a convolution with several readers is not its bias.
    SkipRule("bias", chain(op(_CONVOLUTION, keep=True, sole=True), _plus_const)),
    SkipRule(
        "bias",
        chain(op("MatMul ConvolutionBackpropData GroupConvolutionBackpropData", keep=True), _plus_const),
    ),
    SkipRule(
        "gate of squeeze-and-excitation",
        chain(
            op("ReduceMean", keep=True),
            _biased,
            op("Relu PRelu Swish"),
            _biased,
            op("Sigmoid"),
            op("Multiply", keep=True),
        ),
    ),
    SkipRule("shift of a scale and shift", chain(op("Multiply", keep=True), _plus_const)),
    SkipRule(
        "scale and shift of an output",
        chain(op("Add", keep=True), _scale_shift, op("Result", keep=True)),
    ),
    SkipRule("scale and shift of a normalization", chain(op("MVN", keep=True), _scale_shift)),
    SkipRule("scale of a normalization", chain(op("NormalizeL2", keep=True), op("Multiply"))),
    SkipRule("preprocessing of an input", chain(_image, either(_scale_shift, _plus_const, op("Multiply")))),
    SkipRule("preprocessing of an input", chain(op("Parameter", keep=True), op("Subtract"))),
    SkipRule("preprocessing of an input", chain(_channel_reversal, either(_scale_shift, _plus_const))),
    SkipRule(
        "softmax written out",
        chain(
            _exponent,
            op("ReduceSum", const=True),
            either(
                chain(op("Power", const=True), op("Multiply Divide", same="exponent")), op("Divide", same="exponent")
            ),
        ),
    ),
    SkipRule(
        "product of attention",
        chain(op("Softmax"), optional(op("Reshape", const=True)), op("MatMul", _attention_values)),
    ),
    SkipRule(
        "product of attention",
        chain(op("Softmax"), op("MatMul", chain(op("Reshape"), op("Transpose"), op("Reshape")))),
    ),
    SkipRule(
        "product of attention",
        chain(op("Softmax"), op("MatMul", chain(_attention_values, op("Gather")))),
        _ALL - {"CPU_SPR"},
    ),
    SkipRule(
        "hard swish written out",
        chain(
            _labelled_bias,
            _plus_const,
            op("Clamp"),
            op("Multiply", same="biased"),
            optional(_times_const),
        ),
    ),
    SkipRule(
        "hard swish written out",
        chain(
            op("Add Multiply ReduceMean Squeeze", keep=True, label="input"),
            _plus_const,
            op("Clamp"),
            _times_const,
            op("Multiply", same="input"),
        ),
    ),
    SkipRule(
        "scale and shift between Unsqueeze and Squeeze",
        chain(op("Unsqueeze", const=True), _scale_shift, op("Squeeze", const=True)),
    ),
    SkipRule(
        "batch index",
        chain(
            op("Subtract"),
            op("Multiply"),
            _times_const,
            op("Add"),
            op("Unsqueeze"),
            op("Concat"),
            op("Concat", const=True),
            op("Reshape"),
            op("Convolution"),
        ),
    ),
    SkipRule(
        "post-processing of a detection",
        chain(op("ExperimentalDetectronDetectionOutput ExperimentalDetectronROIFeatureExtractor"), _plus_const),
    ),
    SkipRule("comparison and its negation", chain(op("Equal"), op("LogicalNot"))),
    # Of a scale and shift behind a layer this is the scale; the rule for shifts is above.
    SkipRule("element-wise operation behind a layer", chain(_activated_once, op(_ELEMENT_WISE, const=True)), _CPU_GPU),
    SkipRule("clamp and scale", chain(op("Clamp"), _times_const), _CPU_GPU | {"NPU"}),
    # GNA quantizes outputs, but not for these readers.
    SkipRule("swish of a layer", chain(_labelled_bias, op("Swish")), _GNA),
    SkipRule("result of an assignment", chain(op("Assign", keep=True), op("Result")), _GNA),
)


def find_skipped(operations: tuple[Operation, ...], device: str) -> dict[Operation, str]:
    """The operations that stay float, each with the reason of the first rule that matches.

    Args:
        operations: All operations of a model, in topological order.
        device: Name of the target device.
    """
    skipped: dict[Operation, str] = {}
    by_last_type: dict[str, list[tuple[SkipRule, Pattern]]] = {}
    for rule in RULES:
        if device in rule.devices:
            for pattern in rule.step(()):
                for type_ in pattern.types:
                    by_last_type.setdefault(type_, []).append((rule, pattern))
    for last in operations:
        for rule, pattern in by_last_type.get(last.type, ()):
            for found in match(pattern, last) or ():
                skipped.setdefault(found, rule.reason)
    for found in _selecting_ancestors(operations):
        skipped.setdefault(found, "it decides the order of a selection")
    return skipped


def is_bias_of(operation: Operation, layers: Collection[Operation], skipped: Mapping[Operation, str]) -> bool:
    """Whether an operation is the bias of one of the layers, which computes both in one kernel.

    Args:
        operation: The operation.
        layers: The layers.
        skipped: What :func:`find_skipped` found.
    """
    return skipped.get(operation) == "bias" and any(source.operation in layers for source in operation.sources)


def _selecting_ancestors(operations: Iterable[Operation]) -> set[Operation]:
    """The operations between layers and what NonMaxSuppression and TopK choose by: equal scores change the choice."""
    weighted = set(_ALL_WEIGHTED.split())
    pending = [each for each in operations if each.type in ("NonMaxSuppression", "TopK")]
    found: set[Operation] = set()
    while pending:
        for source in pending.pop().sources:
            above = source.operation
            if above not in found and above.type not in weighted and above.type != "Constant":
                found.add(above)
                pending.append(above)
    return found
