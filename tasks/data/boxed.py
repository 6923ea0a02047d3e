"""Annotations with boxes: Pascal VOC's XML files and COCO's JSON, with classes numbered as in Accuracy Checker."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np

from tasks.data.annotations import BACKGROUND, Annotations, Boxes, read_classes, read_json, read_text, require_file
from tasks.errors import InputError, did_you_mean

_VOC = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


@dataclass(frozen=True, kw_only=True)
class VocDetection:
    """Pascal VOC: a list of images and an XML file for each.

    Attributes:
        imageset_file: Names of images, one per line.
        annotations_dir: Folder with ``NAME.xml`` for each.
        images_dir: Not read: the images lie in ``data_source``.
        has_background: Whether classes begin at 1.
        dataset_meta_file: Names of classes; None stands for VOC's.
    """

    imageset_file: Path
    annotations_dir: Path
    converter: Literal["voc_detection"] = "voc_detection"
    images_dir: Path | None = None
    has_background: bool = True
    dataset_meta_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class CocoDetection:
    """COCO: one JSON file with ``images``, ``annotations`` and ``categories``.

    Attributes:
        annotation_file: The file.
        has_background: Whether classes begin at 1.
        use_full_label_map: Whether classes keep the file's own numbers; else they are numbered in its order.
        sort_annotations: Whether images are sorted by ``sort_key``.
        sort_key: Sorts by the id of the image or by its height and width.
        images_dir: Not read: the images lie in ``data_source``.
        dataset_meta_file: Names of classes; None stands for the file's.
    """

    annotation_file: Path
    converter: Literal["mscoco_detection"] = "mscoco_detection"
    has_background: bool = False
    use_full_label_map: bool = False
    sort_annotations: bool = True
    sort_key: Literal["image_id", "image_size"] = "image_id"
    images_dir: Path | None = None
    dataset_meta_file: Path | None = None


def convert_voc(spec: VocDetection) -> Annotations:
    """The boxes of every listed image; pixels count from 0.

    Args:
        spec: The annotation.

    Raises:
        InputError: A file is missing or malformed; the message names it.
    """
    classes = read_classes(spec.dataset_meta_file, background=spec.has_background)
    classes = classes or {index + spec.has_background: name for index, name in enumerate(_VOC)}
    names, boxes = [], []
    for line in read_text(spec.imageset_file, "imageset_file").splitlines():
        if line.strip():
            # Lists of one class have a second column.
            file = spec.annotations_dir / f"{line.split()[0]}.xml"
            name, found = _voc_image(file, {name: index for index, name in classes.items()})
            names.append(name)
            boxes.append(found)
    if spec.has_background:
        classes = {BACKGROUND: "__background__"} | classes
    background = BACKGROUND if spec.has_background else None
    return Annotations(tuple(names), boxes=tuple(boxes), classes=classes, background=background)


def _voc_image(file: Path, indices: dict[str, int]) -> tuple[str, Boxes]:
    require_file(file, "annotation")
    try:
        # The XML is the user's own, and expat refuses entities that expand without limit.
        root = ElementTree.fromstring(file.read_bytes())  # noqa: S314
    except (ValueError, LookupError) as failure:  # an encoding that expat does not know
        raise InputError(f"{file}: no XML that can be read: {failure}.") from failure
    except ElementTree.ParseError as failure:
        line, column = failure.position
        raise InputError(f"{file}:{line}:{column + 1}: no XML: {failure}.") from failure
    labels, corners, difficult = [], [], []
    for entry in root.findall("object"):
        name = _text(entry, "name", file)
        if name not in indices:
            raise InputError(f"{file}: unknown class {name!r}.{did_you_mean(name, indices)}")
        labels.append(indices[name])
        box = [_number(entry, f"bndbox/{side}", file) for side in ("xmin", "ymin", "xmax", "ymax")]
        if box[2] < box[0] or box[3] < box[1]:
            raise InputError(f"{file}: the box {box} of {name!r}; expected xmin <= xmax and ymin <= ymax.")
        corners.append([side - 1 for side in box])
        difficult.append(entry.findtext("difficult", "0").strip() == "1")
    return _text(root, "filename", file), _boxes(labels, corners, difficult)


def _text(node: ElementTree.Element, path: str, file: Path) -> str:
    text = (node.findtext(path) or "").strip()
    if not text:
        raise InputError(f"{file}: expected <{path}> in <{node.tag}>.")
    return text


def _number(node: ElementTree.Element, path: str, file: Path) -> float:
    text = _text(node, path, file)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{file}: <{path}> is {text!r}; expected a number.")
    return number


def convert_coco(spec: CocoDetection) -> Annotations:
    """The boxes of every image.

    Args:
        spec: The annotation.

    Raises:
        InputError: The file lacks something or is malformed.
    """
    content = read_json(spec.annotation_file, "annotation_file")
    try:
        return _coco(spec, content)
    except (KeyError, TypeError, AttributeError, ValueError) as failure:
        if isinstance(failure, InputError):
            raise
        problem = f"no {failure}" if isinstance(failure, KeyError) else str(failure)
        raise InputError(f"{spec.annotation_file}: expected COCO's instances: {problem}.") from failure


def _coco(spec: CocoDetection, content: Any) -> Annotations:
    for what in ("categories", "images"):
        _require_unique(spec.annotation_file, what, [each["id"] for each in content[what]])
    numbers = {
        category["id"]: category["id"] if spec.use_full_label_map else place + spec.has_background
        for place, category in enumerate(content["categories"])
    }
    names = {numbers[category["id"]]: str(category["name"]) for category in content["categories"]}
    if given := read_classes(spec.dataset_meta_file, background=spec.has_background):
        names, numbers = given, {index: index for index in given}
    objects: dict[Any, list[Any]] = {image["id"]: [] for image in content["images"]}
    for entry in content["annotations"]:
        if entry["image_id"] not in objects or entry["category_id"] not in numbers:
            unknown = "image" if entry["image_id"] not in objects else "category"
            raise InputError(
                f"{spec.annotation_file}: an annotation of the unknown {unknown} {entry[f'{unknown}_id']}."
            )
        _require_box(spec.annotation_file, entry)
        objects[entry["image_id"]].append(entry)
    images = list(content["images"])
    if spec.sort_annotations:
        by_id = spec.sort_key == "image_id"
        images.sort(key=lambda image: image["id"] if by_id else (image["height"], image["width"]))
    if spec.has_background:
        names = {BACKGROUND: "background"} | names
    return Annotations(
        tuple(str(image["file_name"]) for image in images),
        boxes=tuple(_coco_boxes(objects[image["id"]], numbers) for image in images),
        classes=names,
        background=BACKGROUND if spec.has_background else None,
    )


def _require_unique(file: Path, what: str, ids: Sequence[Any]) -> None:
    seen = set()
    for each in ids:
        if each in seen:
            raise InputError(f"{file}: two of the {what} have the id {each!r}.")
        seen.add(each)


def _require_box(file: Path, entry: dict[str, Any]) -> None:
    box, crowd = entry["bbox"], entry.get("iscrowd", 0)
    numbers = [side for side in box if isinstance(side, int | float) and math.isfinite(side)]
    if len(box) != 4 or len(numbers) != 4 or min(box[2:]) < 0:
        raise InputError(f"{file}: bbox {box!r}; expected x, y, width and height, numbers, the last two >= 0.")
    if crowd not in (0, 1):
        raise InputError(f"{file}: iscrowd {crowd!r}; expected 0 or 1.")


def _coco_boxes(entries: list[Any], numbers: dict[Any, int]) -> Boxes:
    corners = [[x, y, x + width, y + height] for x, y, width, height in (entry["bbox"] for entry in entries)]
    crowds = [bool(entry.get("iscrowd", 0)) for entry in entries]
    return _boxes([numbers[entry["category_id"]] for entry in entries], corners, crowds)


def _boxes(labels: list[int], corners: list[list[float]], ignored: list[bool]) -> Boxes:
    return Boxes(np.array(labels, np.int64), np.array(corners, np.float64).reshape(-1, 4), np.array(ignored, bool))
