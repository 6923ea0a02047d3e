"""Samples from image files: which files, which labels, and what is refused with which words."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from tasks.data.image_folder import ImageFolder, open_image_folder, read_labels
from tasks.data.preprocessing import Preprocessing
from tasks.errors import InputError

GENERATOR = np.random.default_rng(0)
IMAGES = {name: GENERATOR.integers(0, 256, (12, 16, 3), np.uint8) for name in ("b.png", "a 1.PNG", "c.jpg")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    for name, image in IMAGES.items():
        (path / name).write_bytes(cv2.imencode(Path(name).suffix, image)[1].tobytes())
    return path


def label_file(folder: Path, text: str | bytes) -> Path:
    path = folder.parent / "labels.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_without_label_file_all_images_by_name(folder: Path) -> None:
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "sub.png").mkdir()
    samples = open_image_folder(ImageFolder(folder))
    assert samples.names == ("a 1.PNG", "b.png", "c.jpg")
    assert len(samples) == 3
    assert samples.labels is None


def test_label_file_gives_images_order_and_classes(folder: Path) -> None:
    path = label_file(folder, "\ufeffc.jpg 7\r\n\r\n  a 1.PNG\t0  \n")
    samples = open_image_folder(ImageFolder(folder, path))
    assert samples.names == ("c.jpg", "a 1.PNG")
    assert samples.labels is not None
    assert samples.labels.dtype == np.int64
    np.testing.assert_array_equal(samples.labels, [7, 0])


def test_label_file_may_name_subfolders(folder: Path) -> None:
    path = label_file(folder, "photos/b.png 1")
    samples = open_image_folder(ImageFolder(folder.parent, path))
    assert samples.load(0, ("x",))["x"].shape == (3, 12, 16)


def test_load_preprocesses_for_whichever_input(folder: Path) -> None:
    samples = open_image_folder(ImageFolder(folder, scale=255.0, resize=8))
    loaded = samples.load(1, ("pixels",))
    assert list(loaded) == ["pixels"]
    expected = cv2.resize(IMAGES["b.png"], (8, 8))[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(loaded["pixels"], expected)


def test_several_inputs_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"photos: .*one input; this one has 2: 'left', 'right'"):
        open_image_folder(ImageFolder(folder)).load(0, ("left", "right"))


def test_digest_follows_bytes_and_options_but_not_names(folder: Path) -> None:
    spec = ImageFolder(folder)
    samples = open_image_folder(spec)
    digests = [samples.digest(index) for index in range(3)]
    assert len(set(digests)) == 3
    moved = folder.rename(folder.with_name("moved"))
    (moved / "b.png").rename(moved / "z.png")
    again = open_image_folder(ImageFolder(moved, label_file(moved, "z.png 1")))
    assert again.digest(0) == digests[1]


CHANGES = {
    "central_fraction": 0.5,
    "resize": 8,
    "resize_shorter": 8,
    "crop": 4,
    "interpolation": "cubic",
    "channel_order": "bgr",
    "mean": 1.0,
    "scale": (2.0, 2.0, 2.0),
    "layout": "nhwc",
}


@pytest.mark.parametrize("field", dataclasses.fields(Preprocessing), ids=lambda field: field.name)
def test_digest_follows_every_option(folder: Path, field: "dataclasses.Field[object]") -> None:
    spec = ImageFolder(folder)
    changed = dataclasses.replace(spec, **{field.name: CHANGES[field.name]})  # type: ignore[arg-type]
    assert open_image_folder(changed).digest(0) != open_image_folder(spec).digest(0)


@dataclass(frozen=True)
class Bad:
    id: str
    make: Callable[[Path], ImageFolder]
    words: tuple[str, ...]


def labelled(text: str | bytes) -> Callable[[Path], ImageFolder]:
    return lambda folder: ImageFolder(folder, label_file(folder, text))


def emptied(folder: Path) -> ImageFolder:
    for name in IMAGES:
        (folder / name).unlink()
    (folder / "images.zip").write_bytes(b"PK")
    return ImageFolder(folder)


BAD = (
    Bad("missing-folder", lambda d: ImageFolder(d / "no"), ("no: does not exist", "expected a folder")),
    Bad("file", lambda d: ImageFolder(d / "b.png"), ("b.png: is a file", "expected a folder")),
    Bad("no-image", emptied, ("photos: no image", "'images.zip'", ".png")),
    Bad("options", lambda d: ImageFolder(d, resize=0), ("photos: resize 0",)),
    Bad("labels-missing", lambda d: ImageFolder(d, d / "no.txt"), ("no.txt: does not exist", "name index")),
    Bad("labels-folder", lambda d: ImageFolder(d, d), ("photos: is a folder", "name index")),
    Bad("labels-empty", labelled(""), ("labels.txt", "empty")),
    Bad("labels-blank", labelled("\n \n"), ("labels.txt: no line", "name index")),
    Bad("labels-binary", labelled(b"a.png 1\n\xff\xfe 2"), ("labels.txt: not UTF-8", "byte 8")),
    Bad("one-word", labelled("b.png 1\nc.jpg\n"), ("labels.txt:2: 'c.jpg'", "expected 'name index'")),
    Bad("comma", labelled("b.png,1"), ("labels.txt:1: 'b.png,1'", "separated by a space")),
    Bad("text-label", labelled("b.png dog"), ("labels.txt:1: label 'dog' of 'b.png'", "integer >= 0")),
    Bad("negative-label", labelled("\nb.png -1"), ("labels.txt:2: label '-1'", "integer >= 0")),
    Bad("float-label", labelled("b.png 1.0"), ("label '1.0'", "integer >= 0")),
    Bad("underscored-label", labelled("b.png 1_0"), ("label '1_0'",)),
    Bad("superscript-label", labelled("b.png \u00b2"), ("label '\u00b2'",)),
    Bad("huge-label", labelled("b.png 9999999999"), ("label '9999999999'",)),
    Bad("endless-label", labelled("b.png " + "9" * 5000), ("label '999",)),
    Bad("repeated otherwise", labelled("b.png 1\n./b.png 1"), ("labels.txt:2: './b.png' a second time",)),
    Bad("repeated", labelled("b.png 1\nc.jpg 2\nb.png 1"), ("labels.txt:3: 'b.png' a second time",)),
    Bad("absent-near", labelled("b.jpg 1\nc.jpg 2"), ("labels.txt: 1 of 2 images", "'b.jpg'", "Did you mean")),
    Bad("absent-many", labelled("".join(f"{i}.x 0\n" for i in range(9))), ("9 of 9", "'2.x' and 6 more")),
    Bad(
        "parent-folder",
        lambda d: ImageFolder(d.parent, label_file(d, "b.png 1")),
        ("1 of 1 images", "There is photos/b.png."),
    ),
)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.id)
def test_bad_folder_or_labels_are_refused_when_opened(bad: Bad, folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_image_folder(bad.make(folder))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    for word in bad.words:
        assert word in message


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "b.png: the file is empty"), (b"hello", "b.png: expected an image"), (None, "b.png: cannot be read")],
    ids=["empty", "no-image", "deleted"],
)
def test_bad_image_is_refused_when_loaded(folder: Path, data: bytes | None, words: str) -> None:
    samples = open_image_folder(ImageFolder(folder))
    (folder / "b.png").unlink() if data is None else (folder / "b.png").write_bytes(data)
    samples.load(0, ("x",))
    with pytest.raises(InputError, match=words):
        samples.load(1, ("x",))


def test_cut_off_image_is_refused_when_loaded(folder: Path) -> None:
    whole = (folder / "c.jpg").read_bytes()
    (folder / "c.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(InputError, match=r"c\.jpg: expected an image; it is damaged, cut off"):
        open_image_folder(ImageFolder(folder)).load(2, ("x",))


def test_image_smaller_than_the_crop_is_named(folder: Path) -> None:
    samples = open_image_folder(ImageFolder(folder, crop=13))
    with pytest.raises(InputError, match=r"b\.png: an image of 12x16 pixels .* crop 13x13"):
        samples.load(1, ("x",))


def test_read_labels_keeps_the_order_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("z 1\na b 2\n")
    assert list(read_labels(path).items()) == [("z", 1), ("a b", 2)]
