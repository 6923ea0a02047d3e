"""The results of one network, kept in files, so that an interrupted zoo goes on where it was."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from tests.zoo import measure, ways
from tests.zoo.networks import Network
from tests.zoo.ways import NNCF, Assets

Result = dict[str, Any]


def prepare(network: Network, cache: Path) -> Assets:
    """The float model and the samples of a network, in files of the cache; made anew where their code is new."""
    folder, code = cache / network.name, _code()
    stamp = folder / "made.json"
    if stamp.is_file() and (made := json.loads(stamp.read_text(encoding="utf-8")))["code"] == code:
        return Assets(folder, made["digest"])
    folder.mkdir(parents=True, exist_ok=True)
    ov.save_model(network.model(), folder / "model.xml", compress_to_fp16=False)
    digest = hashlib.sha256((folder / "model.bin").read_bytes() + (folder / "model.xml").read_bytes())
    for part, arrays in zip(("calibration", "validation"), network.draw(), strict=True):
        np.savez(folder / f"{part}.npz", **arrays)  # type: ignore[arg-type]
        for name, values in sorted(arrays.items()):
            digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    made = {"code": code, "digest": digest.hexdigest()[:16]}
    _write(stamp, made)
    return Assets(folder, made["digest"])


def run(network: Network, cache: Path, presets: list[str], product: Path, seconds: float) -> Result:
    """Everything about a network, from the cache as far as it is there.

    Args:
        network: The network.
        cache: The folder of the cache.
        presets: Presets of this product.
        product: The tree whose code is run.
        seconds: How long each model runs in a round of the speeds; 0 to measure none.
    """
    assets, code = prepare(network, cache), ways.product_digest(product)
    kept = {
        way: _Kept(assets, way, assets.digest if way in NNCF else f"{assets.digest}-{code}")
        for way in (*NNCF, *presets)
    }
    _measure_anew(network, assets, kept)
    missing = [way for way, each in kept.items() if each.found is None]
    if missing:
        samples = assets.samples("validation")
        reference = measure.with_logits(ov.Core().read_model(assets.model), samples)
        # NNCF's models are kept first: they stay what they are whatever becomes of the product.
        for way in (each for each in missing if each in NNCF):
            kept[way].keep(_judged(network, assets, way, ways.run_nncf(assets, way), samples, reference))
        made = ways.run_product(assets, [way for way in missing if way not in NNCF], product)
        for way, each in made.items():
            kept[way].keep(_judged(network, assets, way, each, samples, reference))
    found: Result = {"title": network.title, "source": network.source, "random": network.random}
    found["ways"] = {way: each.found for way, each in kept.items()}
    if seconds:
        found["speeds"] = _speeds(assets, kept, seconds)
    return found


def _measure_anew(network: Network, assets: Assets, kept: Mapping[str, "_Kept"]) -> None:
    """Measure the models of the cache again that an earlier state of ``measure.py`` measured."""
    stale = [way for way, each in kept.items() if each.found and each.found.get("judge") != _judge()]
    if stale:
        samples = assets.samples("validation")
        reference = measure.with_logits(ov.Core().read_model(assets.model), samples)
        for way in stale:
            kept[way].keep(_judged(network, assets, way, kept[way].found or {}, samples, reference))


class _Kept:
    """What is kept of one way; ``key`` tells what it was made of."""

    def __init__(self, assets: Assets, way: str, key: str) -> None:
        self.key, self._path = key, assets.folder / f"{ways.file_name(way)}.json"
        self.found: Result | None = None
        if self._path.is_file():
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            self.found = kept["result"] if kept["key"] == key else None

    def keep(self, result: Result) -> None:
        self.found = result
        _write(self._path, {"key": self.key, "result": result})


def _judged(network: Network, assets: Assets, way: str, made: Result, samples: Any, reference: Any) -> Result:
    """What a way made, measured."""
    report = made.pop("report", {})
    made["judge"] = _judge()
    if "stages" in report:
        made["stages"] = seconds_by_step(report["stages"])
    made |= {key: report[key] for key in ("decisions", "notes", "warnings", "float_operations") if key in report}
    if "error" in made:
        return made
    model = ov.Core().read_model(assets.folder / f"{ways.file_name(way)}.xml")
    made |= measure.compare(network, reference, model, samples)
    made["int8_layers"], made["layers"] = measure.int8_layers(model, samples[0])
    return made


def seconds_by_step(stages: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The seconds of each step of a run in all, the longest first."""
    seconds: dict[str, float] = {}
    for stage in stages:
        seconds[stage["name"]] = seconds.get(stage["name"], 0.0) + stage["seconds"]
    return dict(sorted(seconds.items(), key=lambda each: -each[1]))


def _speeds(assets: Assets, kept: dict[str, _Kept], seconds: float) -> dict[str, float]:
    """Throughput of each way in units of the float model's."""
    done = [way for way, each in kept.items() if each.found is not None and "error" not in each.found]
    one = _Kept(assets, "speeds", "-".join(f"{way}:{kept[way].key}" for way in done) + f"-{seconds}")
    if one.found is None:
        paths = {"float": assets.model} | {way: assets.folder / f"{ways.file_name(way)}.xml" for way in done}
        one.keep(measure.speeds(paths, assets.samples("validation")[0], seconds))
    return one.found or {}


def _judge() -> str:
    """What tells one state of the code that measures from another."""
    return hashlib.sha256(Path(measure.__file__).read_bytes()).hexdigest()[:16]


def _code() -> str:
    """What tells one state of the code that makes models and samples from another."""
    here = Path(__file__).parent
    names = ("networks", "packages", "torch_weights", "topologies", "pictures", "sounds", "words")
    digest = hashlib.sha256(os.environ.get("PTQ_ASSETS", "").encode())
    for name in names:
        if (path := here / f"{name}.py").is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _write(path: Path, content: Any) -> None:
    """Write JSON, at once or not at all."""
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(content, indent=1), encoding="utf-8")
    unfinished.replace(path)
