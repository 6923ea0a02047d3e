"""Reductions of tensors inside the graph: what is observed leaves the model as a few numbers a sample and channel.

Over the whole of an image maximum and mean are poolings: unlike ReduceMax and ReduceMean they read the layout that
convolutions write.
"""

import numpy as np
import openvino as ov
from openvino import opset13 as ops

CHANNEL_AXIS = 1
IMAGE_RANK = 4


def extremes(source: ov.Output, *, keeps_channels: bool, non_negative: bool, batch: int) -> list[ov.Output]:
    """The maximum and, unless no value is negative, the minimum of each of ``batch`` samples, a channel or in all."""
    kept = ({CHANNEL_AXIS} if keeps_channels else set()) | ({0} if batch > 1 else set())
    shape = source.get_partial_shape()
    if shape.rank.is_dynamic:
        source = ops.reshape(source, np.array([-1]), False).output(0)
        shape = source.get_partial_shape()
    axes = np.array([axis for axis in range(shape.rank.get_length()) if axis not in kept], np.int64)
    if not len(axes):
        # One value a sample and channel: it is both.
        return [source] if non_negative else [source, source]
    minimum = [] if non_negative else [ops.reduce_min(source, axes).output(0)]
    size = _image_size(source, batch)
    if size is None:
        return [ops.reduce_max(source, axes).output(0), *minimum]
    return [ops.max_pool(source, [1, 1], [1, 1], [0, 0], [0, 0], size).output(0), *minimum]


def mean_along(source: ov.Output, axis: int, batch: int) -> ov.Output:
    """The mean of each of ``batch`` samples for every place along ``axis``."""
    size = _image_size(source, batch)
    if size is not None and axis == CHANNEL_AXIS:
        return ops.avg_pool(source, [1, 1], [0, 0], [0, 0], size, exclude_pad=False).output(0)
    kept = {axis} | ({0} if batch > 1 else set())
    axes = np.array(
        [each for each in range(source.get_partial_shape().rank.get_length()) if each not in kept], np.int64
    )
    return ops.reduce_mean(source, axes).output(0) if len(axes) else source


def _image_size(source: ov.Output, batch: int) -> list[int] | None:
    """Height and width of real images of fixed size; None for other tensors."""
    shape = source.get_partial_shape()
    if shape.is_dynamic or shape.rank.get_length() != IMAGE_RANK or not source.get_element_type().is_real():
        return None
    size = list(shape.to_shape())[2:]
    return None if shape[0] != batch or 0 in size else size
