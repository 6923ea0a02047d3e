"""Samples from a user's own Python function.

For example, in ``my_data.py`` beside where the command is started::

    def make_samples(folder):
        files = sorted(pathlib.Path(folder).glob("*.npy"))
        return [(np.load(file), int(file.stem[-1])) for file in files]  # array (channels, height, width), class

    ptq-quantize ... dataset=callable dataset.path=my_data.make_samples dataset.arguments.folder=/data
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tasks.data.annotations import Annotations, Boxes
from tasks.data.callables import callable_file, load_callable
from tasks.data.samples import LARGEST_LABEL, Array, Labels, Sample, digest_arrays, require_finite
from tasks.errors import InputError, listing
from tasks.redaction import redacted, revealed

_BOXES = ("labels", "boxes")
_LABEL = "expected a class index, an integer >= 0"


@dataclass(frozen=True, kw_only=True)
class Custom:
    """Samples that a function of the user's returns.

    They have ``len()`` and an index. Each is what the model reads, an array without the batch axis or a dictionary of
    arrays by the names of inputs; or a pair of that and what is to be predicted: a class index, an array, or for
    detection ``{"labels": (n,), "boxes": (n, 4)}`` with x_min, y_min, x_max, y_max in pixels of the model's input.

    Attributes:
        path: Dotted path of the function.
        arguments: Keyword arguments of the function.
    """

    path: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    kind: Literal["callable"] = "callable"


@dataclass(frozen=True, eq=False)
class CustomSamples:
    """Samples that a function of the user's returned.

    Attributes:
        spec: The function and its arguments.
        items: The samples as returned.
        paired: Whether each sample is a pair with what is to be predicted.
    """

    spec: Custom
    items: Any
    paired: bool

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The number of each sample."""
        return tuple(str(index) for index in range(len(self.items)))

    @property
    def labels(self) -> Labels | None:
        """The class of every sample, (samples,), int64; None if samples have no classes."""
        return self.annotations.labels

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.items)

    @cached_property
    def annotations(self) -> Annotations:
        """The annotations of all samples.

        Raises:
            InputError: They are not of one kind.
        """
        if not self.paired:
            return Annotations(self.names)
        truths = [self._item(index)[1] for index in range(len(self))]
        kinds = {_kind(truth) for truth in truths}
        if len(kinds) > 1 or None in kinds:
            found = ", ".join(sorted({type(truth).__name__ for truth in truths}))
            raise InputError(
                f"{self.spec.path}: expected the same kind of annotation in every sample, a class index, an array or"
                f" a dictionary with {' and '.join(_BOXES)}; got {found}."
            )
        match kinds.pop():
            case "label":
                for index, label in enumerate(truths):
                    if not 0 <= label <= LARGEST_LABEL:
                        raise InputError(f"{self.spec.path}: sample {index} has the class {label}; {_LABEL}.")
                return Annotations(self.names, labels=np.array(truths, np.int64))
            case "boxes":
                boxes = tuple(self._boxes(index, truth) for index, truth in enumerate(truths))
                classes = {int(label): str(label) for each in boxes for label in each.labels}
                return Annotations(self.names, boxes=boxes, classes=dict(sorted(classes.items())))
            case _:
                return Annotations(self.names, targets=tuple(np.asarray(truth, np.float64) for truth in truths))

    def load(self, index: int, inputs: Sequence[str]) -> Sample:
        """The arrays of sample ``index`` by the names of the model's inputs.

        Args:
            index: Number of the sample.
            inputs: Names of the model's inputs.

        Raises:
            InputError: The sample lacks an input, or holds anything but finite numbers.
        """
        sample = self._item(index)[0]
        arrays = self._named(index, sample) if isinstance(sample, dict) else dict.fromkeys(inputs[:1], sample)
        if missing := [name for name in inputs if name not in arrays]:
            raise InputError(
                f"{self.spec.path}: sample {index} has no array for {listing(missing)}; it has {listing(list(arrays))}."
            )
        checked = {name: self._checked(index, arrays[name]) for name in inputs}
        return Sample(f"{self.spec.path}: sample {index}", checked)

    def digest(self, index: int) -> str:
        """The sha256, in hex, of the sample's arrays.

        Args:
            index: Number of the sample.
        """
        sample = self._item(index)[0]
        arrays = self._named(index, sample) if isinstance(sample, dict) else {"x": sample}
        return digest_arrays({name: self._checked(index, array) for name, array in arrays.items()})

    def _item(self, index: int) -> tuple[Any, Any]:
        item = _item(self.spec, self.items, index)
        if isinstance(item, tuple) != self.paired or (self.paired and len(item) != 2):
            raise InputError(
                f"{self.spec.path}: sample {index} is not of the kind of sample 0; expected an array or a pair."
            )
        return item if self.paired else (item, None)

    def _named(self, index: int, arrays: dict[Any, Any]) -> dict[str, Any]:
        if wrong := [name for name in arrays if not isinstance(name, str)]:
            raise InputError(f"{self.spec.path}: sample {index} has the key {wrong[0]!r}; expected names of inputs.")
        return arrays

    def _checked(self, index: int, array: Any) -> Array:
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or not array.size:
            got = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise InputError(f"{self.spec.path}: sample {index} is {got}; expected an array of real numbers.")
        require_finite(array, f"{self.spec.path}: sample {index}")
        return np.array(array, array.dtype.newbyteorder("="), order="C")

    def _boxes(self, index: int, truth: Mapping[str, Any]) -> Boxes:
        where = f"{self.spec.path}: sample {index}"
        try:
            labels, corners = (np.asarray(truth[key]) for key in _BOXES)
        except ValueError as failure:  # rows of different lengths
            raise InputError(f"{where}: labels or boxes: {failure}; expected arrays of numbers.") from failure
        if labels.ndim != 1 or corners.shape != (len(labels), 4):
            raise InputError(f"{where} has labels {labels.shape} and boxes {corners.shape}; expected (n,) and (n, 4).")
        if corners.dtype.kind not in "biuf" or not np.isfinite(corners).all():
            raise InputError(f"{where} has boxes {corners.tolist()}; expected finite numbers.")
        if labels.dtype.kind not in "biuf" or not ((labels >= 0) & (labels <= LARGEST_LABEL) & (labels % 1 == 0)).all():
            raise InputError(f"{where} has labels {labels.tolist()}; {_LABEL}.")
        return Boxes(labels.astype(np.int64), corners.astype(np.float64), np.zeros(len(labels), bool))


