"""Logits: the values that the last softmax or sigmoid of a model reads. Outputs are compared by them.

Most probabilities are close to 0 or 1 whatever their logits are, and the few samples in doubt make up nearly all of
their error. All samples contribute to the error of logits, so that fewer samples are enough.
"""

import numpy as np
import openvino as ov
from openvino import opset13 as ops

_HANDED_ON = ("FakeQuantize", "Convert")


def has_logits(model: ov.Model) -> bool:
    """Whether a softmax or a sigmoid computes an output of the model.

    Args:
        model: The model, float or quantized.
    """
    return any(_last_activation(result) is not None for result in model.get_results())


def take_logits(model: ov.Model) -> None:
    """Replace each output that a softmax or a sigmoid computes by its logits, in place; its names are lost.

    The mean of the logits of a softmax along its axis is subtracted: it changes no probability.

    Args:
        model: The model, float or quantized.
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
    """The softmax or the sigmoid that computes an output; None for another output."""
    node = result.input_value(0).get_node()
    while node.get_type_name() in _HANDED_ON:
        node = node.input_value(0).get_node()
    return node if node.get_type_name() in ("Softmax", "Sigmoid") else None
