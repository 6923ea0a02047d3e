"""Models of any format are read, or one readable reason says why not."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tasks.errors import InputError
from tasks.graph.reading import locate, model_files, read_model, require_float, require_room
from tests.support import models as m
from tests.support.onnx_file import write_convolution, write_normalized
from tests.support.privileges import like_anybody

SOME_PATH = Path("some.xml")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "network.xml"
    ov.save_model(m.convnet(), path, compress_to_fp16=False)
    return path


def test_a_path_is_found_as_it_is(saved: Path) -> None:
    assert locate(str(saved)) == saved


def test_a_home_directory_is_expanded(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(saved.parent))
    assert locate("~/network.xml") == saved


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        pytest.param("netwrok.xml", " Did you mean 'network.xml'?", id="near"),
        pytest.param("other", "", id="nothing-near"),
        pytest.param("folder/network.xml", "", id="no-folder"),
    ],
)
def test_a_missing_file_is_named_with_the_nearest_one(saved: Path, name: str, hint: str) -> None:
    path = str(saved.parent / name)
    with pytest.raises(InputError) as caught:
        locate(path)
    assert str(caught.value) == f"model.path: there is no file '{path}'.{hint}"


def test_a_packaged_model_is_read() -> None:
    path = locate("pkg://tasks.digits/digits.xml")
    assert path.is_absolute()
    require_float(read_model(path), path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("pkg://tasks.digits/digit.xml", "there is no file .* Did you mean 'digits.xml'", id="file"),
        pytest.param("pkg://no_such_package/digits.xml", "'no_such_package', which is not installed", id="package"),
        pytest.param("pkg://tasks.nothing.here/digits.xml", "which is not installed", id="subpackage"),
        pytest.param("pkg:///digits.xml", "the package '', which is not installed", id="no-package"),
        pytest.param("pkg://.relative/digits.xml", "which is not installed", id="relative"),
    ],
)
def test_a_packaged_model_that_does_not_exist(path: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        locate(path)


def test_the_model_read_is_the_model_saved(saved: Path) -> None:
    read = read_model(saved)
    assert {node.get_friendly_name() for node in read.get_ordered_ops()} == {
        node.get_friendly_name() for node in m.convnet().get_ordered_ops()
    }


def cut_xml(path: Path) -> None:
    text = path.read_text()
    path.write_text(text[: text.index("</layers>")])


def replace_xml(path: Path) -> None:
    path.write_text("<html>not found</html>")


def cut_weights(path: Path) -> None:
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-64])


def empty_weights(path: Path) -> None:
    path.with_suffix(".bin").write_bytes(b"")


def remove_weights(path: Path) -> None:
    path.with_suffix(".bin").unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(cut_xml, r"OpenVINO cannot read .*: .* at offset \d+", id="xml-cut-off"),
        pytest.param(replace_xml, "OpenVINO cannot read", id="another-xml"),
        pytest.param(cut_weights, "OpenVINO cannot read .*: Incorrect weights in bin file", id="weights-cut-off"),
        pytest.param(empty_weights, "OpenVINO cannot read .*: Incorrect weights in bin file", id="weights-empty"),
        pytest.param(remove_weights, "has no weights: 'network.bin' is missing beside it", id="weights-missing"),
    ],
)
def test_a_damaged_ir_is_refused_with_the_reason(saved: Path, damage: Callable[[Path], None], reason: str) -> None:
    damage(saved)
    with pytest.raises(InputError, match=reason) as caught:
        read_model(saved)
    assert str(caught.value).startswith("model.path: ")
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "damaged", "reason"),
    [
        (r'<layer id="\d+"', '<layer id="no"', r"id of <layer> of the layer '[^']+' is 'no'; expected a whole number"),
        (r'from-layer="\d+"', 'from-layer=""', "from-layer of <edge> is ''; expected a whole number"),
        (
            r'offset="\d+"',
            f'offset="{"9" * 400}"',
            r"offset of <data> of the layer '[^']+' is '9+ \.\.\. 9+'",
        ),
    ],
)
def test_a_number_that_is_none_is_told_with_its_place(saved: Path, pattern: str, damaged: str, reason: str) -> None:
    """OpenVINO says ``stoll``, the function that C++ reads numbers with."""
    saved.write_text(re.sub(pattern, damaged, saved.read_text(), count=1))
    with pytest.raises(InputError, match=reason):
        read_model(saved)


@pytest.mark.parametrize("name", [b'name="stem_relu"', b'names="image"'], ids=["node", "tensor"])
def test_a_name_that_is_no_unicode_is_refused_in_one_line(saved: Path, name: bytes) -> None:
    text = saved.read_bytes()
    saved.write_bytes(text.replace(name, name[:-2] + b'\xd0("'))
    assert saved.read_bytes() != text
    with pytest.raises(InputError, match=r"^model\.path: OpenVINO cannot read '.*': a name in it is not UTF-8$"):
        read_model(saved)


def test_long_reasons_are_shown_shortened(saved: Path) -> None:
    saved.write_text(saved.read_text().replace('type="Convolution"', f'type="{"Conv" * 1000}"'))
    with pytest.raises(InputError) as caught:
        read_model(saved)
    assert len(str(caught.value)) < 250 + len(str(saved))


@pytest.mark.parametrize("lengths", [(1, 1, 10**7, 10**7), (-1, 1, 10**7, 10**7)], ids=["fixed", "free batch"])
def test_inputs_that_no_memory_holds_are_refused_before_anything_is_made_of_them(lengths: tuple[int, ...]) -> None:
    data = m.named(ops.parameter(ov.PartialShape(list(lengths)), ov.Type.f32), "image")
    words = r"a sample of input 'image' of shape \[.*10000000,10000000\] would take \d{5,}\.\d GiB; this machine has"
    with pytest.raises(InputError, match=words):
        require_room(m.build(m.relu(data, "relu")))
    require_room(m.convnet())


@pytest.mark.parametrize("content", [b"", b"\x00\x01 no model"], ids=["empty", "other"])
@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".pb"])
def test_a_damaged_file_of_a_known_format_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"OpenVINO cannot read '{path}'") as caught:
        read_model(path)
    assert "Known suffixes" not in str(caught.value)


def test_foreign_files_leave_nothing_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each frontend of OpenVINO has a look, and TensorFlow's says what it thinks of it."""
    (tmp_path / "model.onnx").write_text("hello\n")
    with pytest.raises(InputError, match=r"it is of no format that OpenVINO knows, or damaged\.$"):
        read_model(tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".xml", ".onnx", ".tflite"])
