"""An object of a configuration, read key by key; every problem is collected."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.errors import did_you_mean, readable
from tasks.pot.document import Document, Place


@dataclass
class Findings:
    """What a translation found.

    Attributes:
        lenient: Whether keys without meaning are notices instead of problems.
        quantizes: False for algorithms that leave the model float.
        readable: False for a model of which nothing is known.
        settings: Values by dotted key.
        origins: Where each setting comes from.
        notices: One line each.
        problems: One line each.
    """

    lenient: bool = False
    quantizes: bool = True
    readable: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def set(self, key: str, value: Any, where: str) -> None:
        """Add a setting. A second, different value is a problem.

        Args:
            key: Dotted key.
            value: A plain value.
            where: Where it comes from.
        """
        if key in self.settings and self.settings[key] != value:
            self.problems.append(f"{where}: {value!r} here and {self.settings[key]!r} at {self.origins[key]}.")
        self.settings[key] = value
        self.origins[key] = where


class Section:
    """An object of a document. Keys that nobody took before :meth:`finish` are unknown."""

    def __init__(self, findings: Findings, document: Document, place: Place, content: dict[str, Any]) -> None:
        self.findings, self.document, self.place, self.content = findings, document, place, content
        self._known: set[str] = set()
        self._reported = False

    @classmethod
    def of(cls, findings: Findings, document: Document, place: Place, content: Any) -> "Section":
        """The section of a value. A value that is no object is a problem, and gives an empty section.

        Args:
            findings: Collects problems.
            document: The document.
            place: Keys and indices that lead to the value.
            content: The value.
        """
        if isinstance(content, dict):
            return cls(findings, document, place, {str(key): value for key, value in content.items()})
        findings.problems.append(f"{document.where(place)}: {_named(place)}expected an object, got {content!r}.")
        empty = cls(findings, document, place, {})
        empty._reported = True
        return empty

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def where(self, key: str | None = None) -> str:
        """``file:line:column`` and the name of a key, to begin a line.

        Args:
            key: A key of this section; None means the section.
        """
        place = self.place if key is None else (*self.place, key)
        return f"{self.document.where(place)}: {'.'.join(map(str, place))}".rstrip(": ")

    def take(self, key: str, default: Any = None) -> Any:
        """The value of a key, which is known from now on.

        Args:
            key: A key.
            default: The value if there is no such key.
        """
        self._known.add(key)
        return self.content.get(key, default)

    def section(self, key: str) -> "Section | None":
        """The object of a key; None if there is no such key.

        Args:
            key: A key.
        """
        value = self.take(key)
        return None if value is None else Section.of(self.findings, self.document, (*self.place, key), value)

    def sections(self, key: str) -> "list[Section]":
        """The objects of a list; a single object counts as a list of one.

        Args:
            key: A key.
        """
        value = self.take(key)
        if value is None:
            return []
        if not isinstance(value, list):
            value, places = [value], [(*self.place, key)]
        else:
            places = [(*self.place, key, index) for index in range(len(value))]
        return [
            Section.of(self.findings, self.document, place, item) for place, item in zip(places, value, strict=True)
        ]

    def ignore(self, *keys: str) -> None:
        """Mark keys as known that mean nothing here.

        Args:
            *keys: Keys.
        """
        self._known.update(keys)

    def problem(self, key: str | None, text: str) -> None:
        """Add a problem of a key's value, or of the section.

        Args:
            key: A key; None means the section.
            text: The problem.
        """
        if not self._reported:
            self.findings.problems.append(f"{self.where(key)}: {text}")

    def notice(self, key: str | None, text: str) -> None:
        """Add a notice on a key's value, or on the section.

        Args:
            key: A key; None means the section.
            text: The notice.
        """
        self.findings.notices.append(readable(f"{self.where(key)}: {text}"))

    def unknown_name(self, key: str, name: Any, supported: Sequence[str], what: str) -> None:
        """Add the problem of an unknown name.

        Args:
            key: The key of the name.
            name: What the user wrote.
            supported: Valid names.
            what: What the name stands for.
        """
        text = (
            f"{what} {name!r} is not supported.{did_you_mean(str(name), supported)} Supported: {', '.join(supported)}."
        )
        self.problem(key, text)

    def finish(self) -> None:
        """Report every key that nobody took."""
        for key in self.unread():
            text = f"unknown key.{did_you_mean(key, sorted(self._known))}"
            if self.findings.lenient:
                self.notice(key, f"{text} It is ignored.")
            else:
                self.problem(key, f"{text} Known: {', '.join(sorted(self._known))}.")

    def unread(self) -> Iterator[str]:
        """The keys that nobody took."""
        return (key for key in self.content if key not in self._known)


def _named(place: Place) -> str:
    return f"{'.'.join(map(str, place))}: " if place else ""
