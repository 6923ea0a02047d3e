"""A folder with the corpus of configurations and every file that they name."""

import gzip
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.shapes.render import CLASSES, write_coco, write_voc

CORPUS = Path(__file__).with_name("corpus")
SHAPES = Path(__file__).parents[1] / "shapes" / "shapes.xml"
IMAGES = 12


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pot") / "files"
    shutil.copytree(CORPUS, folder)
    for target in (folder, folder / "apart"):
        target.mkdir(exist_ok=True)
        shutil.copy(SHAPES, target / "model.xml")
    shutil.copy(SHAPES.with_suffix(".bin"), folder / "model.bin")
    write_voc(folder / "voc", range(IMAGES))
    write_coco(folder / "coco", range(IMAGES))
    names = [f"{number:06}.png" for number in range(IMAGES)]
    (folder / "meta.json").write_text(json.dumps({"labels": CLASSES}), encoding="utf-8")
    (folder / "voc" / "images.txt").write_text("\n".join(f"JPEGImages/{name}" for name in names[:3]), encoding="utf-8")
    (folder / "labels.txt").write_text("".join(f"{name} {number % 3}\n" for number, name in enumerate(names)))
    rng = np.random.default_rng(0)
    np.savez(folder / "samples.npz", x=rng.random((6, 3, 64, 64), np.float32))
    for name in ("cifar", "mnist", "arrays"):
        (folder / name).mkdir()
    batch = {"data": rng.integers(0, 256, (5, 3072), np.uint8), "labels": [1, 0, 2, 1, 1]}
    (folder / "cifar" / "data_batch").write_bytes(pickle.dumps(batch))
    (folder / "mnist" / "labels.gz").write_bytes(gzip.compress(bytes(8) + bytes([3, 1, 4])))
    (folder / "mnist" / "images.gz").write_bytes(gzip.compress(bytes(16) + rng.bytes(3 * 28 * 28)))
    rows = ["file,reference"]
    for number in range(4):
        np.save(folder / "arrays" / f"in{number}.npy", rng.random((64, 64, 3), np.float32))
        np.save(folder / "arrays" / f"out{number}.npy", rng.random((16, 8, 8), np.float32))
        rows.append(f"in{number}.npy,out{number}.npy")
    (folder / "arrays" / "table.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


@pytest.fixture
def workspace(files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder as the current one, without the user's environment."""
    monkeypatch.chdir(files)
    for variable in ("DATA_DIR", "ANNOTATIONS_DIR", "DEFINITIONS_FILE", "PTQ_HOME"):
        monkeypatch.delenv(variable, raising=False)
    return files
