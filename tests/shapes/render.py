"""Images of shapes with boxes around them, rendered from a seed: the data of the small detector."""

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 64
CLASSES = ("circle", "square", "triangle")
Image = NDArray[np.uint8]


def render(seed: int, width: int = SIDE, height: int = SIDE) -> tuple[Image, NDArray[np.int64], NDArray[np.float64]]:
    """An image (height, width, 3) in BGR, the classes of its one to three shapes and their corners in pixels."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), rng.integers(30, 120, 3), np.uint8)
    ramp = np.linspace(0, rng.uniform(0, 60), width)[None, :, None]
    image = (image + ramp + rng.normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8)
    labels: list[int] = []
    corners: list[list[float]] = []
    for _ in range(rng.integers(1, 4)):
        radius = int(rng.integers(min(width, height) // 8, min(width, height) // 4))
        x, y = int(rng.integers(radius + 1, width - radius - 1)), int(rng.integers(radius + 1, height - radius - 1))
        box = [x - radius, y - radius, x + radius, y + radius]
        if any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in corners):
            continue  # shapes that hide each other are no fair question
        label = int(rng.integers(len(CLASSES)))
        color = [int(value) for value in rng.integers(150, 256, 3)]
        if CLASSES[label] == "circle":
            cv2.circle(image, (x, y), radius, color, -1, cv2.LINE_AA)
        elif CLASSES[label] == "square":
            cv2.rectangle(image, (box[0], box[1]), (box[2], box[3]), color, -1)
        else:
            points = np.array([[x, box[1]], [box[0], box[3]], [box[2], box[3]]])
            cv2.fillPoly(image, [points], color, cv2.LINE_AA)
        labels.append(label)
        corners.append([float(value) for value in box])
    return image, np.array(labels, np.int64), np.array(corners, np.float64).reshape(-1, 4)


def write_coco(folder: Path, seeds: range, width: int = SIDE, height: int = SIDE) -> Path:
    """Write images and COCO's JSON for them; returns the JSON file, which lies beside the folder ``images``."""
    (folder / "images").mkdir(parents=True)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, seed in enumerate(seeds):
        image, labels, corners = render(seed, width, height)
        name = f"{number:04}.png"
        cv2.imwrite(str(folder / "images" / name), image)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for label, (left, top, right, bottom) in zip(labels, corners, strict=True):
            box = [left, top, right - left, bottom - top]
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": int(label) + 1, "bbox": box}
            annotations.append(entry | {"area": box[2] * box[3], "iscrowd": 0})
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    file = folder / "instances.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def write_voc(folder: Path, seeds: range, width: int = SIDE, height: int = SIDE) -> Path:
    """Write images, VOC's XML files and its list of images, which is returned."""
    for name in ("JPEGImages", "Annotations"):
        (folder / name).mkdir(parents=True)
    stems = [f"{number:06}" for number in range(len(seeds))]
    for stem, seed in zip(stems, seeds, strict=True):
        image, labels, corners = render(seed, width, height)
        cv2.imwrite(str(folder / "JPEGImages" / f"{stem}.png"), image)
        objects = "".join(
            f"<object><name>{CLASSES[label]}</name><difficult>0</difficult><bndbox>"
            f"<xmin>{box[0] + 1}</xmin><ymin>{box[1] + 1}</ymin><xmax>{box[2] + 1}</xmax><ymax>{box[3] + 1}</ymax>"
            "</bndbox></object>"
            for label, box in zip(labels, corners, strict=True)
        )
        text = f"<annotation><filename>{stem}.png</filename>{objects}</annotation>"
        (folder / "Annotations" / f"{stem}.xml").write_text(text, encoding="utf-8")
    listing = folder / "test.txt"
    listing.write_text("\n".join(stems) + "\n", encoding="utf-8")
    return listing
