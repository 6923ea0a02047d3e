"""What the user keeps out of quantization: a value, independent of any model."""

from dataclasses import dataclass

Attribute = str | int | float | bool | tuple[int | float | str, ...]


@dataclass(frozen=True)
class IgnoredOperation:
    """All operations of ``type``, or those whose ``attributes`` have the given values.

    ``type`` is OpenVINO's name of the operation, upper and lower case alike. ``Convolution`` stands for grouped ones
    too, ``GroupConvolution`` for these only and ``DepthWiseConvolution`` for those with one channel a group.
    ``attributes`` are (name, value) pairs as OpenVINO spells them: ``("strides", (2, 2))``.
    """

    type: str
    attributes: tuple[tuple[str, Attribute], ...] = ()


@dataclass(frozen=True)
class IgnoredScope:
    """Operations that stay float: by friendly name, by regular expression (of the full name), by type."""

    scope: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    operations: tuple[IgnoredOperation, ...] = ()
