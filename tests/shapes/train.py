"""Train the small detector of shapes and write it as OpenVINO IR. PyTorch is no dependency of the project.

    python3.11 -m venv torchenv
    torchenv/bin/pip install torch==2.13.0 openvino==2026.4.1 opencv-python-headless
    torchenv/bin/python -m tests.shapes.train           # writes shapes.xml and shapes.bin beside this file

A YOLO network: one grid of 8 x 8 cells with two anchors for images of 64 x 64 pixels, BGR, from 0 to 1. Its output
``grid`` is raw, as the adapter ``yolo_v3`` reads it. The images that tests render have other seeds than these.
"""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from torch import nn

from tests.shapes.render import CLASSES, SIDE, render

FILE = Path(__file__).with_name("shapes.xml")
ANCHORS = ((18.0, 18.0), (28.0, 28.0))
CELLS = 8
WIDTH = 5 + len(CLASSES)
FIRST_SEED, IMAGES = 1_000_000, 6000
EPOCHS, BATCH, RATE = 30, 64, 4e-3


class Detector(nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    """Convolutions with batch norm and ReLU, three of them halving the sides."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, stride in ((16, 2), (32, 2), (32, 1), (64, 2), (64, 1), (64, 1)):
            layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Conv2d(channels, len(ANCHORS) * WIDTH, 1)

    def forward(self, images: Any) -> Any:
        return self.head(self.features(images))


def targets(labels: Any, corners: Any) -> Any:
    """What the grid should say, (anchors, width, cells, cells), with 1 as confidence where there is an object."""
    grid = np.zeros((len(ANCHORS), WIDTH, CELLS, CELLS), np.float32)
    step = SIDE / CELLS
    for label, (left, top, right, bottom) in zip(labels, corners, strict=True):
        width, height = right - left, bottom - top
        anchor = int(np.argmin([abs(np.log(width / each[0])) for each in ANCHORS]))
        x, y = (left + right) / 2 / step, (top + bottom) / 2 / step
        column, row = int(x), int(y)
        sizes = np.log([width / ANCHORS[anchor][0], height / ANCHORS[anchor][1]])
        grid[anchor, :5, row, column] = [x - column, y - row, *sizes, 1]
        grid[anchor, 5 + label, row, column] = 1
    return grid


def loss(output: Any, wanted: Any) -> Any:
    output = output.reshape(wanted.shape)
    there = wanted[:, :, 4:5]
    entropy = nn.functional.binary_cross_entropy_with_logits
    places = entropy(output[:, :, :2], wanted[:, :, :2], reduction="none") * there
    sizes = (output[:, :, 2:4] - wanted[:, :, 2:4]) ** 2 * there
    classes = entropy(output[:, :, 5:], wanted[:, :, 5:], reduction="none") * there
    confidence = entropy(output[:, :, 4:5], there, reduction="none") * (1 + 4 * there)
    return (places.sum() + 5 * sizes.sum() + classes.sum() + confidence.sum()) / len(wanted)


def main() -> None:
    torch.manual_seed(0)
    rendered = [render(FIRST_SEED + number) for number in range(IMAGES)]
    images = torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image, _, _ in rendered])).float() / 255
    wanted = torch.from_numpy(np.stack([targets(labels, corners) for _, labels, corners in rendered]))
    network = Detector()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.01)
    steps = EPOCHS * -(-IMAGES // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for epoch in range(EPOCHS):
        total = 0.0
        for batch in torch.randperm(IMAGES).split(BATCH):
            value = loss(network(images[batch]), wanted[batch])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
            total += float(value.detach()) * len(batch)
        print(f"epoch {epoch}: loss {total / IMAGES:.3f}", flush=True)
    network.eval()
    model = ov.convert_model(network, example_input=torch.zeros(1, 3, SIDE, SIDE), input=[-1, 3, SIDE, SIDE])
    model.inputs[0].get_tensor().set_names({"image"})
    model.outputs[0].get_tensor().set_names({"grid"})
    for number, node in enumerate(model.get_ordered_ops()):
        node.set_friendly_name(f"{node.get_type_name()}.{number}")
    ov.save_model(model, FILE, compress_to_fp16=False)


if __name__ == "__main__":
    main()
