"""Texts made here: words, sentences and files of several kinds. Same seed, same text."""

import io
import json
import zipfile
import zlib

import numpy as np

_SYLLABLES = "an ber con der el fer gra hol in jor kel lin mon nor or pra qui ras sol tan un ver win yet zen"
_COMMON = """
the a this every no some my their our that of to in on with from by for about between over under after before and
or but because while is was has had will can could does makes gives takes finds reads writes holds keeps brings
leaves sees knows man woman child dog house city river table window letter book engine network market price law
doctor garden winter morning question answer number history music water paper road light colour body heart ship
old new small large quick slow bright dark cold warm open closed simple strange quiet early late heavy green
"""
SYLLABLES, COMMON = (each.split() for each in (_SYLLABLES, _COMMON))


def word(generator: np.random.Generator) -> str:
    """A common word, a number, or one that nobody knows."""
    kind = generator.random()
    if kind < 0.7:
        return COMMON[generator.integers(len(COMMON))]
    if kind < 0.85:
        return "".join(SYLLABLES[generator.integers(len(SYLLABLES))] for _ in range(generator.integers(1, 4)))
    return str(generator.integers(10 ** generator.integers(1, 5)))


def sentence(generator: np.random.Generator) -> str:
    """4 to 24 words with a full stop."""
    return " ".join(word(generator) for _ in range(generator.integers(4, 25))).capitalize() + "."


def file(generator: np.random.Generator) -> bytes:
    """The content of a file: text, data, a program, or something compressed."""
    kinds = (_prose, _python, _table, _json, _page, _archive, _compressed, _settings, _c, _noise)
    return kinds[generator.integers(len(kinds))](generator)


def _prose(generator: np.random.Generator) -> bytes:
    return "\n\n".join(sentence(generator) for _ in range(generator.integers(3, 60))).encode()


def _python(generator: np.random.Generator) -> bytes:
    lines = ["import sys", "from pathlib import Path", ""]
    for _ in range(generator.integers(2, 25)):
        name, argument = (COMMON[generator.integers(40, len(COMMON))] for _ in range(2))
        lines += [f"def {name}({argument}: int) -> str:", f'    """{sentence(generator)}"""']
        lines += [f"    if {argument} > {generator.integers(100)}:", f"        return str({argument})", ""]
    return "\n".join(lines).encode()


def _c(generator: np.random.Generator) -> bytes:
    lines = ["#include <stdio.h>", "#include <stdlib.h>", ""]
    for _ in range(generator.integers(2, 25)):
        name = COMMON[generator.integers(40, len(COMMON))]
        lines += [f"static int {name}(const char *text, int n) {{", f"    /* {sentence(generator)} */"]
        lines += [
            f"    for (int i = 0; i < n; ++i) {{ n += text[i] ^ {generator.integers(256)}; }}",
            "    return n;",
            "}",
        ]
    return "\n".join(lines).encode()


def _table(generator: np.random.Generator) -> bytes:
    head = ",".join(COMMON[generator.integers(40, len(COMMON))] for _ in range(5))
    rows = [",".join(f"{value:.2f}" for value in generator.normal(0, 50, 5)) for _ in range(generator.integers(5, 120))]
    return "\n".join((head, *rows)).encode()


def _json(generator: np.random.Generator) -> bytes:
    entries = [
        {"id": int(generator.integers(9999)), "text": sentence(generator)} for _ in range(generator.integers(2, 30))
    ]
    return json.dumps({"entries": entries}, indent=2).encode()


def _page(generator: np.random.Generator) -> bytes:
    body = "".join(
        f"<p class='{word(generator)}'>{sentence(generator)}</p>\n" for _ in range(generator.integers(3, 40))
    )
    return f"<!DOCTYPE html>\n<html><head><title>{word(generator)}</title></head><body>\n{body}</body></html>".encode()


def _settings(generator: np.random.Generator) -> bytes:
    return "".join(f"[{word(generator)}]\n{word(generator)} = {sentence(generator)}\n" for _ in range(30)).encode()


def _archive(generator: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(zipfile.ZipInfo(f"{word(generator)}{number}.txt"), _prose(generator))
    return buffer.getvalue()


def _compressed(generator: np.random.Generator) -> bytes:
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + zlib.compress(_prose(generator))[2:]


def _noise(generator: np.random.Generator) -> bytes:
    return generator.bytes(int(generator.integers(500, 4000)))
