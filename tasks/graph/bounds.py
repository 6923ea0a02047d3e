"""Bounds on the values of a tensor that hold for every input of the model."""

import openvino as ov

from tasks.graph.constants import constant_value

# Their results are never negative.
_NON_NEGATIVE = frozenset({"Relu", "Sigmoid", "Softmax", "Abs", "Exp", "HardSigmoid", "SoftPlus"})
# Their results are not negative if their data are not; the number of inputs that are data.
_KEEP_SIGN = {
    "MaxPool": 1,
    "AvgPool": 1,
    "ReduceMean": 1,
    "ReduceMax": 1,
    "ReduceSum": 1,
    "Reshape": 1,
    "Transpose": 1,
    "Squeeze": 1,
    "Unsqueeze": 1,
    "Split": 1,
    "VariadicSplit": 1,
    "Sqrt": 1,
    "Add": 2,
    "Multiply": 2,
    "Maximum": 2,
    "Minimum": 2,
}


def is_non_negative(output: ov.Output) -> bool:
    """Whether the operations that lead to a tensor leave no negative value in it.

    Args:
        output: The tensor.
    """
    return _is_non_negative(output, {})


def _is_non_negative(output: ov.Output, known: dict[str, bool]) -> bool:
    """The same. ``known`` holds the answer of each operation met on the way, so that none is looked at twice."""
    node = output.get_node()
    name, kind = node.get_friendly_name(), node.get_type_name()
    if name not in known:
        read = node.get_input_size() if kind == "Concat" else _KEEP_SIGN.get(kind, 0)
        if kind == "Clamp":
            known[name] = bool(node.get_attributes()["min"] >= 0)
        elif kind == "Constant":
            known[name] = bool((constant_value(output) >= 0).all())
        elif read:
            known[name] = all(_is_non_negative(node.input_value(port), known) for port in range(read))
        else:
            known[name] = kind in _NON_NEGATIVE
    return known[name]
