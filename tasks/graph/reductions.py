"""Reductions inside the graph: of an observed tensor a few numbers per sample and channel leave the model.

Over a whole image the maximum and the mean are poolings: unlike ReduceMax and ReduceMean they read the memory layout
that convolutions write.
"""

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.numerics.sketch import fractions, grid

CHANNEL_AXIS = 1
IMAGE_RANK = 4


def extremes(source: ov.Output, *, keeps_channels: bool, non_negative: bool, batch: int) -> list[ov.Output]:
    """[maximum, minimum] of each sample, per channel or per tensor; [maximum] if no value is negative.

    Args:
        source: The tensor, with its samples on axis 0 if it holds more than one.
        keeps_channels: Whether each channel, on axis 1, has extremes of its own.
        non_negative: Whether no value of the tensor is negative.
        batch: Number of samples that the tensor holds.
    """
    kept = ({CHANNEL_AXIS} if keeps_channels else set()) | ({0} if batch > 1 else set())
    shape = source.get_partial_shape()
    if shape.rank.is_dynamic:
        source = ops.reshape(source, np.array([-1]), False).output(0)
        shape = source.get_partial_shape()
    axes = np.array([axis for axis in range(shape.rank.get_length()) if axis not in kept], np.int64)
    if not len(axes):
        # There is one value per sample and channel, which is both.
        return [source] if non_negative else [source, source]
    minimum = [] if non_negative else [ops.reduce_min(source, axes).output(0)]
    size = _image_size(source, batch)
    if size is None:
        return [ops.reduce_max(source, axes).output(0), *minimum]
    return [ops.max_pool(source, [1, 1], [1, 1], [0, 0], [0, 0], size).output(0), *minimum]


def mean_along(source: ov.Output, axis: int, batch: int) -> ov.Output:
    """The mean of each sample for every place along an axis.

    Args:
        source: The tensor, with its samples on axis 0 if it holds more than one.
        axis: The axis.
        batch: Number of samples that the tensor holds.
    """
    size = _image_size(source, batch)
    if size is not None and axis == CHANNEL_AXIS:
        return ops.avg_pool(source, [1, 1], [0, 0], [0, 0], size, exclude_pad=False).output(0)
    axes = _axes_but(source, axis, batch)
    return ops.reduce_mean(source, axes).output(0) if len(axes) else source


def peak_along(source: ov.Output, axis: int, batch: int) -> ov.Output:
    """The largest magnitude of each sample for every place along an axis.

    Args:
        source: The tensor, with its samples on axis 0 if it holds more than one.
        axis: The axis.
        batch: Number of samples that the tensor holds.
    """
    axes = _axes_but(source, axis, batch)
    magnitudes = ops.abs(source)
    return (ops.reduce_max(magnitudes, axes) if len(axes) else magnitudes).output(0)


def values_of(source: ov.Output, batch: int) -> ov.Output:
    """The sketch of each sample, its values at the places of :mod:`tasks.numerics.sketch`; NaN if it has none.

    Args:
        source: The tensor, with its samples on axis 0 if it holds more than one.
        batch: Number of samples that the tensor holds.
    """
    shape = source.get_partial_shape()
    slices = grid(tuple(shape.to_shape()) if shape.is_static else None)
    if slices is not None:
        axes = [axis for axis, each in enumerate(slices) if each != slice(0, shape[axis].get_length(), 1)]
        if not axes:
            return source
        start, stop, step = (np.array([getattr(slices[axis], name) for axis in axes]) for name in _SLICE)
        return ops.slice(source, start, stop, step, np.array(axes)).output(0)
    flat = ops.reshape(source, np.array([batch, -1]), False)
    length = ops.convert(ops.gather(ops.shape_of(flat), np.array([1]), np.array(0)), "f32")
    places = ops.convert(ops.floor(ops.multiply(length, fractions())), "i32")
    found = ops.gather(flat, places, np.array(1))
    nothing = ops.constant(np.nan, dtype=source.get_element_type())
    return ops.select(ops.equal(length, ops.constant(np.float32(0))), nothing, found).output(0)


def as_rows(sources: list[ov.Output], batch: int) -> ov.Output:
    """All tensors side by side, one row per sample: (batch, numbers), float32.

    Args:
        sources: Reduced tensors, at least one.
        batch: Number of samples that each of them holds.
    """
    rows = [ops.reshape(ops.convert(source, "f32"), np.array([batch, -1]), False) for source in sources]
    return ops.concat(rows, 1).output(0) if len(rows) > 1 else rows[0].output(0)


_SLICE = ("start", "stop", "step")


def _axes_but(source: ov.Output, axis: int, batch: int) -> NDArray[np.int64]:
    """All axes except ``axis`` and, of several samples, axis 0."""
    kept = {axis} | ({0} if batch > 1 else set())
    rank = source.get_partial_shape().rank.get_length()
    return np.array([each for each in range(rank) if each not in kept], np.int64)


def _image_size(source: ov.Output, batch: int) -> list[int] | None:
    """The height and width of a tensor of ``batch`` images of fixed size and real numbers; None for other tensors."""
    shape = source.get_partial_shape()
    if shape.is_dynamic or shape.rank.get_length() != IMAGE_RANK or not source.get_element_type().is_real():
        return None
    size = list(shape.to_shape())[2:]
    return None if shape[0] != batch or 0 in size else size