def open_custom(spec: Custom) -> CustomSamples:
    """The samples that the function returns.

    Args:
        spec: The function and its arguments.

    Raises:
        InputError: The function fails or returns anything but samples.
    """
    function = load_callable(spec.path, "dataset")
    try:
        items = function(**revealed(dict(spec.arguments)))
    except Exception as failure:  # noqa: BLE001 - see _said
        raise InputError(f"{spec.path}({_shown(spec)}): {_said(failure)}") from None
    if not hasattr(items, "__len__") or not hasattr(items, "__getitem__") or isinstance(items, str | dict):
        raise InputError(f"{spec.path}: returned {type(items).__name__}; expected samples with len() and an index.")
    try:
        count = len(items)
    except Exception as failure:  # noqa: BLE001 - see _said
        raise InputError(f"{spec.path}: len(): {_said(failure)}") from None
    if not count:
        raise InputError(f"{spec.path}({_shown(spec)}): returned no sample.")
    return CustomSamples(spec, items, paired=isinstance(_item(spec, items, 0), tuple))


def custom_paths(spec: Custom) -> tuple[Path, ...]:
    """The file of the function's module, and arguments that name existing files or folders.

    Args:
        spec: The function and its arguments.
    """
    code = callable_file(spec.path)
    named = [Path(value) for value in spec.arguments.values() if isinstance(value, str) and value]
    return tuple(path for path in (code, *named) if path is not None and path.exists())


def _item(spec: Custom, items: Any, index: int) -> Any:
    try:
        return items[index]
    except Exception as failure:  # noqa: BLE001 - see _said
        raise InputError(f"{spec.path}: sample {index}: {_said(failure)}") from None


def _kind(truth: Any) -> str | None:
    if isinstance(truth, bool | int | np.integer):
        return "label"
    if isinstance(truth, dict):
        return "boxes" if set(truth) == set(_BOXES) else None
    return "target" if isinstance(truth, np.ndarray) and truth.dtype.kind in "biuf" else None


def _said(failure: Exception) -> str:
    """The message of a user's function, redacted as its arguments may be secret, with the type of the exception."""
    return redacted(f"{type(failure).__name__}: {failure}.")


def _shown(spec: Custom) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in spec.arguments.items())