def test_a_model_without_permission_is_not_called_damaged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.touch(0)
    with like_anybody(), pytest.raises(InputError, match=rf"model\.path: '{path}' cannot be read: Permission denied"):
        model_files(path)


def test_neighbours_that_cannot_be_read_are_named(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(InputError, match=r"model\.path: '.*' cannot be read: Permission denied"):
        model_files(saved)


@pytest.mark.parametrize("name", ["model.pt", "model"])
def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"weights")
    with pytest.raises(InputError, match=r"Known suffixes: \.xml, \.onnx"):
        read_model(tmp_path / name)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"OpenVINO cannot read '{tmp_path}'"):
        read_model(tmp_path)


def test_onnx_is_read_with_its_external_data(tmp_path: Path) -> None:
    path = write_convolution(tmp_path / "model.onnx", tmp_path / "weights.data")
    compiled = ov.Core().compile_model(read_model(path), "CPU")
    (output,) = compiled(np.ones((1, 4, 8, 8), np.float32)).values()
    np.testing.assert_array_equal(output, np.full((1, 4, 8, 8), 10, np.float32))


def test_onnx_without_its_external_data_is_refused(tmp_path: Path) -> None:
    path = write_convolution(tmp_path / "model.onnx", tmp_path / "weights.data")
    (tmp_path / "weights.data").unlink()
    with pytest.raises(InputError, match="OpenVINO cannot read"):
        read_model(path)


