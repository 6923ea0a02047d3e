"""Annotated files: what converters read, which samples are chosen, how files become arrays, what is refused."""

import gzip
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tasks.data.annotated_files import AnnotatedFiles, AnnotatedSamples, annotated_paths, open_annotated_files
from tasks.data.boxed import CocoDetection, VocDetection
from tasks.data.classified import Cifar, Csv, Files, ImageNet, Mnist
from tasks.data.operations import CallOnImage, Normalization, Resize
from tasks.data.readers import NumpyReader, OpenCVReader, PillowReader
from tasks.errors import InputError
from tests.shapes.render import render, write_coco, write_voc

COUNT = 6


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("annotated")
    write_coco(folder / "coco", range(COUNT))
    write_voc(folder / "voc", range(COUNT))
    (folder / "meta.json").write_text('{"labels": ["circle", "square", "triangle"]}')
    names = [f"{number:04}.png" for number in range(COUNT)]
    (folder / "labels.txt").write_text("".join(f"a/b/{name} {number}\n" for number, name in enumerate(names)))
    return folder


@pytest.fixture
def folder(originals: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(originals, tmp_path / "data")
    return tmp_path / "data"


def images(folder: Path, **options: Any) -> AnnotatedSamples:
    return open_annotated_files(AnnotatedFiles(data_source=folder / "coco" / "images", **options))


def labelled(folder: Path, **options: Any) -> AnnotatedSamples:
    return images(folder, annotation=ImageNet(annotation_file=folder / "labels.txt"), **options)


# --- converters


def test_files_without_annotation_are_all_of_the_folder(folder: Path) -> None:
    samples = images(folder)
    assert samples.names == tuple(f"{number:04}.png" for number in range(COUNT))
    assert samples.labels is None
    assert samples.annotations.digest() is None


def test_patterns_and_lists_choose_files(folder: Path) -> None:
    assert images(folder, annotation=Files(pattern="*[24].png")).names == ("0002.png", "0004.png")
    (folder / "list.txt").write_text("0003.png\n\n0001.png\n")
    assert images(folder, annotation=Files(list_file=folder / "list.txt")).names == ("0003.png", "0001.png")
    (folder / "coco" / "images" / "notes.txt").write_text("no image")
    assert len(images(folder)) == COUNT + 1
    assert len(images(folder, annotation=Files(images_only=True))) == COUNT


def test_imagenet_takes_the_last_part_of_names_and_shifts_by_a_background(folder: Path) -> None:
    samples = labelled(folder)
    assert samples.labels is not None
    assert list(samples.labels) == list(range(COUNT))
    (folder / "words.txt").write_text("n01 tench\nn02 great white\n")
    shifted = images(
        folder,
        annotation=ImageNet(
            annotation_file=folder / "labels.txt", has_background=True, labels_file=folder / "words.txt"
        ),
    )
    assert shifted.labels is not None
    assert list(shifted.labels) == list(range(1, COUNT + 1))
    assert dict(shifted.annotations.classes) == {0: "background", 1: "tench", 2: "great white"}


def test_voc_and_coco_hold_the_boxes_that_were_rendered(folder: Path) -> None:
    voc = open_annotated_files(
        AnnotatedFiles(
            annotation=VocDetection(
                imageset_file=folder / "voc" / "test.txt",
                annotations_dir=folder / "voc" / "Annotations",
                has_background=False,
                dataset_meta_file=folder / "meta.json",
            ),
            data_source=folder / "voc" / "JPEGImages",
        )
    )
    coco = images(folder, annotation=CocoDetection(annotation_file=folder / "coco" / "instances.json"))
    for samples in (voc, coco):
        assert dict(samples.annotations.classes) == {0: "circle", 1: "square", 2: "triangle"}
        assert samples.annotations.boxes is not None
        for seed, boxes in enumerate(samples.annotations.boxes):
            _, labels, corners = render(seed)
            np.testing.assert_array_equal(boxes.labels, labels)
            np.testing.assert_array_equal(boxes.corners, corners)
            assert not boxes.ignored.any()


def test_coco_numbers_classes_in_order_or_as_the_file_does(folder: Path) -> None:
    file = folder / "coco" / "instances.json"
    content = json.loads(file.read_text())
    for category in content["categories"]:
        category["id"] += 10
    for annotation in content["annotations"]:
        annotation["category_id"] += 10
        annotation["iscrowd"] = 1
    content["images"].reverse()
    file.write_text(json.dumps(content))
    ordered = images(folder, annotation=CocoDetection(annotation_file=file, has_background=True)).annotations
    assert dict(ordered.classes) == {0: "background", 1: "circle", 2: "square", 3: "triangle"}
    assert ordered.names[0] == "0000.png"
    assert ordered.boxes is not None
    assert all(boxes.ignored.all() for boxes in ordered.boxes)
    own = images(
        folder, annotation=CocoDetection(annotation_file=file, use_full_label_map=True, sort_annotations=False)
    )
    assert dict(own.annotations.classes) == {11: "circle", 12: "square", 13: "triangle"}
    assert own.names[0] == f"{COUNT - 1:04}.png"


def test_voc_marks_difficult_objects(folder: Path) -> None:
    file = folder / "voc" / "Annotations" / "000000.xml"
    file.write_text(file.read_text().replace("<difficult>0", "<difficult>1"))
    spec = VocDetection(
        imageset_file=folder / "voc" / "test.txt",
        annotations_dir=folder / "voc" / "Annotations",
        dataset_meta_file=folder / "meta.json",
    )
    found = open_annotated_files(AnnotatedFiles(annotation=spec, data_source=folder / "voc" / "JPEGImages")).annotations
    assert found.boxes is not None
    assert found.boxes[0].ignored.all()
    assert not found.boxes[1].ignored.any()
    assert found.background == 0


@pytest.mark.parametrize("reader", [OpenCVReader(), PillowReader(), OpenCVReader(reading_flag="gray")])
def test_images_inside_of_annotations_are_read_as_files_would_be(
    tmp_path: Path, reader: OpenCVReader | PillowReader
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    batch = {"data": pixels.transpose(0, 3, 1, 2).reshape(3, -1), "labels": [2, 0, 1], "filenames": ["a", "b", "c"]}
    (tmp_path / "batch").write_bytes(pickle.dumps(batch))
    (tmp_path / "images.gz").write_bytes(gzip.compress(bytes(16) + pixels[:2, :28, :28, 0].tobytes()))
    (tmp_path / "labels.gz").write_bytes(gzip.compress(bytes(8) + bytes([7, 3])))
    (tmp_path / "files").mkdir()
    Image.fromarray(pixels[1]).save(tmp_path / "files" / "cifar.png")
    Image.fromarray(pixels[1, :28, :28, 0]).save(tmp_path / "files" / "mnist.png")
    cifar = open_annotated_files(AnnotatedFiles(annotation=Cifar(data_batch_file=tmp_path / "batch"), reader=reader))
    mnist = open_annotated_files(
        AnnotatedFiles(
            annotation=Mnist(labels_file=tmp_path / "labels.gz", images_file=tmp_path / "images.gz"), reader=reader
        )
    )
    files = open_annotated_files(AnnotatedFiles(data_source=tmp_path / "files", reader=reader))
    for name, samples in (("cifar.png", cifar), ("mnist.png", mnist)):
        expected = files.load(files.names.index(name), ["x"])["x"]
        np.testing.assert_array_equal(samples.load(1, ["x"])["x"], expected)
    assert cifar.labels is not None
    assert mnist.labels is not None
    assert (list(cifar.labels), list(mnist.labels)) == ([2, 0, 1], [7, 3])
    assert cifar.annotations.classes[2] == "bird"
    assert cifar.digest(0) != cifar.digest(1)


def test_csv_holds_classes_arrays_or_numbers(folder: Path) -> None:
    source = folder / "coco" / "images"
    np.save(folder / "reference.npy", np.arange(4.0))
    tables = {
        "label": "file,label\n0001.png,5\n0000.png,2\n",
        "reference": "file,reference\n0001.png,reference.npy\n",
        "numbers": "file,age,height\n0001.png,3,1.5\n",
    }
    found = {}
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)
        spec = AnnotatedFiles(annotation=Csv(annotation_file=folder / f"{name}.csv"), data_source=source)
        found[name] = open_annotated_files(spec).annotations
    assert found["label"].labels is not None
    assert list(found["label"].labels) == [5, 2]
    assert found["label"].names == ("0001.png", "0000.png")
    assert found["reference"].targets is not None
    assert found["numbers"].targets is not None
    np.testing.assert_array_equal(found["reference"].targets[0], np.arange(4.0))
    np.testing.assert_array_equal(found["numbers"].targets[0], [3, 1.5])


# --- samples


def test_readers_give_what_opencv_and_pillow_give(folder: Path) -> None:
    file = str(folder / "coco" / "images" / "0000.png")
    bgr = cv2.imread(file)
    assert bgr is not None
    np.testing.assert_array_equal(images(folder).load(0, ["x"])["x"], bgr.transpose(2, 0, 1))
    rgb = np.array(Image.open(file).convert("RGB"))
    np.testing.assert_array_equal(images(folder, reader=PillowReader(), layout="nhwc").load(0, ["x"])["x"], rgb)
    gray = cv2.imread(file, cv2.IMREAD_GRAYSCALE)
    assert gray is not None
    read = images(folder, reader=OpenCVReader(reading_flag="gray")).load(0, ["x"])["x"]
    np.testing.assert_array_equal(read, gray[None])


def test_float64_becomes_float32_last(folder: Path) -> None:
    samples = images(folder, preprocessing=(Normalization(mean=(0.1, 0.2, 0.3), std=3.0),))
    image = cv2.imread(str(folder / "coco" / "images" / "0002.png"))
    expected = ((image - np.array([0.1, 0.2, 0.3])) / 3.0).astype(np.float32).transpose(2, 0, 1)
    found = samples.load(2, ["x"])["x"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_numpy_files_feed_arrays_as_they_are(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(2, 3))
    np.savez(tmp_path / "b.npz", first=np.ones((4, 5, 2)), second=np.zeros(1))
    samples = open_annotated_files(AnnotatedFiles(data_source=tmp_path, reader=NumpyReader()))
    assert samples.load(0, ["x"])["x"].shape == (2, 3)
    assert samples.load(1, ["x"])["x"].shape == (2, 4, 5)


def test_subsets_are_those_that_accuracy_checker_drew(folder: Path) -> None:
    np.random.seed(666)
    drawn = list(np.random.choice(np.arange(COUNT), size=3, replace=False))
    samples = labelled(folder, subsample_size=3)
    assert samples.labels is not None
    assert list(samples.labels) == drawn
    half = labelled(folder, subsample_size="50%").labels
    assert half is not None
    assert list(half) == drawn
    assert labelled(folder, subsample_size=2, shuffle=False).names == ("0000.png", "0001.png")
    assert labelled(folder, subsample_size=100).names == labelled(folder).names
    assert labelled(folder, subsample_size=3, subsample_seed=1).names != samples.names
    # The files that are read are those that were chosen.
    image = cv2.imread(str(folder / "coco" / "images" / samples.names[1]))
    assert image is not None
    np.testing.assert_array_equal(samples.load(1, ["x"])["x"], image.transpose(2, 0, 1))


def test_digests_follow_content_and_preprocessing(folder: Path) -> None:
    plain = images(folder).digest(0)
    assert plain == images(folder).digest(0)
    assert plain != images(folder).digest(1)
    assert plain != images(folder, preprocessing=(Resize(size=8),)).digest(0)
    assert plain != images(folder, reader=PillowReader()).digest(0)
    assert plain != images(folder, layout="nhwc").digest(0)
    moved = folder / "coco" / "elsewhere"
    shutil.copytree(folder / "coco" / "images", moved)
    assert open_annotated_files(AnnotatedFiles(data_source=moved)).digest(0) == plain


def test_a_function_that_changes_changes_digests(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "brightening.py").write_text("def brighten(image):\n    return image // 2 + 100\n")
    samples = images(folder, preprocessing=(CallOnImage(path="brightening.brighten"),))
    before = samples.digest(0)
    assert tmp_path / "brightening.py" in annotated_paths(samples.spec)
    (tmp_path / "brightening.py").write_text("def brighten(image):\n    return image // 2 + 50\n")
    assert samples.digest(0) != before


def test_paths_are_those_of_the_annotation_too(folder: Path) -> None:
    assert folder / "labels.txt" in annotated_paths(labelled(folder).spec)
    assert folder / "coco" / "images" in annotated_paths(labelled(folder).spec)
    (folder / "table.csv").write_text("file,reference\n0001.png,deep/reference.npy\n")
    spec = AnnotatedFiles(annotation=Csv(annotation_file=folder / "table.csv"), data_source=folder)
    assert folder / "deep" / "reference.npy" in annotated_paths(spec)


def test_annotations_that_change_are_read_again(folder: Path) -> None:
    assert labelled(folder).labels is not None
    (folder / "labels.txt").write_text("0003.png 9\n")
    again = labelled(folder)
    assert again.labels is not None
    assert (again.names, list(again.labels)) == (("0003.png",), [9])


# --- what is refused


def spoil(file: str, old: str, new: str) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))

    return edit


