"""What an ignored scope leaves float, and which entries are problems."""

import re
from pathlib import Path

import openvino as ov
import pytest

from tasks.errors import InputError
from tasks.graph.placement import place_quantizers
from tasks.graph.reading import read_model
from tasks.graph.scope import IgnoredOperation, IgnoredScope
from tests.support import models as m
from tests.support.onnx_file import write_classifier
from tests.support.placed import activations, floats, points, weights


def operations(*entries: tuple[str, dict[str, object]]) -> IgnoredScope:
    return IgnoredScope(
        operations=tuple(IgnoredOperation(type_, tuple(attributes.items())) for type_, attributes in entries)  # type: ignore[arg-type]
    )


def strided() -> ov.Model:
    """Convolutions of stride 1, 2 and 3, one after the other."""
    data = m.relu_image((1, 4, 13, 13))
    for stride in (1, 2, 3):
        data = m.relu(m.convolution(data, f"stride{stride}", stride=stride), f"relu{stride}")
    return m.build(data)


def left(model: ov.Model, ignored: IgnoredScope) -> set[str]:
    return {name for name, reason in floats(model, ignored=ignored).items() if reason == "ignored"}


def test_a_named_operation_stays_float_with_its_weights() -> None:
    ignored = IgnoredScope(scope=("branch",))
    assert "branch_weights:0" not in weights(m.convnet(), ignored=ignored)
    assert floats(m.convnet(), ignored=ignored)["branch"] == "ignored"


def test_other_consumers_of_its_input_are_unaffected() -> None:
    data = m.relu_image()
    model = m.build(m.convolution(data, "a"), m.convolution(data, "b"))
    assert activations(model, ignored=IgnoredScope(scope=("a",))) == {"relu:0": ("b:0",)}


def test_nothing_moves_over_what_feeds_an_ignored_operation() -> None:
    model = m.crossed_pool(lambda x: m.convolution(x, "other"))
    assert activations(model, ignored=IgnoredScope(scope=("other",))) == {"pool:0": ("conv:0",)}


@pytest.mark.parametrize(
    ("ignored", "expected"),
    [
        pytest.param(IgnoredScope(patterns=("stride[12]",)), {"stride1", "stride2"}, id="pattern"),
        pytest.param(IgnoredScope(patterns=("stride",), scope=("stride1",)), None, id="patterns-match-in-full"),
        pytest.param(operations(("Convolution", {})), {"stride1", "stride2", "stride3"}, id="type"),
        pytest.param(operations(("convolution", {})), {"stride1", "stride2", "stride3"}, id="type-in-lower-case"),
        pytest.param(operations(("Convolution", {"strides": (2, 2)})), {"stride2"}, id="attribute"),
        pytest.param(
            operations(("Convolution", {"strides": (2, 2), "pads_begin": (0, 0)})), {"stride2"}, id="two-of-them"
        ),
        pytest.param(operations(("Convolution", {"strides": (9, 9)})), None, id="attribute-of-no-operation"),
        pytest.param(
            operations(("Convolution", {"strides": (3, 3)}), ("Convolution", {"strides": (2, 2)})),
            {"stride2", "stride3"},
            id="every-entry-is-tried",
        ),
    ],
)
def test_entries(ignored: IgnoredScope, expected: set[str] | None) -> None:
    if expected is None:
        with pytest.raises(InputError, match=r"quantization\.ignored\.(scope: the pattern|operations)"):
            place_quantizers(strided(), ignored=ignored)
    else:
        assert left(strided(), ignored) == expected


def three_kinds() -> ov.Model:
    data = m.convolution(m.relu_image(), "plain")
    return m.build(m.grouped_convolution(m.grouped_convolution(data, "grouped", 2), "depthwise", 4))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(("Convolution", {}), {"plain", "grouped", "depthwise"}, id="Convolution"),
        pytest.param(("GroupConvolution", {}), {"grouped", "depthwise"}, id="GroupConvolution"),
        pytest.param(("DepthWiseConvolution", {}), {"depthwise"}, id="DepthWiseConvolution"),
        pytest.param(("GroupConvolution", {"group": 2}), {"grouped"}, id="number-of-groups"),
    ],
)
def test_names_of_convolutions(entry: tuple[str, dict[str, object]], expected: set[str]) -> None:
    assert left(three_kinds(), operations(entry)) == expected


@pytest.mark.parametrize(
    "ignored", [IgnoredScope(scope=("pool",)), operations(("MaxPool", {"kernel": (2, 2)}))], ids=["name", "type"]
)
def test_an_ignored_pass_through_operation_is_not_crossed_and_nothing_else(ignored: IgnoredScope) -> None:
    model = m.crossed_pool()
    assert activations(model, ignored=ignored) == {"pool:0": ("conv:0",)}
    assert "conv_weights:0" in weights(model, ignored=ignored)


