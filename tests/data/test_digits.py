"""The built-in data and the network trained on it."""

import hashlib

import numpy as np
import openvino as ov
import pytest
from sklearn.datasets import load_digits

from tasks.data.digits import Digits, open_digits
from tasks.digits import MODEL
from tasks.errors import InputError


def test_splits_are_disjoint_and_cover_everything() -> None:
    training, validation = open_digits(Digits("training")), open_digits(Digits("validation"))
    assert (len(training), len(validation)) == (1198, 599)
    numbers = [int(name) for name in training.names + validation.names]
    assert sorted(numbers) == list(range(1797))
    assert {training.digest(i) for i in range(1198)}.isdisjoint({validation.digest(i) for i in range(599)})


def test_the_split_never_moves() -> None:
    """The committed network was trained on these very samples: another split would validate on them."""
    names = " ".join(open_digits(Digits("validation")).names)
    assert hashlib.sha256(names.encode()).hexdigest() == (
        "9f49d8c28de91749859922f0ef2653167381c71ede5e9209d5ce166dbff1bc54"
    )


def test_samples_are_scikit_learns_images_between_0_and_1() -> None:
    images, targets = load_digits(return_X_y=True)
    samples = open_digits(Digits("validation"))
    assert samples.labels is not None
    assert samples.labels.dtype == np.int64
    for index in (0, 300, 598):
        number = int(samples.names[index])
        image = samples.load(index, ("images",))["images"]
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image * 16, images[number].reshape(1, 8, 8))
        assert samples.labels[index] == targets[number]


def test_every_class_is_in_both_splits() -> None:
    for spec in (Digits("training"), Digits("validation")):
        labels = open_digits(spec).labels
        assert np.bincount(np.asarray(labels), minlength=10).min() > 40


def test_unknown_split_is_refused() -> None:
    with pytest.raises(InputError, match=r"split 'valid'; expected 'training' or 'validation'. Did you mean 'valid"):
        open_digits(Digits("valid"))  # type: ignore[arg-type]


def test_network_is_right_on_the_held_out_third() -> None:
    samples = open_digits(Digits("validation"))
    model = ov.Core().compile_model(MODEL, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    images = np.stack([samples.load(index, ("images",))["images"] for index in range(len(samples))])
    logits = model({"images": images})["logits"]
    assert logits.shape == (599, 10)
    assert np.mean(logits.argmax(axis=1) == samples.labels) >= 0.985


def test_network_has_what_the_pipeline_must_handle() -> None:
    model = ov.Core().read_model(MODEL)
    types = {node.get_type_name() for node in model.get_ops()}
    assert {"Convolution", "GroupConvolution", "Add", "Relu", "MaxPool", "ReduceMean", "MatMul"} <= types
    names = [node.friendly_name for node in model.get_ops()]
    assert len(set(names)) == len(names)
    assert not [name for name in names if "_" in name], "OpenVINO's automatic names change from run to run"
    assert MODEL.with_suffix(".bin").stat().st_size < 1_000_000


def test_weights_far_outnumber_biases_and_scales() -> None:
    """With 1 byte per weight and a 4-byte bias and scale per channel the file shrinks to 0.27 or less."""
    weights = channels = 0
    for node in ov.Core().read_model(MODEL).get_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution", "MatMul"):
            constant = node.input_value(1).get_node()
            weights += int(np.prod(constant.shape))
            channels += node.output(0).partial_shape[1].get_length()
    assert weights + 8 * channels <= 0.265 * 4 * (weights + channels)
