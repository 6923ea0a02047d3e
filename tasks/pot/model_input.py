"""The image that a model reads; POT's simplified engine and Accuracy Checker take it from the model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino as ov

from tasks.errors import InputError
from tasks.graph.naming import input_name
from tasks.graph.reading import why_unreadable

_CHANNELS = (1, 3)
_INFO = ov.PartialShape([1, 3])


@dataclass(frozen=True)
class ImageInput:
    """Height, width and channels of the input, each None if it is dynamic, and the layout.

    ``info`` is the name of a second input, which reads these three numbers.
    """

    height: int | None
    width: int | None
    channels: int | None
    layout: str  # nchw or nhwc
    info: str | None = None


def image_input(model: Path, weights: Path | None, layout: str | None = None) -> ImageInput | None:
    """The only image that a model reads; None if no input has three or four axes, or if there are other inputs too.

    A second input of one row of three numbers is the image's ``info``.

    Args:
        model: The model file.
        weights: Its .bin file, if it does not lie beside it.
        layout: Names the axes, like NCHW or CHW. None takes the model's own; without one, an axis of 1 or 3 is the
            channels.

    Raises:
        InputError: The file is no model, or the layout does not fit.
    """
    try:
        read = ov.Core().read_model(model, weights) if weights else ov.Core().read_model(model)
    except RuntimeError as failure:
        raise InputError(f"OpenVINO cannot read '{model}': {why_unreadable(failure, model)}") from failure
    infos = (
        [port for port in read.inputs if port.get_partial_shape().compatible(_INFO)] if len(read.inputs) == 2 else []
    )
    images = [port for port in read.inputs if port not in infos]
    if len(images) != 1 or images[0].get_partial_shape().rank.is_dynamic:
        return None
    shape = images[0].get_partial_shape()
    rank = shape.rank.get_length()
    if rank not in (3, 4):
        return None
    axes = (layout or _own_layout(images[0]) or _guess(shape, rank)).upper()
    if sorted(axes) != sorted("NCHW"[-rank:]):
        raise InputError(f"layout {axes!r}: expected the axes of the input {shape}, like {'NCHW'[-rank:]}.")
    lengths = {name: shape[axis].get_length() if shape[axis].is_static else None for axis, name in enumerate(axes)}
    order = "nhwc" if axes.endswith("C") else "nchw"
    return ImageInput(lengths["H"], lengths["W"], lengths["C"], order, input_name(infos[0]) if infos else None)


def _own_layout(port: Any) -> str | None:
    text = port.get_node().layout.to_string().strip("[]").replace(",", "")
    return text if text and set(text) <= set("NCHW") else None


def _guess(shape: ov.PartialShape, rank: int) -> str:
    first, last = shape[rank - 3], shape[rank - 1]
    channels_last = last.is_static and last.get_length() in _CHANNELS
    if channels_last and not (first.is_static and first.get_length() in _CHANNELS):
        return "NHWC"[-rank:] if rank == 4 else "HWC"
    return "NCHW"[-rank:]
