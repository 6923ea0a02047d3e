"""Train the built-in digits network and write it as OpenVINO IR. PyTorch is no dependency of the project.

    python3.11 -m venv /tmp/torchenv
    /tmp/torchenv/bin/pip install torch==2.13.0 scikit-learn openvino==2026.4.1
    /tmp/torchenv/bin/python -m tasks.digits.train                     # writes digits.xml and digits.bin
    /tmp/torchenv/bin/python -m tasks.digits.train --cross-validate    # judges the recipe, writes nothing

Seeds: ``tasks.data.digits.SPLIT_SEED`` for the split, ``SEED`` below for everything else. One thread and
deterministic kernels: on one machine the same bytes come out every time.

Accuracy: 4-fold cross-validation inside the training split gives 99.58 %, and the recipe was settled by that alone;
the network trained on the whole split then has 99.83 % (598 of 599) on the held-out third, which was looked at once.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from openvino import opset13 as ops
from torch import nn

from tasks.data.digits import Digits, open_digits
from tasks.digits import MODEL

SEED = 1
EPOCHS = 100
BATCH = 64
RATE = 3e-3
WEIGHT_DECAY = 0.02
FOLDS = 4

# name: input channels, output channels, kernel size, groups. Each has batch norm, then (but "block/pointwise",
# which is added to its block's input first) ReLU. Most weights sit where many products are summed.
CONVOLUTIONS = {
    "stem": (1, 32, 3, 1),
    "widen": (32, 64, 3, 1),
    "block/depthwise": (64, 64, 3, 64),
    "block/pointwise": (64, 64, 1, 1),
    "deep": (64, 64, 3, 1),
    "last": (64, 64, 3, 1),
}
CLASSES = 10

Array = NDArray[np.float32]


def build_layers() -> Any:
    """The layers, convolutions with batch norm, as a torch ModuleDict; keys have ``/`` as in the IR."""
    layers = {
        name: nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        )
        for name, (inputs, outputs, kernel, groups) in CONVOLUTIONS.items()
    }
    return nn.ModuleDict({**layers, "classifier": nn.Linear(64, CLASSES)})


def forward(layers: Any, images: Any) -> Any:
    """Logits, (samples, 10). :func:`build_model` builds the same graph.

    Args:
        layers: See :func:`build_layers`.
        images: (samples, 1, 8, 8), float32.
    """
    value = nn.functional.relu(layers["stem"](images))
    shortcut = nn.functional.relu(layers["widen"](value))
    value = nn.functional.relu(layers["block/depthwise"](shortcut))
    value = nn.functional.relu(layers["block/pointwise"](value) + shortcut)
    value = nn.functional.max_pool2d(value, 2)
    value = nn.functional.relu(layers["deep"](value))
    value = nn.functional.relu(layers["last"](value))
    return layers["classifier"](value.mean(dim=(2, 3)))


def augment(images: Any, generator: Any) -> Any:
    """The images, each turned, scaled and shifted a little: by up to 10 degrees, 10 % and one pixel.

    Args:
        images: (samples, 1, 8, 8), float32.
        generator: A torch generator.
    """
    random = torch.rand((4, len(images)), generator=generator) * 2 - 1
    angle, stretch = random[0] * math.radians(10), 1 + random[1] * 0.1
    cosine, sine = torch.cos(angle) * stretch, torch.sin(angle) * stretch
    shift_x, shift_y = random[2] / 4, random[3] / 4  # in units of half the width, 4 pixels
    affine = torch.stack((torch.stack((cosine, -sine, shift_x), 1), torch.stack((sine, cosine, shift_y), 1)), 1)
    grid = nn.functional.affine_grid(affine, images.shape, align_corners=False)
    return nn.functional.grid_sample(images, grid, align_corners=False)


def train(images: Array, labels: NDArray[np.int64]) -> Any:
    """The layers after the whole schedule, in evaluation mode.

    Args:
        images: (samples, 1, 8, 8), float32.
        labels: (samples,), int64.
    """
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    layers = build_layers()
    steps = EPOCHS * math.ceil(len(images) / BATCH)
    optimizer = torch.optim.AdamW(layers.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    inputs, targets = torch.from_numpy(images), torch.from_numpy(labels)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images), generator=generator).split(BATCH):
            logits = forward(layers, augment(inputs[batch], generator))
            loss = nn.functional.cross_entropy(logits, targets[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return layers.eval()


def accuracy(layers: Any, images: Array, labels: NDArray[np.int64]) -> float:
    """The share of images whose largest logit is their label's, from 0 to 1.

    Args:
        layers: See :func:`build_layers`.
        images: (samples, 1, 8, 8), float32.
        labels: (samples,), int64.
    """
    with torch.no_grad():
        answers = forward(layers, torch.from_numpy(images)).argmax(dim=1).numpy()
    return float((answers == labels).mean())


def fused(layers: Any, name: str) -> tuple[Array, Array]:
    """Weights and bias, float32, of a convolution with its batch norm folded in (in float64).

    Args:
        layers: See :func:`build_layers`.
        name: The convolution's key.
    """
    convolution, norm = layers[name]
    factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    weights = convolution.weight.double() * factor.reshape(-1, 1, 1, 1)
    bias = norm.bias.double() - norm.running_mean.double() * factor
    return tuple(tensor.detach().numpy().astype(np.float32) for tensor in (weights, bias))


def build_model(layers: Any) -> ov.Model:
    """The trained network as an OpenVINO graph with a name for every node.

    Args:
        layers: See :func:`build_layers`.
    """
    images = ops.parameter([-1, 1, 8, 8], np.float32, name="images")
    images.set_layout(ov.Layout("NCHW"))
    images.output(0).tensor.set_names({"images"})
    value = _relu(_convolution(images, layers, "stem"), "stem")
    shortcut = _relu(_convolution(value, layers, "widen"), "widen")
    value = _relu(_convolution(shortcut, layers, "block/depthwise"), "block/depthwise")
    value = ops.add(_convolution(value, layers, "block/pointwise"), shortcut, name="block/add")
    value = _relu(value, "block")
    value = ops.max_pool(value, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], name="pool").output(0)
    value = _relu(_convolution(value, layers, "deep"), "deep")
    value = _relu(_convolution(value, layers, "last"), "last")
    value = ops.reduce_mean(value, _constant(np.array([2, 3], np.int64), "mean/axes"), False, name="mean")
    weights = layers["classifier"].weight.detach().numpy()
    value = ops.matmul(value, _constant(weights, "classifier/weights"), False, True, name="classifier")
    bias = layers["classifier"].bias.detach().numpy().reshape(1, CLASSES)
    value = ops.add(value, _constant(bias, "classifier/bias/values"), name="classifier/bias")
    value.output(0).tensor.set_names({"logits"})
    result = ops.result(value, name="logits")
    result.set_layout(ov.Layout("NC"))
    return ov.Model([result], [images], "digits")


def _convolution(value: Any, layers: Any, name: str) -> Any:
    weights, bias = fused(layers, name)
    groups, pad = CONVOLUTIONS[name][3], CONVOLUTIONS[name][2] // 2
    window = ([1, 1], [pad, pad], [pad, pad], [1, 1])
    if groups == 1:
        value = ops.convolution(value, _constant(weights, f"{name}/weights"), *window, name=name)
    else:
        split = weights.reshape(groups, -1, *weights.shape[1:])
        value = ops.group_convolution(value, _constant(split, f"{name}/weights"), *window, name=name)
    return ops.add(value, _constant(bias.reshape(1, -1, 1, 1), f"{name}/bias/values"), name=f"{name}/bias")


def _relu(value: Any, name: str) -> Any:
    return ops.relu(value, name=f"{name}/relu")


def _constant(values: NDArray[Any], name: str) -> Any:
    return ops.constant(np.ascontiguousarray(values), name=name)


def cross_validate(images: Array, labels: NDArray[np.int64]) -> float:
    """The accuracy of the recipe, from 0 to 1. Each fold of the samples is judged after training on the others.

    Args:
        images: (samples, 1, 8, 8), float32.
        labels: (samples,), int64.
    """
    folds = np.arange(len(images)) % FOLDS
    results = []
    for fold in range(FOLDS):
        layers = train(images[folds != fold], labels[folds != fold])
        results.append(accuracy(layers, images[folds == fold], labels[folds == fold]))
        print(f"fold {fold}: {results[-1]:.4f}", flush=True)
    return float(np.mean(results))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and write the model, or cross-validate.

    Args:
        arguments: The command line; None takes that of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m tasks.digits.train", description=__doc__.split("\n")[0])
    parser.add_argument("--cross-validate", action="store_true", help="judge the recipe on the training split alone")
    parser.add_argument("--output", type=Path, default=MODEL, help="the .xml file to write")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    images, labels = _arrays("training")
    if options.cross_validate:
        print(f"cross-validation: {cross_validate(images, labels):.4f}")
        return
    layers = train(images, labels)
    ov.save_model(build_model(layers), options.output, compress_to_fp16=False)
    print(f"training: {accuracy(layers, images, labels):.4f}")
    print(f"validation: {accuracy(layers, *_arrays('validation')):.4f}")


def _arrays(split: Literal["training", "validation"]) -> tuple[Array, NDArray[np.int64]]:
    samples = open_digits(Digits(split))
    assert samples.labels is not None
    return samples.arrays["x"], samples.labels


if __name__ == "__main__":
    main()
