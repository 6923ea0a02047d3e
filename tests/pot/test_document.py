"""Files with the place of everything in them; settings in Hydra's grammar; what a model reads; float weights again."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from openvino import opset13 as ops

from tasks.errors import InputError
from tasks.graph.edits import insert_quantizers
from tasks.numerics.affine import Granularity, Mode, QuantizerConfig
from tasks.pot.document import Document, read_document, without_comments
from tasks.pot.model_input import ImageInput, image_input
from tasks.pot.overrides import as_overrides, spelled
from tasks.pot.section import Findings, Section
from tasks.pot.uncompressed import uncompress_weights
from tests.graph.test_edits import CONVOLUTION, limits_of, values

JSON = """{
    // a comment with "quotes" and a /* star
    "path": "http://host/*not a comment*/", /* two
    lines */ "numbers": [1e-4, 2, {"deep": true}],
\t"tab": null
}
"""


def written(folder: Path, name: str, text: str) -> Document:
    (folder / name).write_text(text, encoding="utf-8")
    return read_document(folder / name, "configuration")


def test_comments_go_and_texts_stay(tmp_path: Path) -> None:
    document = written(tmp_path, "a.json", JSON)
    assert document.content == {
        "path": "http://host/*not a comment*/",
        "numbers": [1e-4, 2, {"deep": True}],
        "tab": None,
    }
    assert len(without_comments(JSON)) == len(JSON)
    assert without_comments(JSON).count("\n") == JSON.count("\n")


@pytest.mark.parametrize(
    ("place", "line", "column"),
    [
        ((), 1, 1),
        (("path",), 3, 5),
        (("numbers",), 4, 14),
        (("numbers", 0), 4, 26),
        (("numbers", 2, "deep"), 4, 36),
        (("tab",), 5, 2),
        (("numbers", 2, "unknown"), 4, 35),
    ],
)
def test_everything_has_its_line_and_column(tmp_path: Path, place: Any, line: int, column: int) -> None:
    document = written(tmp_path, "a.json", JSON)
    assert document.where(place) == f"{tmp_path / 'a.json'}:{line}:{column}"


def test_yaml_is_the_same_and_has_numbers_of_json(tmp_path: Path) -> None:
    text = "a: &base {x: 1e-4, y: 5E3, z: 1.5}\nb:\n  - <<: *base\n    x: text\n"
    document = written(tmp_path, "a.yml", text)
    assert document.content == {"a": {"x": 1e-4, "y": 5000.0, "z": 1.5}, "b": [{"x": "text", "y": 5000.0, "z": 1.5}]}
    assert document.where(("b", 0, "x")) == f"{tmp_path / 'a.yml'}:4:5"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"a": 1, "a": 2}', "a.json:1:10: the key 'a' stands here a second time"),
        ("a.yml", "a: 1\nb: {c: 1, c: 2}", "a.yml:2:11: the key 'c' stands here a second time"),
        ("a.json", "", "a.json:1:1: no JSON"),
        ("a.yml", "a: [1, 2", "a.yml:1:9: no YAML"),
        ("a.yml", "a: !!python/object:os.system x", "a.yml:1:4: no YAML: could not determine a constructor"),
        ("a.yml", "a: 1\n? [b, c]\n: 2", "a.yml:2:3: expected a name as key, got null or a list"),
        ("a.yml", "a: 2020-13-45", "a.yml: no YAML: month must be in 1..12; texts may need quotes"),
        ("a.yml", "a: &x [*x]", "a.yml:1:4: holds itself"),
        ("a.json", "[" * 2000 + "]" * 2000, "a.json: configuration goes too deep"),
        ("a.yml", "a: " + "[" * 60 + "]" * 60, "a.yml:1:54: goes deeper than 50 levels"),
        ("a.yml", "a: &x {b: {c: *x}}", "a.yml:1:4: holds itself"),
        ("a.yml", "a: &x\n  <<: *x\n  b: 1", "holds itself"),
        ("a.yml", "~: 1", "a.yml:1:1: expected a name as key, got '~'; texts may need quotes"),
        ("a.yml", "on: 1", "expected a name as key, got 'on'; texts may need quotes"),
        ("a.yml", 'a: ["\\ud800"]', "a.yml: the text '\\ud800' has characters that no file can hold"),
        ("a.json", '{"a": "b\\u0000"}', "a.json: the text 'b\\x00' has characters that no file can hold"),
        ("a.json", '{"\\udfff": 1}', "a.json: the text '\\udfff' has characters that no file can hold"),
        ("a.yml", "a: \0", r"a.yml: no YAML: the character 4 of it, '\x00'"),
        ("a.json", f'{{"a": {"1" * 5000}}}', "a.json: no JSON: Exceeds the limit"),
        ("a.toml", "a = 1", "the suffix '.toml'; expected .json, .yaml, .yml"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        written(tmp_path, name, text)
    assert message in str(caught.value)


def test_aliases_count_as_copies(tmp_path: Path) -> None:
    """Nine lines that stand for 9^9 values, and the same that are not too many."""
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
    start = time.process_time()
    with pytest.raises(InputError, match=r"a.yml:6:5: stands for more than 100,000 values, as aliases repeat them"):
        written(tmp_path, "a.yml", "\n".join(lines))
    assert time.process_time() - start < 5
    document = written(tmp_path, "a.yml", "\n".join(lines[:4]))
    assert np.size(document.content["a3"]) == 9**3


def test_text_in_other_encodings_is_refused_and_pairs_of_halves_are_not(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_bytes(b"a: \xff")
    with pytest.raises(InputError, match=r"a.yml: configuration is no UTF-8 text at byte 3"):
        read_document(tmp_path / "a.yml", "configuration")
    assert written(tmp_path, "a.json", '{"a": "\\ud83d\\ude00"}').content == {"a": "\U0001f600"}


def test_missing_files_are_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    with pytest.raises(InputError, match="does not exist. Did you mean 'config.json'?".replace("?", r"\?")):
        read_document(tmp_path / "confg.json", "configuration")


def test_sections_report_what_nobody_asked_for() -> None:
    document = Document(Path("f.json"), {"known": 1, "mystery": 2}, {("mystery",): (3, 4)})
    for lenient in (False, True):
        findings = Findings(lenient)
        section = Section.of(findings, document, (), document.content)
        assert section.take("known") == 1
        section.finish()
        lines = findings.notices if lenient else findings.problems
        assert [line.partition(": unknown key")[0] for line in lines] == ["f.json:3:4: mystery"]
        assert not (findings.problems if lenient else findings.notices)


def test_equal_values_of_two_places_agree_and_others_do_not() -> None:
    findings = Findings()
    findings.set("a", 1, "here")
    findings.set("a", 1, "there")
    assert not findings.problems
    findings.set("a", 2, "elsewhere")
    assert findings.problems == ["elsewhere: 2 here and 1 at there."]


VALUES: list[Any] = [
    None,
    True,
    -3,
    1e-4,
    "plain",
    "null",
    "Nan",
    "11point",
    "1e5",
    "",
    " spaces ",
    "it's",
    "C:\\path\\",
    "back\\'slash",
    "${not.an.interpolation}",
    "a,b:c{d}[e]=f",
    "ümlaut",
    "accuracy@top1",
    [1, "two", [None, False], {"type": "resize", "mean": [1.5, 2]}],
    {"converter": "imagenet", "annotation_file": "/data/my file's.txt"},
    [],
    {},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_hydra_reads_back_what_was_spelled(value: Any) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"key={spelled(value)}"])
    read = override.value()
    text = read.replace("\\${", "${") if isinstance(read, str) else read
    assert text == value
    assert type(text) is type(value)


def test_groups_come_before_their_keys() -> None:
    settings = {"dataset.path": "x", "quantization.seed": 1, "dataset": "arrays"}
    assert as_overrides(settings) == ["dataset=arrays", "dataset.path=x", "quantization.seed=1"]


# --- models


def model_with(shape: list[int], layout: str = "", inputs: int = 1) -> ov.Model:
    parameters = [ops.parameter(shape, np.float32) for _ in range(inputs)]
    if layout:
        parameters[0].set_layout(ov.Layout(layout))
    return ov.Model([ops.result(ops.relu(each)) for each in parameters], parameters, "model")


@pytest.mark.parametrize(
    ("model", "layout", "expected"),
    [
        (model_with([1, 3, 8, 9]), None, ImageInput(8, 9, 3, "nchw")),
        (model_with([1, 8, 9, 3]), None, ImageInput(8, 9, 3, "nhwc")),
        (model_with([-1, 1, 8, 9]), None, ImageInput(8, 9, 1, "nchw")),
        (model_with([3, 8, 9]), None, ImageInput(8, 9, 3, "nchw")),
        (model_with([8, 9, 1]), None, ImageInput(8, 9, 1, "nhwc")),
        (model_with([1, 3, 8, 3]), None, ImageInput(8, 3, 3, "nchw")),
        (model_with([1, 3, 8, 3], "NHWC"), None, ImageInput(3, 8, 3, "nhwc")),
        (model_with([1, 3, 8, 3]), "NHWC", ImageInput(3, 8, 3, "nhwc")),
        (model_with([1, 3, -1, -1]), None, ImageInput(None, None, 3, "nchw")),
        (model_with([1, 5]), None, None),
        (model_with([1, 3, 8, 9], inputs=2), None, None),
    ],
)
def test_images_are_read_as_the_model_or_its_shape_says(
    tmp_path: Path, model: ov.Model, layout: str | None, expected: ImageInput | None
) -> None:
    ov.save_model(model, tmp_path / "m.xml")
    assert image_input(tmp_path / "m.xml", None, layout) == expected


def test_layouts_have_to_fit(tmp_path: Path) -> None:
    ov.save_model(model_with([1, 3, 8, 9]), tmp_path / "m.xml")
    with pytest.raises(InputError, match="layout 'HWC': expected the axes of the input"):
        image_input(tmp_path / "m.xml", None, "HWC")
    (tmp_path / "broken.xml").write_text("<no model>")
    with pytest.raises(InputError, match="OpenVINO cannot read"):
        image_input(tmp_path / "broken.xml", None)


@pytest.mark.parametrize("mode", [Mode.SYMMETRIC, Mode.ASYMMETRIC])
def test_weights_become_float_behind_a_fake_quantize_and_compute_the_same(tmp_path: Path, mode: Mode) -> None:
    weights = values(*CONVOLUTION.shape)
    model = CONVOLUTION.model(weights)
    config = QuantizerConfig(8, mode, Granularity.PERCHANNEL)
    insert_quantizers(model, (CONVOLUTION.point(),), {CONVOLUTION.point().name: limits_of(weights, (0,), config)})
    ov.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    assert uncompress_weights(tmp_path / "m.xml") == 1
    read = ov.Core().read_model(tmp_path / "m.xml")
    kinds = [node.get_type_name() for node in read.get_ordered_ops()]
    assert kinds.count("FakeQuantize") == 1
    assert "Convert" not in kinds
    sample = np.random.default_rng(0).random(tuple(model.input().get_shape()), np.float32)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    before, after = (ov.Core().compile_model(each, "CPU", settings)(sample)[0] for each in (model, read))
    np.testing.assert_allclose(after, before, rtol=0, atol=2e-5 * np.abs(before).max())
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["m.bin", "m.xml"]
