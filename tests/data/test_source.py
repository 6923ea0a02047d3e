"""One function opens every source; with the photos beside the checkout, a real network judges the preprocessing."""

from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import openvino as ov
import pytest

from tasks.data.annotated_files import AnnotatedFiles
from tasks.data.arrays import Arrays
from tasks.data.classified import Files, ImageNet
from tasks.data.custom import Custom
from tasks.data.digits import Digits
from tasks.data.image_folder import ImageFolder
from tasks.data.operations import Crop, Normalization, Resize, SwapChannels
from tasks.data.samples import Samples
from tasks.data.source import Source, open_source, source_files
from tasks.steps.load_dataset import source_identity

SHARED = Path(__file__).parents[2] / ".." / "shared"
PHOTOS = SHARED / "data" / "imagenet_sample"
EFFICIENTNET = SHARED / "models" / "efficientnet_lite0.xml"


@pytest.fixture
def specs(tmp_path: Path) -> tuple[Source, ...]:
    np.save(tmp_path / "data.npy", np.zeros((2, 3), np.float32))
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    files = AnnotatedFiles(annotation=Files(pattern="*.png"), data_source=tmp_path)
    function = Custom(path="tests.support.functions.make_samples", arguments={"count": 2})
    return Arrays(tmp_path / "data.npy"), ImageFolder(tmp_path), Digits("training"), files, function


def test_every_kind_opens_and_keeps_the_protocol(specs: tuple[Source, ...]) -> None:
    assert {type(spec) for spec in specs} == set(get_args(Source))
    for spec in specs:
        samples: Samples = open_source(spec)
        assert len(samples) == len(samples.names) > 0
        (value,) = samples.load(0, ("anything",)).values()
        assert isinstance(value, np.ndarray)
        assert value.flags.c_contiguous
        assert len(samples.digest(0)) == 64
        assert samples.digest(0) == open_source(spec).digest(0)


def test_listed_files_are_noticed_wherever_they_lie(tmp_path: Path) -> None:
    png = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    for name in ("data", "elsewhere", "linked"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(png)
    (tmp_path / "data" / "link").symlink_to(tmp_path / "linked")
    names = ["a.png", "../elsewhere/a.png", "link/a.png", str(tmp_path / "elsewhere" / "a.png")]
    (tmp_path / "list.txt").write_text("\n".join(names))
    (tmp_path / "labels.txt").write_text("".join(f"{name} 0\n" for name in names))
    files = AnnotatedFiles(annotation=Files(list_file=tmp_path / "list.txt"), data_source=tmp_path / "data")
    for spec in (files, ImageFolder(tmp_path / "data", tmp_path / "labels.txt")):
        identities = [source_identity(spec)]
        for name in ("data", "elsewhere", "linked"):
            (tmp_path / name / "a.png").write_bytes(png + b"\0" * len(identities))
            identities.append(source_identity(spec))
        assert len(set(identities)) == 4
        assert tmp_path / "data" / "a.png" not in source_files(spec)  # its folder is there


def test_kinds_differ(specs: tuple[Source, ...]) -> None:
    assert len({spec.kind for spec in specs}) == len(specs)


@pytest.mark.skipif(not (PHOTOS.is_dir() and EFFICIENTNET.is_file()), reason="the photos are not here")
def test_photos_reach_the_accuracy_of_the_network() -> None:
    samples = open_source(
        ImageFolder(
            PHOTOS / "validation",
            PHOTOS / "validation.txt",
            central_fraction=0.875,
            resize=224,
            interpolation="cubic",
            mean=127,
            scale=128,
        )
    )
    assert samples.labels is not None
    model = ov.Core().compile_model(EFFICIENTNET, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    right = [
        model(samples.load(index, ("inputs",))["inputs"][np.newaxis])[0].argmax() == samples.labels[index]
        for index in range(len(samples))
    ]
    assert len(right) == 250
    assert np.mean(right) >= 0.85


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the photos are not here")
def test_the_recipe_of_the_photos_is_the_same_by_both_kinds() -> None:
    folder, labels = PHOTOS / "validation", PHOTOS / "validation.txt"
    ours = open_source(
        ImageFolder(folder, labels, resize_shorter=256, crop=224, interpolation="cubic", mean=127.0, scale=128.0)
    )
    theirs = open_source(
        AnnotatedFiles(
            annotation=ImageNet(annotation_file=labels),
            data_source=folder,
            preprocessing=(
                Resize(size=256, aspect_ratio_scale="greater", interpolation="CUBIC"),
                Crop(size=224),
                SwapChannels(),
                Normalization(mean=127.0, std=128.0),
            ),
        )
    )
    assert ours.names == theirs.names
    assert ours.labels is not None
    np.testing.assert_array_equal(ours.labels, theirs.labels)
    for index in range(0, len(ours), 50):
        one, other = (samples.load(index, ["x"])["x"] for samples in (ours, theirs))
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
