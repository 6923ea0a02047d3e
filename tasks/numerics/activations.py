"""Functions that turn outputs of networks into shares and sizes, numbers for whatever they read but NaN."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

# exp of more passes float64; as a share or a size of boxes it makes no difference.
_LARGEST_EXPONENT = 700.0


def sigmoid(values: Array) -> NDArray[np.float64]:
    """``1 / (1 + exp(-values))``, of the shape of ``values``.

    Args:
        values: Logits of any shape; infinities give 0 and 1 or next to it, NaN stays NaN.
    """
    return np.asarray(1 / (1 + exponential(-values)))


def exponential(values: Array) -> NDArray[np.float64]:
    """``exp(values)``, of the shape of ``values``, with exponents of 700 at most.

    Args:
        values: Exponents of any shape; NaN stays NaN.
    """
    return np.exp(np.minimum(values, _LARGEST_EXPONENT, dtype=np.float64))


def softmax(scores: Array, axis: int = -1) -> Array:
    """Shares along an axis, of the shape and type of ``scores``; infinite scores share all between them.

    Args:
        scores: Logits of any shape.
        axis: The axis along which shares add up to 1.
    """
    largest = scores.max(axis=axis, keepdims=True)
    differ = scores != largest
    exponents = np.exp(np.subtract(scores, largest, out=np.zeros(scores.shape), where=differ, dtype=np.float64))
    return np.asarray(exponents / exponents.sum(axis=axis, keepdims=True), scores.dtype)
