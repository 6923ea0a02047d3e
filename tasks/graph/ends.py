"""The ends of sorted rows inside the graph: the k largest or smallest values of a tensor, without sorting all of it.

Two ways lead from many values to few that include the k largest. In columns: they are among the k largest of each
column, which TopK finds for all columns side by side; this is the quick way for a small k. In blocks: they lie in the k
blocks with the largest maxima, as any other block has k values above all of its own.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
import openvino as ov
from openvino import opset13 as ops

# The largest k for which columns are quicker than blocks.
_FEW_VALUES = 4
# Columns of a tensor of one row; the longest column of a row, beyond which it is parted into several.
_COLUMNS = 64
_LONGEST_COLUMN = 1024
# Rows with at most so many values for each one looked for are not parted into blocks.
_FEW_ENOUGH = 64


@dataclass(frozen=True)
class End:
    """The largest or the smallest values of each row of a tensor.

    Attributes:
        source: The tensor, of static shape.
        axes: There is a row for each place along these axes; () for one row.
        count: Number of values to find in each row.
        largest: Whether to find the largest values.
    """

    source: ov.Output
    axes: tuple[int, ...]
    count: int
    largest: bool

    @property
    def rows(self) -> int:
        """The number of rows."""
        shape = self.source.get_shape()
        return int(np.prod([shape[axis] for axis in self.axes]))

    @property
    def length(self) -> int:
        """The number of values in each row."""
        return int(np.prod(self.source.get_shape())) // self.rows

    @property
    def mode(self) -> str:
        """The ``mode`` of OpenVINO's TopK."""
        return "max" if self.largest else "min"

    @property
    def likeness(self) -> Hashable:
        """A key that is equal for ends that can be found together."""
        return self.rows == 1, self.length, self.count, self.largest


def find_together(ends: Sequence[End]) -> ov.Output:
    """The values of all ends, (rows of all ends, count), in any order within a row.

    Once few values of each tensor are left, they go on as rows of one tensor: fewer operations are quicker to compile
    and to run.

    Args:
        ends: Ends of equal ``likeness``, at least one.
    """
    count, mode = ends[0].count, ends[0].mode
    few = _best_in_columns if count <= _FEW_VALUES else _best_in_blocks
    values = [few(end) for end in ends]
    joined = ops.concat(values, 0).output(0) if len(values) > 1 else values[0]
    while joined.get_shape()[1] > _FEW_ENOUGH * count:
        fewer = _best_blocks(joined, count, mode)
        if fewer.get_shape() == joined.get_shape():
            break
        joined = fewer
    return _topk(joined, count, 1, mode).output(0) if joined.get_shape()[1] > count else joined


def _best_in_columns(end: End) -> ov.Output:
    """Values of each row that include those looked for, (rows, any number).

    Rows become columns, long rows become several: in memory channels are last, as convolutions write them.
    """
    rows, length = end.rows, end.length
    wanted = isqrt(length) if length > _LONGEST_COLUMN else 1
    width = _divisor(length, _COLUMNS if rows == 1 else wanted)
    if length // width <= end.count:
        width = 1
    if width * rows == 1:
        # OpenVINO (2026.4) does not compile a column of what a reduction without its axes computes.
        row = ops.reshape(end.source, np.array([1, length]), False).output(0)
        return _topk(row, end.count, 1, end.mode).output(0) if length > end.count else row
    columns = ops.reshape(_rows_last(end), np.array([length // width, width * rows]), False).output(0)
    if length // width > end.count:
        columns = _topk(columns, end.count, 0, end.mode).output(0)
    rest = columns.get_shape()[0] * width
    if rows == 1:
        return ops.reshape(columns, np.array([1, rest]), False).output(0)
    best = ops.reshape(columns, np.array([rest, rows]), False).output(0)
    if rest > end.count:
        best = _topk(best, end.count, 0, end.mode).output(0)
    return ops.transpose(best, np.array([1, 0])).output(0)


def _best_in_blocks(end: End) -> ov.Output:
    """Values of each row that include those looked for, (rows, any number)."""
    order = [*end.axes, *_other_axes(end)]
    source = end.source if _in_order(end, order) else ops.transpose(end.source, np.array(order)).output(0)
    values = ops.reshape(source, np.array([end.rows, end.length]), False).output(0)
    return _best_blocks(values, end.count, end.mode) if end.length > _FEW_ENOUGH * end.count else values


def _best_blocks(values: ov.Output, count: int, mode: str) -> ov.Output:
    """The values of the ``count`` blocks of each row that include those looked for; all where there are no others."""
    rows, length = values.get_shape()
    size = _divisor(length, 2 * isqrt(length // count))
    if length // size <= count or size == 1:
        return values
    parted = ops.reshape(values, np.array([rows, length // size, size]), False)
    best = (ops.reduce_max if mode == "max" else ops.reduce_min)(parted, np.array([2]))
    gathered = ops.gather(parted, _topk(best.output(0), count, 1, mode).output(1), np.array(1), 1)
    return ops.reshape(gathered, np.array([rows, count * size]), False).output(0)


def _topk(values: ov.Output, count: int, axis: int, mode: str) -> ov.Node:
    return ops.topk(values, np.array(count), axis, mode, "none")


def _rows_last(end: End) -> ov.Output:
    order = [*_other_axes(end), *end.axes]
    return end.source if end.rows == 1 else ops.transpose(end.source, np.array(order)).output(0)


def _other_axes(end: End) -> list[int]:
    return [axis for axis in range(len(end.source.get_shape())) if axis not in end.axes]


def _in_order(end: End, order: list[int]) -> bool:
    """Whether the axes longer than one have this order already."""
    shape = end.source.get_shape()
    long = [axis for axis in order if shape[axis] > 1]
    return long == sorted(long)


def _divisor(length: int, wanted: int) -> int:
    """The divisor of ``length`` that is nearest to ``wanted`` by ratio."""
    small = [divisor for divisor in range(1, isqrt(length) + 1) if length % divisor == 0]
    divisors = {*small, *(length // each for each in small)}
    return min(divisors, key=lambda each: (abs(np.log(each / max(wanted, 1))), each))
