"""Weights of a quantized model: ``Constant(i8) -> Convert [-> Subtract] -> Multiply [-> Reshape] -> layer``."""

from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.graph.columns import Form
from tasks.graph.constants import constant_value, make_constant, read_constant
from tasks.numerics.moments import Array


@dataclass(frozen=True)
class QuantizedWeights:
    """The operations that hold the weights of one layer.

    Attributes:
        multiply: The Multiply by the scales.
        convert: The Convert that reads the codes.
        subtract: The Subtract of the zero points; None without one.
        form: The weights as matrices.
    """

    multiply: ov.Node
    convert: ov.Node
    subtract: ov.Node | None
    form: Form

    @property
    def shared_scale(self) -> bool:
        """Whether there is one scale for all weights."""
        return bool(np.prod(self.multiply.get_input_shape(1)) == 1)

    def codes(self) -> Array:
        """The codes, (groups, outputs, inputs), integers in float64."""
        return self._matrices(read_constant(self.convert, 0))

    def scale(self) -> Array:
        """The scale of each output, (groups, outputs), float64."""
        return self._rows(read_constant(self.multiply, 1))

    def zero_point(self) -> Array:
        """The zero point of each output, (groups, outputs), float64."""
        return self._rows(np.zeros(1) if self.subtract is None else read_constant(self.subtract, 1))

    def scales_by_row(self) -> bool:
        """Whether all inputs of an output have the same scale and zero point."""
        constants = [read_constant(each, 1) for each in (self.multiply, self.subtract) if each is not None]
        return all((spread == spread[:, :, :1]).all() for spread in map(self._matrices, constants))

    def write(self, codes: Array, scale: Array) -> "QuantizedWeights":
        """The weights after new codes and scales took the place of the old ones, in the model.

        The new operations take the names of the old ones. They have to be new: OpenVINO remembers the value that it
        once computed for an operation, and may use it when it compiles a model in which only a constant below was
        exchanged.

        Args:
            codes: The codes, (groups, outputs, inputs), integers in float64.
            scale: The scale of each output, (groups, outputs), float64.
        """
        shape, own = tuple(self.convert.get_input_shape(0)), tuple(self.multiply.get_input_shape(1))
        everywhere = self.form.weights(np.broadcast_to(scale[:, :, None], codes.shape)).reshape(shape)
        # As many scales as before, on the same axes.
        lengths = (1,) * (len(shape) - len(own)) + own
        scales = everywhere[tuple(slice(length) for length in lengths)].reshape(own).astype(np.float32)
        element_type = self.multiply.get_output_element_type(0)
        matrix = self.form.weights(codes).astype(np.int8).reshape(shape)
        integers = make_constant(_tuned(self.convert), matrix, ov.Type.i8)
        convert = _named(ops.convert(integers, element_type.get_type_name()), self.convert)
        subtract = self.subtract and _named(ops.subtract(convert, self.subtract.input_value(1)), self.subtract)
        factors = make_constant(_tuned(self.multiply), scales, element_type)
        multiply = _named(ops.multiply(subtract or convert, factors), self.multiply)
        for reader in self.multiply.output(0).get_target_inputs():
            reader.replace_source_output(multiply.output(0))
        return QuantizedWeights(multiply, convert, subtract, self.form)

    def _matrices(self, values: NDArray[np.float64]) -> Array:
        """An array that broadcasts to the codes, as (groups, outputs, inputs)."""
        spread = np.broadcast_to(values, tuple(self.convert.get_input_shape(0)))
        return np.array(self.form.matrices(spread.reshape(self.form.shape)))

    def _rows(self, values: NDArray[np.float64]) -> Array:
        """An array that broadcasts to the codes and is the same for all inputs, as (groups, outputs)."""
        return self._matrices(values)[:, :, 0]


def find_quantized_weights(node: ov.Node, port: int, form: Form) -> QuantizedWeights | str:
    """The weights that a layer of a quantized model reads, or the reason why they cannot be changed.

    Args:
        node: The operation of the layer.
        port: Port of the weights.
        form: The weights as matrices.
    """
    output = node.input_value(port)
    while output.get_node().get_type_name() == "Reshape" and len(output.get_target_inputs()) == 1:
        output = output.get_node().input_value(0)
    multiply = output.get_node()
    if multiply.get_type_name() != "Multiply":
        return "its weights are not quantized to 8 bits or less"
    if len(output.get_target_inputs()) > 1:
        return "its weights are shared with other operations"
    below = multiply.input_value(0).get_node()
    subtract = below if below.get_type_name() == "Subtract" else None
    convert = below.input_value(0).get_node() if subtract else below
    if convert.get_type_name() != "Convert" or convert.get_input_element_type(0) != ov.Type.i8:
        return "its weights are not quantized to 8 bits or less"
    found = QuantizedWeights(multiply, convert, subtract, form)
    if not found.scales_by_row():
        return "its scales differ along the inputs that are summed over"
    if not constant_value(convert.input_value(0)).any():
        return "its weights are zero"
    return found


def _named(node: ov.Node, like: ov.Node) -> ov.Node:
    node.set_friendly_name(like.get_friendly_name())
    return node


def _tuned(reader: ov.Node) -> str:
    return f"{reader.get_friendly_name()}/tuned"
