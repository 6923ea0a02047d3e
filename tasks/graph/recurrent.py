"""Recurrent layers, quantized as OpenVINO computes them (2026.4).

Its integer kernels have one scale for the data and the state, and for each channel one for both weights: the state is
rounded at every step like the data, and the scales of the weights of the data serve those of the state. Of an LSTM they
mix up the scales of the first two gates. So the range of the data holds the state, a constant initial one as well, and
both weights, and both gates, share their scales. What the kernels do not know is computed in floats, step by step.
"""

from collections.abc import Iterable

from tasks.graph.constants import constant_value
from tasks.graph.operations import Operation, Source, shape_of

# Recurrent layers that have a quantized form, with their number of gates.
GATES = {"LSTMSequence": 4, "GRUSequence": 3}
LSTM_GATES = GATES["LSTMSequence"]
RECURRENT = GATES.keys() | {"RNNSequence", "LSTMCell", "GRUCell", "RNNCell"}
STATE_PORT = 1

_ACTIVATIONS = {"LSTMSequence": ["sigmoid", "tanh", "tanh"], "GRUSequence": ["sigmoid", "tanh"]}


def why_float(operation: Operation) -> str | None:
    """The reason why OpenVINO computes a recurrent layer in floats, however it is quantized; None if it does not.

    Args:
        operation: A type of GATES.
    """
    attributes = operation.node.get_attributes()
    if attributes.get("linear_before_reset"):
        return "linear_before_reset has no quantized form"
    if attributes["clip"] or attributes["activations"] != _ACTIVATIONS[operation.type]:
        return "OpenVINO has no quantized form with its clip or activations"
    first_weights = len(operation.sources) - 3
    if not all(source.operation.constant for source in operation.sources[first_weights:]):
        return "its weights are not constant"
    batch, steps = (shape_of(operation.sources[0]) or (None, None))[:2]
    if batch is None:
        return "OpenVINO compiles its quantized form for a batch of fixed length only"
    lengths = operation.sources[first_weights - 1].operation
    whole = lengths.shape_only or (lengths.constant and bool((constant_value(lengths.node.output(0)) == steps).all()))
    if steps is not None and not whole:
        return "OpenVINO has a quantized form for sequences of one length only"
    return None


def constant_states(layers: Iterable[Operation]) -> tuple[float, float]:
    """The least and the greatest value of the constant initial states of recurrent layers; zeros without any.

    Args:
        layers: The layers.
    """
    states = [layer.sources[STATE_PORT] for layer in layers]
    values = [constant_value(state.operation.node.output(state.port)) for state in states if state.operation.constant]
    low = min((float(each.min()) for each in values), default=0.0)
    return low, max((float(each.max()) for each in values), default=0.0)


def state_of(layer: Operation) -> Source:
    """The tensor that holds the states of a recurrent layer at all steps.

    Args:
        layer: The layer.
    """
    return Source(layer, 0)
