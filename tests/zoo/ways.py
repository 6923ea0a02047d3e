"""The ways to quantize a network of the zoo: this product's presets, run in a process of their own, and NNCF's."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from tasks.algorithms.inference import input_names, sample_inputs
from tests.benchmarks.ways import load_nncf
from tests.zoo.networks import Arrays

ROOT = Path(__file__).parents[2]
NNCF = ("nncf", "nncf_transformer")
# What a preset of the zoo means; any other one is a file of conf/quantization, and words behind its name are overrides.
PRESETS = {
    "best": ("quantization=best", "quantization.use_layerwise_tuning=false"),
    "tuned": ("quantization=best",),
}
LONGEST = 3600


@dataclass(frozen=True)
class Assets:
    """A float model and samples of it in files; ``digest`` tells their content."""

    folder: Path
    digest: str

    @property
    def model(self) -> Path:
        return self.folder / "model.xml"

    def samples(self, part: str) -> list[Arrays]:
        """The samples of ``calibration`` or ``validation``, one by one, by input."""
        names = input_names(ov.Core().read_model(self.model))
        with np.load(self.folder / f"{part}.npz") as archive:
            arrays = {names[0] if name == "x" else name: archive[name] for name in archive.files}
        count = len(next(iter(arrays.values())))
        return [{name: values[row] for name, values in arrays.items()} for row in range(count)]


def product_digest(product: Path) -> str:
    """What tells one state of the product's code from another."""
    digest = hashlib.sha256()
    for room in ("flows", "tasks", "conf"):
        for path in sorted((product / room).rglob("*")):
            if path.suffix in (".py", ".yaml"):
                digest.update(path.relative_to(product).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def file_name(preset: str) -> str:
    """A preset as a name of a file."""
    return "".join(character if character.isalnum() or character in "._" else "-" for character in preset)


def run_product(assets: Assets, presets: list[str], product: Path) -> dict[str, dict[str, Any]]:
    """The result of each preset (see ``product.py``); its model is moved to the folder of the assets."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few = {key: values[:2] for key, values in np.load(assets.folder / "validation.npz").items()}
        np.savez(folder / "few.npz", **few)
        jobs = {preset: _job(assets, preset, folder / file_name(preset), folder / "few.npz") for preset in presets}
        while jobs:
            # All in one process; the one during which OpenVINO ends it fails, and the rest gets another.
            ended = _run_jobs(list(jobs.values()), folder, product)
            done = [preset for preset, job in jobs.items() if Path(job["result"]).is_file()]
            found |= {
                preset: json.loads(Path(jobs.pop(preset)["result"]).read_text(encoding="utf-8")) for preset in done
            }
            if jobs:
                failed = next(iter(jobs))
                found[failed] = {"error": ended, "seconds": 0.0}
                del jobs[failed]
        for preset in presets:
            output = folder / file_name(preset) / "output"
            for suffix in (".xml", ".bin"):
                if (output / f"model{suffix}").is_file():
                    shutil.move(output / f"model{suffix}", assets.folder / f"{file_name(preset)}{suffix}")
    return found


def _job(assets: Assets, preset: str, folder: Path, few: Path) -> dict[str, Any]:
    name, *changes = preset.split()
    overrides = [
        f"model.path='{assets.model}'",
        "dataset=arrays",
        f"dataset.path='{assets.folder / 'calibration.npz'}'",
        f"validation.path='{few}'",
        f"output_dir='{folder / 'output'}'",
        f"runtime.home='{folder / 'home'}'",
        "runtime.progress=false",
        "evaluation.speed_seconds=0",
        "evaluation.analyze=false",
        "evaluation.page=false",
        "evaluation.allow_broken=true",
        *PRESETS.get(name, (f"quantization={name}",)),
        *changes,
    ]
    folder.mkdir()
    return {"overrides": overrides, "home": str(folder / "home"), "result": str(folder / "result.json")}


def _run_jobs(jobs: list[dict[str, Any]], folder: Path, product: Path) -> str:
    """How the process ended that ran the jobs, in words."""
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    command = [sys.executable, "-P", str(Path(__file__).with_name("product.py")), str(folder / "jobs.json")]
    environment = os.environ | {"PYTHONPATH": f"{product}{os.pathsep}{product / 'flows' / 'plugins'}"}
    try:
        ended = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not done after {LONGEST} s"
    return f"exit code {ended.returncode}: {(ended.stderr.strip().splitlines() or ['no word'])[-1]}"


def run_nncf(assets: Assets, way: str) -> dict[str, Any]:
    """Quantize by NNCF into the folder of the assets: seconds, or what was wrong."""
    nncf = load_nncf()
    if nncf is None:
        return {"error": "NNCF is not installed", "seconds": 0}
    model = ov.Core().read_model(assets.model)
    samples = [
        sample_inputs(model.inputs, sample, number) for number, sample in enumerate(assets.samples("calibration"))
    ]
    transformer = way == "nncf_transformer"
    started = time.perf_counter()
    try:
        quantized = nncf.quantize(
            model,
            nncf.Dataset(samples),
            preset=nncf.QuantizationPreset.MIXED if transformer else nncf.QuantizationPreset.PERFORMANCE,
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            subset_size=len(samples),
        )
    except Exception as failure:  # noqa: BLE001 - whatever a network brings about is a finding
        return {"error": f"{type(failure).__name__}: {failure}"[:300], "seconds": time.perf_counter() - started}
    seconds = time.perf_counter() - started
    ov.save_model(quantized, assets.folder / f"{way}.xml", compress_to_fp16=False)
    return {"seconds": seconds}
