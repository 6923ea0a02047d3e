"""A layer as a matrix product (im2col): the inputs that each output position reads, in the order of the weights.

``output[position, group, o] = sum of weights[group, o, i] * columns[group, position, i]`` for every kind of layer:
(grouped, transposed) convolutions with any number of spatial axes, MatMul with the weights on either side. A tap of the
kernel that lies in the padding, or between the strides of a transposed convolution, reads zero.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.graph.layers import Layer, contracts_first, pad_begin

Number = TypeVar("Number", bound=np.generic)
Places = NDArray[np.intp]


@dataclass(frozen=True)
class Form:
    """How the weights of a layer become matrices, (groups, outputs, inputs), and back.

    Attributes:
        layer: The layer.
        shape: Shape of the weights.
        groups: Number of groups; 1 for all but grouped convolutions.
        outputs: Output channels per group.
    """

    layer: Layer
    shape: tuple[int, ...]
    groups: int
    outputs: int

    @property
    def inputs(self) -> int:
        """The number of inputs that one output sums over."""
        return int(np.prod(self.shape)) // (self.groups * self.outputs)

    @property
    def kernel(self) -> tuple[int, ...]:
        """The spatial sizes of the kernel; () for a MatMul."""
        return () if self._product else self.shape[(3 if self._grouped else 2) :]

    def matrices(self, weights: NDArray[Number]) -> NDArray[Number]:
        """The weights as matrices, (groups, outputs, inputs).

        Args:
            weights: The weights, or an array that broadcasts to them, any dtype.
        """
        weights = np.broadcast_to(weights, self.shape)
        if self._product:
            matrix = weights.reshape(self.shape[-2:])
            return (matrix.T if contracts_first(self.layer) else matrix)[None]
        grouped = weights if self._grouped else weights[None]
        if self._backwards:
            grouped = np.swapaxes(grouped, 1, 2)
        matrices: NDArray[Number] = np.reshape(grouped, (self.groups, self.outputs, -1))
        return matrices

    def weights(self, matrices: NDArray[Number]) -> NDArray[Number]:
        """The weights in their own shape: undoes :meth:`matrices`.

        Args:
            matrices: The matrices, (groups, outputs, inputs), any dtype.
        """
        if self._product:
            return np.reshape(matrices[0].T if contracts_first(self.layer) else matrices[0], self.shape)
        grouped = matrices.reshape(self.groups, self.outputs, -1, *self.kernel)
        return np.reshape(np.swapaxes(grouped, 1, 2) if self._backwards else grouped, self.shape)

    def answers(self, output: NDArray[Number], places: Places) -> NDArray[Number]:
        """The layer's output at some positions, (groups, positions, outputs).

        Args:
            output: The layer's output for one sample, with its batch axis.
            places: Numbers of the positions, (positions,), counted in C order without the channels.
        """
        rows = np.moveaxis(output, self.layer.output_axis, 0).reshape(output.shape[self.layer.output_axis], -1)
        chosen = rows[:, places].reshape(self.groups, self.outputs, -1)
        return np.ascontiguousarray(np.swapaxes(chosen, 1, 2))

    def columns(self, data: NDArray[Number], output_shape: tuple[int, ...], places: Places) -> NDArray[Number]:
        """The inputs that some output positions read, (groups, positions, inputs).

        Args:
            data: The layer's data for one sample, with its batch axis.
            output_shape: Shape of the layer's output for this sample.
            places: Numbers of the positions, (positions,), counted in C order without the channels.
        """
        axis = self.layer.data_axis
        rows = np.moveaxis(data, axis, 0).reshape(data.shape[axis], -1)
        if self._product:
            return np.ascontiguousarray(rows[:, places].T)[None]
        flat, met = self._taps(data.shape[2:], output_shape[2:], places)
        read = rows[:, flat] * met.astype(rows.dtype)
        apart = read.reshape(self.groups, -1, *flat.shape)
        return np.ascontiguousarray(np.swapaxes(apart, 1, 2)).reshape(self.groups, len(places), -1)

    def positions(self, output_shape: tuple[int, ...]) -> int:
        """The number of output positions of one sample.

        Args:
            output_shape: Shape of the layer's output for this sample.
        """
        return int(np.prod(output_shape)) // (self.groups * self.outputs)

    def _taps(
        self, before: tuple[int, ...], after: tuple[int, ...], places: Places
    ) -> tuple[Places, NDArray[np.bool_]]:
        """For each position and tap the place of the input it meets, and whether there is one; (positions, taps) each.

        Images of a batch follow each other, both in positions and in inputs.
        """
        attributes: dict[str, Any] = self.layer.operation.node.get_attributes()
        images, places = np.divmod(places, int(np.prod(after)))
        flat, met = images[:, None], np.ones((len(places), 1), np.bool_)
        for axis, where in enumerate(np.unravel_index(places, after)):
            length, size = self.kernel[axis], before[axis]
            stride, dilation = attributes["strides"][axis], attributes["dilations"][axis]
            pad = pad_begin(self.layer.operation, axis, length, [size, after[axis]])
            reach = np.arange(length) * dilation
            if self._backwards:
                moved = where[:, None] + pad - reach
                along, inside = moved // stride, moved % stride == 0
            else:
                along = where[:, None] * stride + reach - pad
                inside = np.ones_like(along, np.bool_)
            inside &= (along >= 0) & (along < size)
            along = np.clip(along, 0, size - 1)
            flat = (flat[:, :, None] * size + along[:, None]).reshape(len(places), -1)
            met = (met[:, :, None] & inside[:, None]).reshape(len(places), -1)
        return flat, met

    @property
    def _product(self) -> bool:
        return self.layer.operation.type == "MatMul"

    @property
    def _grouped(self) -> bool:
        return self.layer.operation.type.startswith("Group")

    @property
    def _backwards(self) -> bool:
        return "Backprop" in self.layer.operation.type


def form_of(layer: Layer, shape: tuple[int, ...]) -> Form:
    """The form of a layer.

    Args:
        layer: The layer.
        shape: Shape of its weights.
    """
    kind = layer.operation.type
    if kind == "MatMul":
        return Form(layer, shape, 1, shape[-1] if contracts_first(layer) else shape[-2])
    grouped = int(kind.startswith("Group"))
    outputs = shape[grouped + (1 if "Backprop" in kind else 0)]
    return Form(layer, shape, shape[0] if grouped else 1, outputs)
