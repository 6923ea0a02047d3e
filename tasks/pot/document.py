"""JSON with comments and YAML, with the line and column of every value."""

import json
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tasks.errors import InputError, did_you_mean, writable

SUFFIXES = (".json", ".yaml", ".yml")
Place = tuple[Hashable, ...]
# The most that a configuration may have: levels, and values once every alias is a copy.
DEEPEST, MOST_VALUES = 50, 100_000
# Types of keys by the end of their tags.
_KEYS = ("str", "int", "merge")

# A string, or a comment outside of strings.
_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """A YAML loader that reads JSON's numbers as well: 1e-4 is no number in YAML 1.1."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Document:
    """The content of a file. ``marks`` has line and column, from 1, of each value's key, or of each item of a list."""

    file: Path
    content: Any
    marks: Mapping[Place, tuple[int, int]] = field(default_factory=dict)

    def where(self, place: Place = ()) -> str:
        """``file:line:column`` of a value, or of the nearest one around it that has a mark.

        Args:
            place: Keys and indices that lead to the value.
        """
        for length in range(len(place), -1, -1):
            if place[:length] in self.marks:
                line, column = self.marks[place[:length]]
                return f"{self.file}:{line}:{column}"
        return str(self.file)


def read_document(file: Path, what: str) -> Document:
    """The content of a ``.json``, ``.yaml`` or ``.yml`` file.

    Args:
        file: The file.
        what: Its name in messages.

    Raises:
        InputError: The file is missing, of another kind or broken, or an object has a key twice; with line and column.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise InputError(f"{file}: {what} has the suffix {file.suffix!r}; expected {', '.join(SUFFIXES)}.")
    if not file.is_file():
        siblings = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        found = "is a folder" if file.is_dir() else "does not exist"
        raise InputError(f"{file}: {what} {found}.{did_you_mean(file.name, siblings)}")
    text = _read(file, what)
    try:
        return _document(text, file)
    except RecursionError as failure:
        raise InputError(f"{file}: {what} goes too deep, or has an alias that holds itself.") from failure


def read_nodes(file: Path, what: str) -> yaml.Node | None:
    """The nodes of a YAML file, from which the caller makes values; None if it is empty.

    Args:
        file: The file.
        what: Its name in messages.

    Raises:
        InputError: It is no YAML, or :func:`require_plain` refuses it; with line and column.
    """
    text = _read(file, what)
    try:
        node, _ = _compose(text, file)
        require_plain(node, file)
    except RecursionError as failure:
        raise InputError(f"{file}: {what} goes too deep, or has an alias that holds itself.") from failure
    return node


def _read(file: Path, what: str) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as failure:
        raise InputError(f"{file}: {what} is no UTF-8 text at byte {failure.start}.") from failure
    except OSError as failure:
        raise InputError(f"{file}: {what} cannot be read: {failure.strerror}.") from failure


def _document(text: str, file: Path) -> Document:
    is_json = file.suffix.lower() == ".json"
    text = without_comments(text) if is_json else text
    content = _load_json(text, file) if is_json else None
    # Tabs may indent JSON but not YAML, whose parser finds the places.
    node, loader = _compose(text.replace("\t", " ") if is_json else text, file)
    require_plain(node, file)
    marks = dict(_marks(node, (), file)) if node else {}
    if not is_json:
        content = _construct(loader, node, file)
    if wrong := next(_unwritable(content), None):
        raise InputError(f"{file}: the text {wrong!r} has characters that no file can hold.")
    return Document(file, content, marks)


def _unwritable(content: Any) -> Iterator[str]:
    """Texts with NUL or a lone surrogate: neither a file name nor a setting."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _unwritable(key)
            yield from _unwritable(value)
    elif isinstance(content, list):
        for value in content:
            yield from _unwritable(value)
    elif isinstance(content, str) and not writable(content):
        yield content