def test_an_ir_consists_of_two_files(saved: Path) -> None:
    (saved.parent / "notes.txt").write_text("network.xml")
    (saved.parent / "other.bin").write_bytes(b"")
    assert set(model_files(saved)) == {saved, saved.with_suffix(".bin")}


def test_onnx_consists_of_the_files_that_it_mentions(tmp_path: Path) -> None:
    path = write_convolution(tmp_path / "model.onnx", tmp_path / "weights.data")
    for other in ("other.data", "model.xml", "model.bin"):
        (tmp_path / other).write_bytes(b"")
    assert set(model_files(path)) == {path, tmp_path / "weights.data"}


def test_a_folder_is_one_file_of_a_model(tmp_path: Path) -> None:
    assert model_files(tmp_path) == (tmp_path,)


def test_float_models_are_taken() -> None:
    integers = ops.gather(m.constant("table", 5, 4), m.image("tokens", (1, 3), "i64"), m.number("axis", 0))
    for model in (m.convnet(), m.build(integers)):
        require_float(model, SOME_PATH)


def test_weights_in_half_precision_are_float() -> None:
    weights = ops.convert(m.constant("stored", 4, 4, 1, 1, dtype=np.float16), "f32")
    require_float(m.build(ops.multiply(m.image(), weights)), SOME_PATH)


def quantized_activations() -> ov.Model:
    low, high = m.named(ops.constant(np.float32(-1)), "low"), m.named(ops.constant(np.float32(1)), "high")
    return m.build(m.named(ops.fake_quantize(m.relu_image(), low, high, low, high, 256), "quantizer"))


def integer_weights(kind: str) -> ov.Model:
    codes = m.named(ops.constant(np.ones((4, 4), np.int8), dtype=getattr(ov.Type, kind)), "codes")
    weights = m.named(ops.convert(codes, "f32"), "unpacked")
    return m.build(ops.matmul(m.image(shape=(1, 4)), weights, False, False))


@pytest.mark.parametrize(
    ("model", "what"),
    [
        pytest.param(quantized_activations(), "FakeQuantize operation 'quantizer'", id="FakeQuantize"),
        pytest.param(integer_weights("i8"), "integer weights in 'unpacked'", id="i8"),
        pytest.param(integer_weights("u8"), "integer weights in 'unpacked'", id="u8"),
        pytest.param(integer_weights("i4"), "integer weights in 'unpacked'", id="i4"),
    ],
)
def test_quantized_models_are_refused(model: ov.Model, what: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        require_float(model, SOME_PATH)
    assert "some.xml" in str(caught.value)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_what_the_converter_has_not_seen_is_fused_as_by_it(suffix: str, tmp_path: Path) -> None:
    path = write_normalized(tmp_path / "model.onnx")
    ov.save_model(ov.Core().read_model(path), tmp_path / "model.xml", compress_to_fp16=False)
    nodes = read_model(tmp_path / f"model{suffix}").get_ordered_ops()
    found = {node.get_friendly_name(): node.get_type_name() for node in nodes}
    assert found["Conv_0"] == "Convolution"
    assert found["Norm_1"] == "Add"
    assert sorted(found.values()) == sorted(
        ["Parameter", "Constant", "Convolution", "Constant", "Add", "Swish", "Result"]
    )


def test_an_ir_of_the_converter_is_read_as_it_is(tmp_path: Path) -> None:
    x = m.image()
    swish = ops.multiply(x, ops.sigmoid(x))
    ov.save_model(m.build(swish), tmp_path / "model.xml", compress_to_fp16=False)
    kinds = {node.get_type_name() for node in read_model(tmp_path / "model.xml").get_ordered_ops()}
    assert {"Multiply", "Sigmoid"} <= kinds
