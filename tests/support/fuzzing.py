"""Files that were damaged at random, and what the product says of them: run as a process of its own, which may crash.

``python -m tests.support.fuzzing KIND COUNT FOLDER`` prints a line of JSON for each case: its number before it is
tried, then the exit code and the line that a command would end with. Seeds are fixed: the number tells the case.
"""

import io
import json
import random
import re
import shutil
import sys
import traceback
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov

from flows.running.failures import explain_failure
from tasks.data.arrays import Arrays
from tasks.graph.presets import Scheme
from tasks.graph.scope import IgnoredScope
from tasks.records import Execution, Runtime
from tasks.steps.load_dataset import load_dataset
from tasks.steps.load_model import find_model, load_model
from tasks.steps.plan_quantization import plan_quantization
from tests.support import models

NUMBERS = (b"0", b"-1", b"1", b"7", b"65536", b"4294967296", b"9223372036854775807", b"99999999999999999999")
INPUT = (4, 8, 8)
Mutate = Callable[[random.Random, bytes], bytes]


def change_byte(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]


def change_number(chance: random.Random, data: bytes) -> bytes:
    found = list(re.finditer(rb"\d+", data))
    if not found:
        return data
    number = chance.choice(found)
    return data[: number.start()] + chance.choice(NUMBERS) + data[number.end() :]


def exchange_words(chance: random.Random, data: bytes) -> bytes:
    words = re.findall(rb"\"[^\"]*\"|'[^']*'", data)
    return data.replace(chance.choice(words), chance.choice(words), 1) if words else data


def remove_part(chance: random.Random, data: bytes) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randrange(1, 200) :]


def repeat_part(chance: random.Random, data: bytes) -> bytes:
    start, place = chance.randrange(len(data)), chance.randrange(len(data))
    return data[:place] + data[start : start + chance.randrange(1, 300)] + data[place:]


def cut_off(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data))]


TEXT: tuple[Mutate, ...] = (change_number, change_number, exchange_words, change_byte, remove_part, repeat_part)
BYTES: tuple[Mutate, ...] = (change_byte, change_byte, cut_off, remove_part, repeat_part)


def mutated(chance: random.Random, data: bytes, mutations: tuple[Mutate, ...]) -> bytes:
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        data = chance.choice(mutations)(chance, data) if data else data
    return data


def damaged_ir(chance: random.Random, folder: Path) -> None:
    """An IR whose text, weights or both are damaged, planned: read, placed, compiled, inferred."""
    made = (models.convnet, models.attention, lambda: models.recurrent("LSTMSequence"))
    path = folder / "model.xml"
    ov.save_model(chance.choice(made)(), path, compress_to_fp16=False)
    which = chance.choice(("xml", "xml", "bin", "both"))
    if which != "bin":
        path.write_bytes(mutated(chance, path.read_bytes(), TEXT))
    if which != "xml":
        weights = path.with_suffix(".bin")
        weights.write_bytes(mutated(chance, weights.read_bytes(), BYTES))
    runtime = Runtime(folder / "home", threads=1, progress=False)
    model = load_model.fn(*find_model(str(path)), runtime)
    plan_quantization(model, "ANY", None, IgnoredScope(), Scheme(), True, Execution(), runtime)


def with_any_header(chance: random.Random, data: bytes) -> bytes:
    """A .npy file with a damaged header, whose length fits it or not."""
    end = data.index(b"\n") + 1
    header = mutated(chance, data[10:end], TEXT)
    length = len(header) if chance.random() < 0.8 else chance.randrange(2**16)
    return data[:8] + length.to_bytes(2, "little") + header + data[end:]


def damaged_arrays(chance: random.Random, folder: Path) -> None:
    """A .npy or .npz file whose header or bytes are damaged, read to its end."""
    buffer = io.BytesIO()
    kind = chance.choice(("<f4", ">f8", "<i2", "|u1", "<f2"))
    np.save(buffer, np.arange(3 * np.prod(INPUT)).reshape(3, *INPUT).astype(kind))
    content = buffer.getvalue()
    content = with_any_header(chance, content) if chance.random() < 0.7 else mutated(chance, content, BYTES)
    path = folder / chance.choice(("data.npy", "data.npz"))
    path.write_bytes(content)
    if path.suffix == ".npz":
        with zipfile.ZipFile(path, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            archive.writestr("x.npy", content)
        if chance.random() < 0.5:
            path.write_bytes(mutated(chance, path.read_bytes(), BYTES))
    load_dataset.fn(Arrays(path), "", None, Runtime(folder / "home", threads=1, progress=False))


KINDS: dict[str, Callable[[random.Random, Path], None]] = {"ir": damaged_ir, "arrays": damaged_arrays}


def outcome(kind: str, number: int, folder: Path) -> dict[str, object]:
    """The exit code of a command and its last line; a traceback where it would end with one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with warnings.catch_warnings(action="error"):
            KINDS[kind](random.Random(f"{kind} {number}"), folder)
    except Exception as failure:  # noqa: BLE001 - what a command would do
        code, line = explain_failure(failure)
        return {"code": code, "line": line, "traceback": None if line else traceback.format_exc()}
    return {"code": 0, "line": None, "traceback": None}


if __name__ == "__main__":
    for case in range(int(sys.argv[2])):
        print(json.dumps({"case": case}), flush=True)  # noqa: T201
        print(json.dumps(outcome(sys.argv[1], case, Path(sys.argv[3]) / "case")), flush=True)  # noqa: T201
