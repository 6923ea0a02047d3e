"""Functions of a user's own, as the dotted paths in tests name them: right ones and wrong ones."""

from typing import Any

import numpy as np

from tasks.data.annotations import Annotations

VALUE = 3


def make_samples(count: int, classes: int = 3) -> list[tuple[Any, int]]:
    rng = np.random.default_rng(0)
    return [(rng.random((3, 4, 5)).astype(np.float32), index % classes) for index in range(count)]


def make_plain_samples() -> list[Any]:
    return [np.ones((3, 4, 4), np.float32), {"x": np.zeros(2)}]


def make_boxed_samples() -> list[Any]:
    boxes = {"labels": [1], "boxes": [[0.0, 1.0, 2.0, 3.0]]}
    return [(np.zeros((3, 8, 8), np.float32), boxes)] * 2


def make_badly_boxed_samples() -> list[Any]:
    return [(np.zeros((3, 8, 8), np.float32), {"labels": [1], "boxes": [0.0, 1.0, 2.0, 3.0]})]


def make_mixed_samples() -> list[Any]:
    return [(np.zeros(2), 1), (np.zeros(2), np.zeros(3))]


def make_nothing() -> list[Any]:
    return []


def make_number() -> int:
    return 5


def make_texts() -> list[str]:
    return ["a", "b"]


def invert(image: Any) -> Any:
    return 255 - image


def flatten(image: Any) -> Any:
    return image.reshape(-1)


def fail(*_: Any) -> Any:
    raise RuntimeError("it fell over")


def half(*_: Any) -> float:
    return 0.5


def share_of_class_one(predictions: Any, annotations: Annotations) -> dict[str, float]:
    assert annotations.labels is not None
    return {
        "predicted": float(np.mean([p.argmax() == 1 for p in predictions])),
        "real": float((annotations.labels == 1).mean()),
    }


def not_a_number(*_: Any) -> float:
    return float("nan")


def text(*_: Any) -> str:
    return "good"


def one_detection(outputs: Any) -> dict[str, Any]:
    (values,) = outputs.values()
    return {"labels": [0], "scores": [1.0], "boxes": values.reshape(1, 4)}


def uneven_detections(outputs: Any) -> dict[str, Any]:
    return {"labels": [0, 1], "scores": [1.0], "boxes": [[0, 0, 1, 1]]}


def drop_all(detections: dict[str, Any]) -> dict[str, Any]:
    return {name: values[:0] for name, values in detections.items()}


def worded_detections(*_: Any) -> dict[str, Any]:
    return {"labels": ["cat"], "scores": [1.0], "boxes": [[0, 0, 1, 1]]}


def ragged_detections(*_: Any) -> dict[str, Any]:
    return {"labels": [0, 1], "scores": [1.0, 1.0], "boxes": [[0, 0, 1, 1], [0]]}


def make_labelled(labels: list[Any]) -> list[Any]:
    return [(np.zeros(2), label) for label in labels]


def make_boxed(labels: Any, boxes: Any) -> list[Any]:
    return [(np.zeros((3, 8, 8), np.float32), {"labels": labels, "boxes": boxes})]


def make_mixed_keys() -> list[Any]:
    return [{"x": np.zeros(2), 1: np.zeros(2)}]


class NoLength(list[Any]):
    def __len__(self) -> int:
        raise RuntimeError("it fell over")


def make_without_length() -> NoLength:
    return NoLength()
