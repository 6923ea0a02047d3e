"""What outputs are judged by: the numbers that a last softmax or sigmoid reads.

Most probabilities are next to 0 or 1 whatever the numbers behind them, and their error is that of the few samples in
doubt. All samples tell something of their logits, so that fewer suffice.
"""

import numpy as np
import openvino as ov
from openvino import opset13 as ops

_HANDED_ON = ("FakeQuantize", "Convert")


def has_logits(model: ov.Model) -> bool:
    """Whether an output is that of a softmax or sigmoid."""
    return any(_last_activation(result) is not None for result in model.get_results())


def take_logits(model: ov.Model) -> None:
    """Let every output that a softmax or sigmoid computes be what that reads instead, names aside.

    What a softmax reads counts without its mean along the axis, which changes no probability.
    """
    for result in model.get_results():
        last = _last_activation(result)
        if last is None:
            continue
        logits = last.input_value(0)
        if last.get_type_name() == "Softmax":
            axis = np.array([last.get_attributes()["axis"]])
            logits = ops.subtract(logits, ops.reduce_mean(logits, axis, keep_dims=True)).output(0)
        result.input(0).replace_source_output(logits)
    model.validate_nodes_and_infer_types()


def _last_activation(result: ov.Node) -> ov.Node | None:
    node = result.input_value(0).get_node()
    while node.get_type_name() in _HANDED_ON:
        node = node.input_value(0).get_node()
    return node if node.get_type_name() in ("Softmax", "Sigmoid") else None
