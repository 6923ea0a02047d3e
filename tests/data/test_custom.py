"""Samples of a user's own function: of every kind, and refused unless they are samples."""

from typing import Any

import numpy as np
import pytest

from tasks.data.custom import Custom, CustomSamples, open_custom
from tasks.errors import InputError


def opened(name: str, **arguments: Any) -> CustomSamples:
    return open_custom(Custom(path=f"tests.support.functions.{name}", arguments=arguments))


def test_pairs_have_classes() -> None:
    samples = opened("make_samples", count=5)
    assert len(samples) == 5
    assert samples.names == ("0", "1", "2", "3", "4")
    assert samples.labels is not None
    assert list(samples.labels) == [0, 1, 2, 0, 1]
    assert samples.load(1, ["image"])["image"].shape == (3, 4, 5)
    assert samples.digest(0) != samples.digest(1)
    assert samples.digest(0) == opened("make_samples", count=5).digest(0)


def test_boxes_become_annotations() -> None:
    annotations = opened("make_boxed_samples").annotations
    assert annotations.boxes is not None
    np.testing.assert_array_equal(annotations.boxes[1].corners, [[0, 1, 2, 3]])
    assert dict(annotations.classes) == {1: "1"}


def test_samples_without_annotation_feed_inputs_by_name() -> None:
    samples = opened("make_plain_samples")
    assert samples.labels is None
    assert samples.load(0, ["x"])["x"].shape == (3, 4, 4)
    assert samples.load(1, ["x"])["x"].shape == (2,)
    with pytest.raises(InputError, match="sample 1 has no array for 'y'; it has 'x'"):
        samples.load(1, ["y"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("make_nothing", "returned no sample"),
        ("make_number", "returned int; expected samples with len"),
        ("fail", r"fail\(\): RuntimeError: it fell over"),
        ("make_without_length", r"len\(\): RuntimeError: it fell over"),
        ("make_samples", "TypeError: make_samples"),
        ("make_sample", "has no 'make_sample'. Did you mean 'make_samples'?"),
    ],
)
def test_functions_that_make_no_samples_are_named(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        opened(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("make_mixed_samples", "expected the same kind of annotation in every sample"),
        ("make_badly_boxed_samples", r"labels \(1,\) and boxes \(4,\)"),
    ],
)
def test_annotations_of_wrong_shapes_are_named(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        assert opened(name).annotations


@pytest.mark.parametrize("label", [-1, 2**70])
def test_classes_beyond_all_bounds_are_named(label: int) -> None:
    with pytest.raises(InputError, match=f"sample 1 has the class {label}; expected a class index"):
        assert opened("make_labelled", labels=[0, label]).labels is None


@pytest.mark.parametrize(
    ("labels", "boxes", "message"),
    [
        ([0], [[0, 0, 1, float("nan")]], "expected finite numbers"),
        ([0], [["a", "b", "c", "d"]], "expected finite numbers"),
        ([0.7], [[0, 0, 1, 1]], r"labels \[0.7\]; expected a class index"),
        ([-1], [[0, 0, 1, 1]], r"labels \[-1\]; expected a class index"),
        (["cat"], [[0, 0, 1, 1]], r"labels \['cat'\]; expected a class index"),
        ([[0], [0, 1]], [[0, 0, 1, 1]], "labels or boxes: .*; expected arrays of numbers"),
    ],
)
def test_boxes_that_are_none_are_named(labels: Any, boxes: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"sample 0.*{message}"):
        assert opened("make_boxed", labels=labels, boxes=boxes).annotations


def test_inputs_without_a_name_are_named() -> None:
    samples = opened("make_mixed_keys")
    for use in (lambda: samples.digest(0), lambda: samples.load(0, ["x"])):
        with pytest.raises(InputError, match="sample 0 has the key 1; expected names of inputs"):
            use()


def test_samples_that_are_no_arrays_are_named() -> None:
    with pytest.raises(InputError, match="sample 0 is str; expected an array of real numbers"):
        opened("make_texts").load(0, ["x"])
