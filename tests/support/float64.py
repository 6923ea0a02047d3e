"""What a layer computes, in float64 and tap by tap, as the pages of its operation say."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

Array = NDArray[np.float64]
_ALL = (slice(None), slice(None))  # samples and channels


def layer_output(layer: ov.Node, data: Array, weights: Array, *, data_port: int = 0) -> Array:
    """The output of a (transposed, grouped) convolution or a product of matrices, of the shape OpenVINO infers."""
    attributes, kind = layer.get_attributes(), layer.get_type_name()
    if kind == "MatMul":
        first, second = (data, weights) if data_port == 0 else (weights, data)
        first = first.swapaxes(-1, -2) if attributes["transpose_a"] and first.ndim > 1 else first
        return first @ (second.swapaxes(-1, -2) if attributes["transpose_b"] and second.ndim > 1 else second)
    groups = weights if "Group" in kind else weights[None]
    parts = np.split(data, len(groups), axis=1)
    channels = 1 if "Backprop" in kind else 0
    shape = list(layer.get_output_shape(0))
    shape[1] = groups.shape[1 + channels]
    compute = _transposed if "Backprop" in kind else _convolution
    return np.concatenate(
        [compute(attributes, part, each, shape) for part, each in zip(parts, groups, strict=True)], axis=1
    )


def _convolution(attributes: dict[str, Any], data: Array, weights: Array, shape: list[int]) -> Array:
    output = np.zeros(shape)
    for tap, here, there in _meetings(attributes, weights.shape[2:], list(data.shape[2:]), shape[2:]):
        output[(*_ALL, *here)] += data[(*_ALL, *there)] @ weights[(*_ALL, *tap)].T
    return output


def _transposed(attributes: dict[str, Any], data: Array, weights: Array, shape: list[int]) -> Array:
    output = np.zeros(shape)
    for tap, here, there in _meetings(attributes, weights.shape[2:], shape[2:], list(data.shape[2:])):
        output[(*_ALL, *there)] += data[(*_ALL, *here)] @ weights[(*_ALL, *tap)]
    return output


def _meetings(
    attributes: dict[str, Any], kernel: tuple[int, ...], long: list[int], short: list[int]
) -> Iterator[tuple[Any, Any, Any]]:
    """Each tap with each place on the short side and the place on the long side where it meets it, if there is one."""
    for tap in itertools.product(*map(range, kernel)):
        for place in itertools.product(*map(range, short)):
            met = tuple(
                at * step + each * dilation - pad
                for at, each, step, dilation, pad in zip(
                    place,
                    tap,
                    attributes["strides"],
                    attributes["dilations"],
                    (_transposed_pads if "output_padding" in attributes else _pads)(attributes, kernel, long, short),
                    strict=True,
                )
            )
            if all(0 <= at < size for at, size in zip(met, long, strict=True)):
                yield tap, place, met


def _pads(attributes: dict[str, Any], kernel: tuple[int, ...], long: list[int], short: list[int]) -> list[int]:
    kind = attributes["auto_pad"]
    if kind == "explicit":
        return list(attributes["pads_begin"])
    if kind == "valid":
        return [0] * len(kernel)
    pads = []
    for length, step, dilation, size, places in zip(
        kernel, attributes["strides"], attributes["dilations"], long, short, strict=True
    ):
        total = max((places - 1) * step + (length - 1) * dilation + 1 - size, 0)
        pads.append(total // 2 if kind == "same_upper" else total - total // 2)
    return pads


def _transposed_pads(
    attributes: dict[str, Any], kernel: tuple[int, ...], long: list[int], short: list[int]
) -> list[int]:
    """As the page of ConvolutionBackpropData has them."""
    if attributes["auto_pad"] == "explicit":
        return list(attributes["pads_begin"])
    pads = []
    for axis, taps in enumerate(kernel):
        total = attributes["strides"][axis] * (short[axis] - 1) + (taps - 1) * attributes["dilations"][axis] + 1
        total += attributes["output_padding"][axis] - long[axis]
        pads.append(total - total // 2 if attributes["auto_pad"] == "same_upper" else total // 2)
    return pads
