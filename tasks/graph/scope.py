"""The ignored scope: the operations that a user keeps float, as a value that depends on no model."""

from dataclasses import dataclass

Attribute = str | int | float | bool | tuple[int | float | str, ...]


@dataclass(frozen=True)
class IgnoredOperation:
    """All operations of a type, or those of them that have the given attributes (POT: ``ignored.operations``).

    Attributes:
        type: OpenVINO's name of the type, upper and lower case alike. ``Convolution`` includes grouped convolutions,
            ``GroupConvolution`` means these only, ``DepthWiseConvolution`` those with one channel per group.
        attributes: Pairs of name and value as OpenVINO spells them, such as ``("strides", (2, 2))``.
    """

    type: str
    attributes: tuple[tuple[str, Attribute], ...] = ()


@dataclass(frozen=True)
class IgnoredScope:
    """The operations that stay float (POT: ``ignored``; NNCF: ``IgnoredScope``).

    Attributes:
        scope: Friendly names.
        patterns: Regular expressions, each of which has to match a whole friendly name.
        operations: Types of operations, with or without attributes.
    """

    scope: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    operations: tuple[IgnoredOperation, ...] = ()
