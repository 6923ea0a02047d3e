"""POT's ``--keep-uncompressed-weights``: int8 constants become float constants with a FakeQuantize again."""

import os
import tempfile
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from tasks.graph.constants import constant_value

LEVELS = 256
SUFFIXES = ("weights", "input_low", "input_high", "output_low", "output_high")


def uncompress_weights(file: Path) -> int:
    """The number of constants that became float ones again in an IR, which is written anew.

    ``Constant(i8) -> Convert [-> Subtract] -> Multiply`` becomes ``Constant -> FakeQuantize``. The model's outputs stay
    the same, and it still runs in INT8.

    Args:
        file: The .xml file.
    """
    model = ov.Core().read_model(file)
    products = [node for node in model.get_ordered_ops() if node.get_type_name() == "Multiply"]
    chains = [(node, zero_point) for node in products if (zero_point := _zero_point(node)) is not None]
    for multiply, zero_point in chains:
        scale, values = constant_value(multiply.input_value(1)), constant_value(multiply.output(0))
        low, high = ((code - zero_point) * scale for code in (np.float32(-LEVELS // 2), np.float32(LEVELS // 2 - 1)))
        element_type, name = multiply.get_output_element_type(0), multiply.get_friendly_name()
        inputs = [ops.constant(np.asarray(each), dtype=element_type) for each in (values, low, high, low, high)]
        for node, suffix in zip(inputs, SUFFIXES, strict=True):
            node.set_friendly_name(f"{name}/{suffix}")
        quantizer = ops.fake_quantize(*inputs, LEVELS)
        quantizer.set_friendly_name(name)
        multiply.output(0).replace(quantizer.output(0))
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        new = Path(folder) / file.name
        ov.save_model(model, new, compress_to_fp16=False)
        del model  # the model still maps the old file
        for suffix in (".bin", ".xml"):
            os.replace(new.with_suffix(suffix), file.with_suffix(suffix))  # noqa: PTH105 - the rename is the point
    return len(chains)


def _zero_point(multiply: ov.Node) -> NDArray[np.float32] | None:
    """The zero point of the int8 constant that a product scales; None for any other product."""
    source, zero_point = multiply.input_value(0).get_node(), np.zeros((), np.float32)
    if source.get_type_name() == "Subtract":
        zero_point = constant_value(source.input_value(1))
        source = source.input_value(0).get_node()
    if source.get_type_name() != "Convert":
        return None
    constant = source.input_value(0).get_node()
    is_codes = constant.get_type_name() == "Constant" and constant.get_output_element_type(0) == ov.Type.i8
    return zero_point if is_codes else None