def test_attributes_of_pass_through_operations_are_looked_at() -> None:
    first = m.max_pool(m.relu_image((1, 4, 16, 8)), "pool")
    model = m.build(m.matmul(m.reshape(first, "flat", 1, -1), "fc"))
    with pytest.raises(InputError, match="kernel"):
        place_quantizers(model, ignored=operations(("MaxPool", {"kernel": (3, 3)})))


@pytest.mark.parametrize(
    ("ignored", "message"),
    [
        pytest.param(IgnoredScope(scope=("strde1",)), r"ignored\.scope.*'strde1'.*stride1", id="unknown-name"),
        pytest.param(IgnoredScope(scope=("relu1",)), r"'relu1' has no effect: Relu", id="never-quantized"),
        pytest.param(IgnoredScope(scope=("stride1_weights",)), "has no effect: Constant", id="a-constant"),
        pytest.param(
            IgnoredScope(patterns=("relu.*",)), r"pattern 'relu.*has no effect.*nor are 3 others", id="only-float"
        ),
        pytest.param(IgnoredScope(patterns=("none.*",)), r"pattern 'none\.\*' matches no operation", id="no-match"),
        pytest.param(IgnoredScope(patterns=("(",)), "no regular expression", id="broken-pattern"),
        pytest.param(operations(("Convolutoin", {})), r"no 'Convolutoin'; nearest: Convolution", id="unknown-type"),
        pytest.param(operations(("Relu", {})), "Relu has no effect", id="type-never-quantized"),
        pytest.param(operations(("Convolution", {"stride": (2, 2)})), r"'stride'; nearest: strides", id="no-attribute"),
        pytest.param(
            operations(("Convolution", {"strides": "2,2"})), r"strides=2,2\) matches no.*\(1, 1\)", id="wrong-spelling"
        ),
    ],
)
def test_entries_without_effect_are_errors(ignored: IgnoredScope, message: str) -> None:
    with pytest.raises(InputError, match=message):
        place_quantizers(strided(), ignored=ignored)


def test_the_reason_why_an_entry_has_no_effect_is_told() -> None:
    with pytest.raises(InputError, match=r"'stem_bias' has no effect: Add 'stem_bias'.*\(bias\); its layer is 'stem'"):
        place_quantizers(m.convnet(), ignored=IgnoredScope(scope=("stem_bias",)))


ONNX_NAMES = {
    "convolution with a bias": (
        "conv1",
        r"Add 'conv1' is never quantized here \(bias\); its layer is 'conv1/WithoutBias",
    ),
    "Gemm": ("fc", r"Add 'fc' is never quantized here \(bias\); its layer is 'fc/WithoutBiases'"),
    "pattern": ({"re": "conv."}, r"\(bias\); its layer is 'conv1/WithoutBiases'"),
    "activation": ("relu1", r"'relu1' has no effect: Relu 'relu1' is never quantized here \([^;]*\)$"),
    "folder of TensorFlow": ("block", r"no operation 'block'; it became 'block/Conv2D', 'block/dense/MatMul'$"),
}


@pytest.mark.parametrize(("name", "message"), ONNX_NAMES.values(), ids=ONNX_NAMES.keys())
def test_what_an_operation_of_the_file_became_is_told(name: str | dict[str, str], message: str, tmp_path: Path) -> None:
    if name == "block":
        layer = m.relu(m.convolution(m.relu_image(), "block/Conv2D"), "block/Relu")
        model = m.build(m.matmul(layer, "block/dense/MatMul"))
    else:
        model = read_model(write_classifier(tmp_path / "model.onnx"))
    ignored = IgnoredScope(scope=(name,)) if isinstance(name, str) else IgnoredScope(patterns=(name["re"],))
    with pytest.raises(InputError, match=message) as caught:
        place_quantizers(model, ignored=ignored)
    for suggested in re.findall("'([^']*)'", str(caught.value).partition("; ")[2]):
        assert left(model, IgnoredScope(scope=(suggested,))) == {suggested}


def test_operations_in_bodies_stay_float_anyway() -> None:
    with pytest.raises(InputError, match=r"loop\|inner.*TensorIterator"):
        place_quantizers(m.loop_around_convolution(), ignored=IgnoredScope(scope=("loop|inner",)))


def test_an_empty_scope_ignores_nothing() -> None:
    assert points(m.convnet(), ignored=IgnoredScope()) == points(m.convnet())
