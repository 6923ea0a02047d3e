"""Files and settings gone wrong, from a fixed seed: what fuzzers feed to whatever reads a user's input."""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from tasks.errors import LONGEST_LINE

# Processor seconds in which everything is read or refused; the budget of a configuration, and what goes before.
SECONDS = 30
TEXTS = (
    *(
        b"\0",
        b"\xff\xfe",
        b"\t",
        b"\n",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b": ",
        b"- ",
        b"*a",
        b"&a ",
        b"<<: *a",
        b"!!set ",
    ),
    *(
        b"null",
        b"~",
        b'"\\ud800"',
        b'"\\0"',
        b"'",
        b'"',
        b"#",
        b"%",
        b"@",
        b"${a}",
        b"${",
        b"???",
        b"-0",
        b"1e400",
        b".nan",
    ),
    *(
        b"9" * 5000,
        b"v" * 5000,
        b"[" * 3000,
        b"{a: " * 300,
        b"\xc3\xbc",
        b"\x1b[31m",
        b"---\n",
        b"!!python/name:os.system ",
    ),
    b"&a [*a]",
    b"&a [x,x,x,x,x,x,x,x,x], &b [*a,*a,*a,*a,*a,*a,*a,*a,*a], &c [*b,*b,*b,*b,*b,*b,*b,*b], [*c,*c,*c,*c,*c,*c,*c,*c]",
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2.5, 10**30, 1e300, float("nan"), float("inf"), "", " ", "x", "v" * 5000, "a\nb"),
    *(
        "a\0b",
        "\ud800",
        "${a}",
        "${oc.env:NOT_THERE}",
        "???",
        "../..",
        "/",
        "/dev/null",
        "null",
        "1e3",
        "'",
        "\x1b[31m",
    ),
    *([], {}, [[]], [None], [1, "a", None], {"": 1}, {"a": {"b": [1]}}, {"type": "x"}, {"re": "("}, {"re": "(" * 2000}),
    [0] * 2000,
)


def mutated_bytes(random: Random, content: bytes) -> bytes:
    """A text with one to four changes: cut, doubled, overwritten, with odd things in it."""
    for _ in range(random.randint(1, 4)):
        start = random.randint(0, len(content))
        end = min(len(content), start + random.choice((0, 1, 5, 40)))
        middle = random.choice(
            (b"", content[start:end] * 2, random.choice(TEXTS), random.choice(TEXTS), random.randbytes(2))
        )
        content = content[:start] + middle + (content[end:] if random.random() < 0.95 else b"")
    return content


def mutated_tree(random: Random, tree: Any) -> Any:
    """Values of JSON with one to three changes: another value, another key, a key too few or twice."""
    tree = copy.deepcopy(tree)
    for _ in range(random.randint(1, 3)):
        containers = [tree, *_containers(tree)]
        place = random.choice([each for each in containers if isinstance(each, dict | list)] or [{}])
        if not place:
            continue
        key = random.choice(list(place) if isinstance(place, dict) else range(len(place)))
        value = copy.deepcopy(random.choice(VALUES))
        match random.randint(0, 4):
            case 0 | 1:
                place[key] = value
            case 2:
                del place[key]
            case 3 if isinstance(place, dict):
                place[random.choice((f"{key}s", str(key)[1:], "", "v" * 1000, "a.b", "a\nb"))] = place.pop(key)
            case _:
                place[key] = [place[key], value] if random.random() < 0.5 else {"a": place[key]}
    return tree


def _containers(tree: Any) -> Iterator[Any]:
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        if isinstance(value, dict | list):
            yield value
            yield from _containers(value)


def require_readable(lines: list[str] | tuple[str, ...]) -> None:
    """Assert that every line can be read: no traceback, no control characters, no endless line."""
    for line in lines:
        assert line.strip()
        assert len(line) <= LONGEST_LINE, line
        assert line.isprintable(), line
        assert "Traceback" not in line
        assert " object at 0x" not in line


@contextmanager
def in_bounded_time() -> Iterator[None]:
    """Assert that the body takes no more processor time than that."""
    start = time.process_time()
    yield
    assert time.process_time() - start < SECONDS
