"""What is known of a tensor's values without running the model."""

import openvino as ov

from tasks.graph.traversal import constant_value

# Never below zero, whatever they read.
_NON_NEGATIVE = frozenset({"Relu", "Sigmoid", "Softmax", "Abs", "Exp", "HardSigmoid", "SoftPlus"})
# Never below zero where none of the data they read is; the number of inputs that are data.
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
    """Whether no value of a tensor can be negative, by the operations that lead to it."""
    node = output.get_node()
    kind = node.get_type_name()
    if kind == "Clamp":
        return bool(node.get_attributes()["min"] >= 0)
    if kind == "Constant":
        return bool((constant_value(output) >= 0).all())
    if kind == "Concat":
        return all(is_non_negative(node.input_value(port)) for port in range(node.get_input_size()))
    if kind in _KEEP_SIGN:
        return all(is_non_negative(node.input_value(port)) for port in range(_KEEP_SIGN[kind]))
    return kind in _NON_NEGATIVE
