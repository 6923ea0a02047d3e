"""The built-in data: scikit-learn's 1797 handwritten digits, split into training and validation."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from tasks.data.arrays import ArraySamples
from tasks.errors import InputError, did_you_mean

# Training and evaluation of the built-in model share this split, so that they never mix.
SPLIT_SEED = 20240229
VALIDATION_SAMPLES = 599  # a third


@dataclass(frozen=True)
class Digits:
    """8x8 grey images of the digits 0 to 9: 1198 for training and calibration, 599 held out for validation."""

    split: Literal["training", "validation"]
    kind: Literal["digits"] = "digits"


def open_digits(spec: Digits) -> ArraySamples:
    """The samples of one split: ``x`` of shape (1, 8, 8), float32, from 0 to 1, and labels from 0 to 9.

    A sample is named by its number in scikit-learn's data set.

    Args:
        spec: Names the split.

    Raises:
        InputError: There is no such split.
    """
    splits = _splits()
    if spec.split not in splits:
        hint = did_you_mean(spec.split, splits)
        raise InputError(f"digits: split {spec.split!r}; expected 'training' or 'validation'.{hint}")
    return splits[spec.split]


@cache
def _splits() -> dict[str, ArraySamples]:
    # The import takes more than a second; users of other data need not wait for it.
    from sklearn.datasets import load_digits  # noqa: PLC0415

    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    parts = {"validation": order[:VALIDATION_SAMPLES], "training": order[VALIDATION_SAMPLES:]}
    return {
        split: ArraySamples(
            origin=f"digits ({split})",
            arrays={"x": images[part]},
            names=tuple(str(index) for index in part),
            labels=labels[part].astype(np.int64),
        )
        for split, part in parts.items()
    }