def coco_box(*box: object) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        file = folder / "coco" / "instances.json"
        content = json.loads(file.read_text())
        content["annotations"][0]["bbox"] = box
        file.write_text(json.dumps(content))

    return edit


def voc_spec(folder: Path) -> AnnotatedFiles:
    annotation = VocDetection(
        imageset_file=folder / "voc" / "test.txt",
        annotations_dir=folder / "voc" / "Annotations",
        dataset_meta_file=folder / "meta.json",
    )
    return AnnotatedFiles(annotation=annotation, data_source=folder / "voc" / "JPEGImages")


def coco_spec(folder: Path) -> AnnotatedFiles:
    annotation = CocoDetection(annotation_file=folder / "coco" / "instances.json")
    return AnnotatedFiles(annotation=annotation, data_source=folder / "coco" / "images")


def imagenet_spec(folder: Path) -> AnnotatedFiles:
    annotation = ImageNet(annotation_file=folder / "labels.txt")
    return AnnotatedFiles(annotation=annotation, data_source=folder / "coco" / "images")


@pytest.mark.parametrize(
    ("make", "edit", "message"),
    [
        (imagenet_spec, spoil("labels.txt", "0001.png 1", "0001.png one"), "labels.txt:2: label 'one'"),
        (imagenet_spec, spoil("labels.txt", "0001.png 1", "0001.png"), "labels.txt:2: 'a/b/0001.png'; expected"),
        (imagenet_spec, spoil("labels.txt", "0001.png", "0009.png"), "1 of 6 files are not in data_source"),
        (imagenet_spec, lambda folder: (folder / "labels.txt").write_text(" \n"), "annotation_file is empty"),
        (imagenet_spec, lambda folder: (folder / "labels.txt").unlink(), "labels.txt: does not exist"),
        (voc_spec, spoil("voc/test.txt", "000001", "000009"), "000009.xml: does not exist"),
        (voc_spec, spoil("voc/Annotations/000000.xml", "</annotation>", ""), "000000.xml:1:"),
        (voc_spec, spoil("voc/Annotations/000000.xml", "<name>", "<name>x"), "unknown class 'x"),
        (voc_spec, spoil("voc/Annotations/000000.xml", "<xmin>", "<xmin>z"), "expected a number"),
        (voc_spec, spoil("voc/Annotations/000000.xml", "<filename>000000.png</filename>", ""), "expected <filename>"),
        (voc_spec, spoil("voc/Annotations/000000.xml", "<ann", "<?xml version='1.0' encoding='x'?><ann"), "no XML"),
        (voc_spec, spoil("meta.json", "]", ""), "meta.json:1:"),
        (voc_spec, spoil("meta.json", "labels", "names"), "expected an object with 'label_map' or a list 'labels'"),
        (coco_spec, spoil("coco/instances.json", '"images"', '"pictures"'), "expected COCO's instances: no 'images'"),
        (coco_spec, spoil("coco/instances.json", '"image_id": 0', '"image_id": 77'), "unknown image 77"),
        (coco_spec, spoil("coco/instances.json", '"category_id": ', '"category_id": 9'), "unknown category 9"),
        (coco_spec, spoil("coco/instances.json", "{", "["), "instances.json:1:"),
        (coco_spec, spoil("coco/instances.json", '"id": 1', '"id": 0'), "two of the images have the id 0"),
        (
            coco_spec,
            coco_box("1", "2", "3", "4"),
            "bbox ['1', '2', '3', '4']; expected x, y, width and height, numbers",
        ),
        (coco_spec, coco_box(1, 2, float("nan"), 4), "bbox [1, 2, nan, 4]; expected"),
        (coco_spec, coco_box(1, 2, -3, 4), "bbox [1, 2, -3, 4]; expected"),
        (coco_spec, coco_box(1, 2, 3), "bbox [1, 2, 3]; expected"),
        (coco_spec, spoil("coco/instances.json", '"iscrowd": 0', '"iscrowd": "0"'), "iscrowd '0'; expected 0 or 1"),
        (voc_spec, spoil("voc/Annotations/000000.xml", "<xmin>", "<xmin>9999"), "expected xmin <= xmax and ymin <="),
        (voc_spec, spoil("voc/Annotations/000000.xml", "<xmin>", "<xmin>nan</xmin><xmin>"), "<bndbox/xmin> is 'nan'"),
        (coco_spec, lambda folder: shutil.rmtree(folder / "coco" / "images"), "data_source does not exist"),
    ],
)
def test_broken_annotations_are_named(
    folder: Path, make: Callable[[Path], AnnotatedFiles], edit: Callable[[Path], object], message: str
) -> None:
    open_annotated_files(make(folder))
    edit(folder)
    with pytest.raises(InputError) as caught:
        open_annotated_files(make(folder))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\na,1\n", "expected a header with 'file'"),
        ("file,label\n0000.png,x\n", "table.csv:2: label 'x'"),
        ("file,label\n0000.png\n", "table.csv:2: expected 2 columns"),
        ("file,value\n0000.png,nan\n", "table.csv:2: 'nan' is no finite number; expected numbers"),
        ("file,value\n0000.png,1_0\n", "table.csv:2: '1_0' is no finite number"),
        ("file,value,value\n0000.png,1,2\n", "table.csv:1: the column 'value' stands here a second time"),
        ("file,value\n0000.png,big\n", "table.csv:2: could not convert string to float"),
        ("file,reference\n0000.png,nowhere.npy\n", "nowhere.npy: does not exist"),
        (f'file,label\n"{"x" * 200_000},1\n', "is a quote left open?"),
    ],
)
def test_broken_tables_are_named(folder: Path, text: str, message: str) -> None:
    (folder / "table.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        images(folder, annotation=Csv(annotation_file=folder / "table.csv"))
    assert message in str(caught.value)


def batch(**more: Any) -> bytes:
    return pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1], **more})


