"""The simplified engine of POT: what a model with an image and its sizes is given."""

from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from flows.commands.preflight import check
from tasks.algorithms.inference import input_names, sample_inputs
from tasks.config.schema import QuantizeConfig
from tasks.data.annotated_files import AnnotatedFiles, open_annotated_files
from tasks.errors import InputError
from tasks.pot.model_input import image_input
from tasks.pot.translation import translate_flags

IMAGES = 3


def detector(image: list[int], info: list[int], *, info_first: bool, kind: type = np.float32) -> ov.Model:
    """As detectors of Caffe have it: the outputs are what the inputs were given."""
    kinds = {"data": (image, np.float32), "im_info": (info, kind)}
    inputs = {name: ops.parameter(shape, each, name=name) for name, (shape, each) in kinds.items()}
    parameters = [inputs[name] for name in sorted(inputs, reverse=info_first)]
    return ov.Model([ops.result(ops.negative(inputs[name])) for name in ("data", "im_info")], parameters, "detector")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 256, (20 + number, 30, 3), np.uint8))
    return folder


@pytest.mark.parametrize("info_first", [False, True])
@pytest.mark.parametrize("kind", [np.float32, np.int32])
@pytest.mark.parametrize(
    ("image", "sizes"),
    [([1, 3, 8, 12], (8, 12, 3)), ([1, 8, 12, 3], (8, 12, 3)), ([-1, 1, 16, 4], (16, 4, 1))],
)
def test_a_second_input_takes_height_width_and_channels(
    tmp_path: Path, photos: Path, info_first: bool, kind: type, image: list[int], sizes: tuple[int, int, int]
) -> None:
    model = detector(image, [1 if image[0] == 1 else -1, 3], info_first=info_first, kind=kind)
    ov.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    found = translate_flags(
        str(tmp_path / "m.xml"), None, None, preset="mixed", engine="simplified", source=str(photos), evaluate=False
    )
    checked = check("quantize", QuantizeConfig, found.overrides)
    assert checked.problems == ()
    assert checked.config is not None
    for spec in (checked.config.dataset, checked.config.validation):
        assert isinstance(spec, AnnotatedFiles)
        assert spec.image_info == "im_info"
        compiled = ov.Core().compile_model(model, "CPU")
        for number in range(IMAGES):
            sample = open_annotated_files(spec).load(number, input_names(model))
            outputs = compiled(sample_inputs(compiled.inputs, sample, number))
            shape = [1, *image[1:]]
            assert (list(outputs[0].shape), outputs[1].tolist()) == (shape, [[-size for size in sizes]])
            colour = cv2.IMREAD_GRAYSCALE if sizes[2] == 1 else cv2.IMREAD_COLOR
            read = cv2.imread(str(photos / f"{number}.png"), colour)
            assert read is not None
            resized = cv2.resize(read, (sizes[1], sizes[0])).reshape(sizes).astype(np.float32)
            expected = resized if image[-1] == 3 else resized.transpose(2, 0, 1)
            np.testing.assert_array_equal(-outputs[0][0], expected)


@pytest.mark.parametrize("second", [[1, 4], [2, 3], [3], [1, 3, 8, 12]])
def test_other_second_inputs_are_none_of_sizes(tmp_path: Path, photos: Path, second: list[int]) -> None:
    ov.save_model(detector([1, 3, 8, 12], second, info_first=False), tmp_path / "m.xml")
    assert image_input(tmp_path / "m.xml", None) is None
    with pytest.raises(InputError, match=r"besides it at most an input of the shape \[1,3\]"):
        translate_flags(
            str(tmp_path / "m.xml"), None, None, preset="mixed", engine="simplified", source=str(photos), evaluate=False
        )


def test_inputs_that_do_not_fit_are_told(photos: Path) -> None:
    samples = open_annotated_files(AnnotatedFiles(data_source=photos, image_info="im_inf"))
    with pytest.raises(InputError, match=r"image_info: unknown input 'im_inf'\. Did you mean 'im_info'\?"):
        samples.load(0, ("data", "im_info"))
    samples = open_annotated_files(AnnotatedFiles(data_source=photos, image_info="im_info"))
    with pytest.raises(InputError, match="and one for image_info; this one has 3"):
        samples.load(0, ("data", "im_info", "more"))
    with pytest.raises(InputError, match="this one has 1"):
        samples.load(0, ("im_info",))