def require_plain(root: yaml.Node | None, file: Path) -> None:
    """Check that values can be made of YAML nodes.

    Args:
        root: The nodes.
        file: Their file, for the message.

    Raises:
        InputError: With every alias copied they would be endless or too large, or a key is no text.
    """
    sizes: dict[int, int] = {}
    around: set[int] = set()

    def size(node: yaml.Node) -> int:
        name = id(node)
        if name in sizes:
            return sizes[name]
        if name in around or len(around) > DEEPEST:
            why = "holds itself" if name in around else f"goes deeper than {DEEPEST} levels"
            raise InputError(f"{_at(file, node)}: {why}.")
        around.add(name)
        total = 1
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                _require_key(key, file)
                total += size(value)
        elif isinstance(node, yaml.SequenceNode):
            total += sum(map(size, node.value))
        around.discard(name)
        if total > MOST_VALUES:
            raise InputError(f"{_at(file, node)}: stands for more than {MOST_VALUES:,} values, as aliases repeat them.")
        sizes[name] = total
        return total

    if root is not None:
        size(root)


def _require_key(key: yaml.Node, file: Path) -> None:
    if not isinstance(key, yaml.ScalarNode) or key.tag.rpartition(":")[2] not in _KEYS:
        got = repr(key.value) if isinstance(key, yaml.ScalarNode) and key.value else "null or a list"
        raise InputError(f"{_at(file, key)}: expected a name as key, got {got}; texts may need quotes.")


def without_comments(text: str) -> str:
    """The text with ``//`` and ``/* */`` comments blanked, so that places stay the same.

    Args:
        text: JSON with comments.

    Example:
        >>> without_comments('{"preset": "mixed"} // why')
        '{"preset": "mixed"}       '
    """

    def blank(match: re.Match[str]) -> str:
        found = match[0]
        return found if found.startswith('"') else re.sub(r"[^\n]", " ", found)

    return _COMMENT.sub(blank, text)


def _load_json(text: str, file: Path) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as failure:
        hint = " Text needs double quotes; no comma stands behind the last entry." if text.strip() else ""
        raise InputError(f"{file}:{failure.lineno}:{failure.colno}: no JSON: {failure.msg}.{hint}") from failure
    except ValueError as failure:  # numbers of thousands of digits
        raise InputError(f"{file}: no JSON: {failure}.") from failure


def _compose(text: str, file: Path) -> tuple[yaml.Node | None, _Loader]:
    try:
        loader = _Loader(text)
        return loader.get_single_node(), loader
    except yaml.YAMLError as failure:
        raise _broken(failure, file) from failure


def _construct(loader: _Loader, node: yaml.Node | None, file: Path) -> Any:
    try:
        return loader.construct_document(node) if node else None
    except yaml.YAMLError as failure:
        raise _broken(failure, file) from failure
    except ValueError as failure:  # dates and numbers that do not exist
        raise InputError(f"{file}: no YAML: {failure}; texts may need quotes.") from failure


def _broken(failure: yaml.YAMLError, file: Path) -> InputError:
    if isinstance(failure, yaml.reader.ReaderError):
        return InputError(f"{file}: no YAML: the character {failure.position + 1} of it, {chr(failure.character)!r}.")
    mark = getattr(failure, "problem_mark", None)
    place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
    return InputError(f"{file}{place}: no YAML: {getattr(failure, 'problem', None) or failure}.")


def _marks(node: yaml.Node, place: Place, file: Path) -> Iterator[tuple[Place, tuple[int, int]]]:
    if not place:
        yield place, _position(node)
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key, value in node.value:
            name = key.value
            if name in seen:
                raise InputError(f"{_at(file, key)}: the key {name!r} stands here a second time.")
            seen.add(name)
            yield (*place, name), _position(key)
            yield from _marks(value, (*place, name), file)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*place, index), _position(item)
            yield from _marks(item, (*place, index), file)


def _at(file: Path, node: yaml.Node) -> str:
    line, column = _position(node)
    return f"{file}:{line}:{column}"


def _position(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