class Foreign:
    def __reduce__(self) -> Any:
        return print, ("ran foreign code",)


def test_pickles_run_no_foreign_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "batch").write_bytes(pickle.dumps({"data": Foreign()}))
    with pytest.raises(InputError, match="expected a CIFAR batch; it names"):
        open_annotated_files(AnnotatedFiles(annotation=Cifar(data_batch_file=tmp_path / "batch")))
    assert "foreign" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no pickle", "expected a CIFAR batch"),
        (pickle.dumps({"data": 3}), "with 'data' and 'labels'"),
        (
            batch(data=np.zeros((2, 100), np.uint8)),
            r"'data' is uint8 of shape \(2, 100\); expected rows of 3 x 32 x 32",
        ),
        (batch(labels=[0, "1"]), "'labels': 'str' object .*; expected a list of integers"),
        (batch(labels=None), "'labels': 'NoneType' object .*; expected a list of integers"),
        (batch(labels=[0, -1]), "label -1; expected a class index"),
        (batch(filenames=["a"]), "'filenames': expected a list of 2 names"),
        (batch(filenames=5), "'filenames': expected a list of 2 names"),
        (b"\x80\x04\x8e" + b"\xff" * 8, "expected a CIFAR batch"),
    ],
)
def test_other_files_are_no_batches(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_annotated_files(AnnotatedFiles(annotation=Cifar(data_batch_file=tmp_path / "batch")))


def test_labels_and_images_of_mnist_belong_together(tmp_path: Path) -> None:
    (tmp_path / "labels.gz").write_bytes(gzip.compress(bytes(8) + bytes(2)))
    (tmp_path / "images.gz").write_bytes(gzip.compress(bytes(16 + 28 * 28)))
    annotation = Mnist(labels_file=tmp_path / "labels.gz", images_file=tmp_path / "images.gz")
    with pytest.raises(InputError, match="expected 2 images of 28x28"):
        open_annotated_files(AnnotatedFiles(annotation=annotation))
    (tmp_path / "labels.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="labels_file is no whole gzip file"):
        open_annotated_files(AnnotatedFiles(annotation=annotation))


@pytest.mark.parametrize("size", [0, -1, "0%", "some", "x%", "inf%", "nan%"])
def test_wrong_subsets_are_named(folder: Path, size: int | str) -> None:
    with pytest.raises(InputError, match="subsample_size"):
        images(folder, subsample_size=size)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_wrong_seeds_are_named(folder: Path, seed: int) -> None:
    with pytest.raises(InputError, match=f"subsample_seed {seed}: expected an integer from 0 to 4294967295"):
        images(folder, subsample_size=1, subsample_seed=seed)


@pytest.mark.parametrize("pattern", ["", "/tmp/*", "**a"])
def test_wrong_patterns_are_named(folder: Path, pattern: str) -> None:
    with pytest.raises(InputError, match="expected a glob below data_source") as caught:
        images(folder, annotation=Files(pattern=pattern))
    assert repr(pattern) in str(caught.value)


def test_files_that_cannot_be_read_are_named(folder: Path) -> None:
    samples = images(folder)
    (folder / "coco" / "images" / "0001.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"0001\.png: expected an image \(opencv_imread\)"):
        samples.load(1, ["x"])
    with pytest.raises(InputError, match=r"expected an image \(pillow_imread\)"):
        images(folder, reader=PillowReader()).load(1, ["x"])
    with pytest.raises(InputError, match=r"expected a \.npy or \.npz file"):
        images(folder, reader=NumpyReader()).load(1, ["x"])
    with pytest.raises(InputError, match="feed models with one input"):
        samples.load(0, ["x", "y"])
    with pytest.raises(InputError, match="no file fits the pattern"):
        images(folder, annotation=Files(pattern="*.jpg"))
    with pytest.raises(InputError, match="data_source: files needs the folder"):
        open_annotated_files(AnnotatedFiles())
